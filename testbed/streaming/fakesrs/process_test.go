package fakesrs

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is the stand-in as a process of its own.
type process struct {
	ports
	cmd     *exec.Cmd
	output  *syncBuffer
	pidFile string
	done    chan struct{}
	ended   time.Time
}

// command is the program with these arguments, which is this test binary.
func command(version string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "STAND_IN_TEST_RUN=1", "SRS_STAND_IN_VERSION="+version,
		"GORACE=atexit_sleep_ms=0") // the race detector would add a second to every exit
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// startProcess starts an origin, with these global directives, and waits until it's ready.
func startProcess(t *testing.T, version, global string) *process {
	t.Helper()
	for range 5 {
		p := newProcess(t, version, global)
		await(t, 5*time.Second, "listener", func() bool { return p.accepts() || !p.running() })
		if p.running() {
			return p
		}
		if code := p.cmd.ProcessState.ExitCode(); code != codeBind&0xff {
			t.Fatalf("exit code %d", code)
		}
		// One of its ports was taken between here and there.
	}
	t.Fatal("no free ports")
	return nil
}

func newProcess(t *testing.T, version, global string) *process {
	t.Helper()
	dir := t.TempDir()
	p := &process{ports: freePorts(t), output: &syncBuffer{}, pidFile: filepath.Join(dir, "srs.pid"), done: make(chan struct{})}
	conf := filepath.Join(dir, "srs.conf")
	write(t, conf, p.conf("pid "+p.pidFile+";"+global, "play { mw_latency 50; }"))
	p.cmd = command(version, "-c", conf)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.release()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		p.ended = time.Now()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("log of %s:\n%s", version, p.output)
		}
	})
	return p
}

// accepts reports whether new connections are taken on all ports; it fails the test where some are.
func (p *process) accepts() bool {
	open := 0
	for _, port := range []int{p.rtmp, p.api, p.http} {
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			c.Close()
			open++
		}
	}
	return open == 3
}

// refuses reports whether every port says "connection refused".
func (p *process) refuses() bool {
	for _, port := range []int{p.rtmp, p.api, p.http} {
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			c.Close()
			return false
		}
		if !strings.Contains(err.Error(), "refused") {
			return false
		}
	}
	return true
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// exits waits for the end and returns the exit code.
func (p *process) exits(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		t.Fatalf("it still runs after %v", within)
	}
	return p.cmd.ProcessState.ExitCode()
}

// audience is a publisher and a player of a process.
type audience struct {
	publisher *publisher
	player    *player
}

func (p *process) audience(t *testing.T) audience {
	t.Helper()
	encoder, err := tryPublish(p.rtmpAddr(), "x")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(encoder.close)
	a := audience{encoder, play(t, p.rtmpAddr(), "x")}
	a.player.awaitMedia(t, 10, 3*time.Second)
	return a
}

func (a audience) leaves() {
	a.player.Close()
	a.publisher.close()
}

// Waits that are short enough for tests; the tick of a second is SRS's own.
const (
	startWait  = 600 * time.Millisecond
	finalWait  = 300 * time.Millisecond
	slack      = time.Second // for a busy machine
	graceForce = "grace_start_wait 600; grace_final_wait 300; force_grace_quit on;"
)

func TestDrain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		version, conf string
		signal        syscall.Signal
		startWait     time.Duration
	}{
		{"4.0.5", "grace_final_wait 300; force_grace_quit on;", syscall.SIGTERM, 0},
		{"4.0.6", graceForce, syscall.SIGTERM, startWait},
		{"4.0.271", graceForce, syscall.SIGTERM, startWait},
		{"6.0.132", graceForce, syscall.SIGTERM, startWait},
		{"6.0.157", graceForce, syscall.SIGTERM, startWait},
		{"4.0.6", "grace_start_wait 600; grace_final_wait 300;", syscall.SIGQUIT, startWait},
	} {
		t.Run(c.version+" "+c.signal.String(), func(t *testing.T) {
			t.Parallel()
			p := startProcess(t, c.version, c.conf)
			a := p.audience(t)
			p.cmd.Process.Signal(c.signal)
			began := time.Now()
			if c.startWait > 0 {
				// It still serves: a player that arrives now gets media, and keeps it.
				late := play(t, p.rtmpAddr(), "x")
				late.awaitMedia(t, 10, c.startWait)
				defer func() {
					if n := late.seen(); n < 20 {
						t.Errorf("a player that came during the start wait got %d frames", n)
					}
				}()
				await(t, tick+c.startWait+slack, "refusal", p.refuses)
				late.awaitMedia(t, 10, time.Second)
				late.Close()
			} else {
				await(t, tick+slack, "refusal", p.refuses)
			}
			if took := time.Since(began); took < c.startWait {
				t.Errorf("the listeners closed after %v", took)
			}
			// A second signal changes nothing, nor does time.
			if strings.Contains(c.conf, "force") {
				p.cmd.Process.Signal(syscall.SIGTERM)
			} else {
				p.cmd.Process.Signal(syscall.SIGQUIT)
			}
			time.Sleep(tick + 200*time.Millisecond)
			if !a.player.alive() || !p.running() {
				t.Fatal("the player was cut")
			}
			a.player.awaitMedia(t, 10, time.Second)
			if !strings.Contains(p.output.String(), "conns to quit") {
				t.Error("nothing says how many connections are open")
			}
			a.leaves()
			await(t, tick+slack, "count of 0", func() bool { return strings.Contains(p.output.String(), "wait for 0 conns to quit") })
			left := time.Now()
			if code := p.exits(t, finalWait+slack); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if took := p.ended.Sub(left); took < finalWait-100*time.Millisecond {
				t.Errorf("it ended after %v, before the final wait is over", took)
			}
		})
	}
}

// What cuts everybody, and how quickly.
func TestCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, version, conf string
		signals             []syscall.Signal
		within              time.Duration // after the last signal
	}{
		{"SIGTERM without force_grace_quit", "4.0.6", "", []syscall.Signal{syscall.SIGTERM}, tick},
		{"SIGTERM without force_grace_quit", "6.0.157", "", []syscall.Signal{syscall.SIGTERM}, tick},
		{"SIGINT", "4.0.6", graceForce, []syscall.Signal{syscall.SIGINT}, tick},
		{"5.0 cannot drain", "5.0.213", graceForce, []syscall.Signal{syscall.SIGTERM}, tick},
		{"5.0 cannot drain", "5.0.213", graceForce, []syscall.Signal{syscall.SIGQUIT}, tick},
		{"6.0 could not drain", "6.0.131", graceForce, []syscall.Signal{syscall.SIGTERM}, tick},
		{"preStop alone is no drain", "4.0.6", "grace_start_wait 600; grace_final_wait 300;", []syscall.Signal{syscall.SIGQUIT, syscall.SIGTERM}, tick + finalWait},
		{"preStop alone is no drain", "4.0.5", "grace_final_wait 300;", []syscall.Signal{syscall.SIGQUIT, syscall.SIGTERM}, tick + finalWait},
		{"SIGINT in a drain", "4.0.6", graceForce, []syscall.Signal{syscall.SIGTERM, syscall.SIGINT}, tick + finalWait},
	} {
		t.Run(fmt.Sprint(c.name, " ", c.version, " ", c.signals), func(t *testing.T) {
			t.Parallel()
			p := startProcess(t, c.version, c.conf)
			a := p.audience(t)
			for i, signal := range c.signals {
				if i > 0 {
					await(t, 3*time.Second, "refusal", p.refuses)
					time.Sleep(200 * time.Millisecond)
					if !a.player.alive() {
						t.Fatal("cut too early")
					}
				}
				p.cmd.Process.Signal(signal)
			}
			last := time.Now()
			if code := p.exits(t, c.within+slack); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if took := p.ended.Sub(last); took > c.within+slack {
				t.Errorf("it took %v", took)
			}
			await(t, time.Second, "cut", func() bool { return !a.player.alive() })
			if !isCut(a.player.err) {
				t.Errorf("the player ends with %v", a.player.err)
			}
		})
	}
}

// Connections that carry nothing keep a drain alive: an idle one of a probe, a bare one of a TCP check.
func TestIdleConnectionsDelayTheExit(t *testing.T) {
	t.Parallel()
	p := startProcess(t, "4.0.6", graceForce)
	bare, err := net.Dial("tcp", p.rtmpAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	idle := &http.Client{Transport: &http.Transport{}}
	response, err := idle.Get(p.apiURL("/api/v1/versions"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := new(bytes.Buffer).ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	p.cmd.Process.Signal(syscall.SIGTERM)
	await(t, 3*time.Second, "count", func() bool { return strings.Contains(p.output.String(), "wait for 2 conns to quit") })
	idle.CloseIdleConnections()
	await(t, 5*time.Second, "count", func() bool { return strings.Contains(p.output.String(), "wait for 1 conns to quit") })
	bare.Close()
	p.exits(t, tick+finalWait+slack)
}

func TestStart(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { busy.Close() }) // after the parallel parts
	running := startProcess(t, "4.0.6", "")
	for _, c := range []struct {
		name, version, conf string
		args                []string
		code                int
		says                string
	}{
		{"illegal directive", "4.0.5", "listen 1; daemon off; srs_log_tank console; grace_start_wait 700;", []string{"-c"}, 255, "Failed, code=1023 : check config : check normal : illegal directive grace_start_wait"},
		{"illegal directive", "6.0.157", "listen 1; daemon off; srs_log_tank console; x 1;", []string{"-c"}, 255, "illegal directive x"},
		{"daemon", "4.0.6", "listen 1; srs_log_tank console; pid /nonexistent/srs.pid;", []string{"-c"}, 0, "daemon mode"},
		{"pid file", "4.0.6", "listen 1; daemon off; srs_log_tank console; pid /nonexistent/srs.pid;", []string{"-c"}, 10, "open pid file=/nonexistent/srs.pid"},
		{"runs already", "4.0.6", "listen 1; daemon off; srs_log_tank console; pid " + running.pidFile + ";", []string{"-c"}, 11, "srs is already running"},
		{"port in use", "4.0.6", "listen " + busy.Addr().String() + "; daemon off; srs_log_tank console; pid " + filepath.Join(t.TempDir(), "pid") + ";", []string{"-c"}, 234, "bind"},
		{"grammar", "4.0.6", "listen 1", []string{"-c"}, 255, "line 1: unexpected end of file"},
		{"test", "4.0.6", "listen 1; daemon off;", []string{"-t", "-c"}, 0, "config file is ok"},
		{"test, letters together", "4.0.6", "listen 1; daemon of; x;", []string{"-tc"}, 255, "illegal directive x"},
		{"version", "6.0.157", "", []string{"-v"}, 0, "6.0.157\n"},
		{"signature", "4.0.6", "", []string{"-G"}, 0, "SRS/4.0.6(Leo)\n"},
		{"help", "4.0.6", "", []string{"-h"}, 0, "FOR TESTS ONLY"},
		{"bad option", "4.0.6", "", []string{"-z"}, 255, "invalid option"},
		{"a version that isn't known", "3.0.0", "", []string{"-v"}, 1, "not imitated"},
	} {
		t.Run(c.name+" "+c.version, func(t *testing.T) {
			t.Parallel()
			args := c.args
			if c.conf != "" {
				file := filepath.Join(t.TempDir(), "srs.conf")
				write(t, file, c.conf)
				args = append(args[:len(args):len(args)], file)
			}
			cmd := command(c.version, args...)
			// One that serves instead of refusing would never end.
			killer := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
			defer killer.Stop()
			output, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if !strings.Contains(string(output), c.says) {
				t.Errorf("says %q, want %q", output, c.says)
			}
			first, _, _ := strings.Cut(string(output), "\n")
			if c.conf != "" && !strings.Contains(first, "STAND-IN") {
				t.Errorf("the first line is %s", first)
			}
		})
	}
	text, err := os.ReadFile(running.pidFile)
	if err != nil || string(text) != strconv.Itoa(running.cmd.Process.Pid) {
		t.Errorf("the pid file holds %q, %v", text, err)
	}
}

func TestDaemonStaysInContainersOfNewVersions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := freePorts(t)
	p.release()
	conf := filepath.Join(dir, "srs.conf")
	write(t, conf, strings.Replace(p.conf("pid "+filepath.Join(dir, "pid")+";", ""), "daemon off;", "", 1))
	for version, stays := range map[string]bool{"4.0.6": false, "4.0.271": true} {
		cmd := command(version, "-c", conf)
		cmd.Env = append(cmd.Env, "SRS_IN_DOCKER=on")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { cmd.Wait(); close(done) }()
		select {
		case <-done:
			if stays {
				t.Errorf("%s ended", version)
			}
		case <-time.After(700 * time.Millisecond):
			if !stays {
				t.Errorf("%s stays", version)
			}
			cmd.Process.Kill()
			<-done
		}
	}
}

func TestControlScript(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, "conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, "4.0.6", "grace_start_wait 100; grace_final_wait 100;")
	var out bytes.Buffer

	// Without an SRS it returns 0 all the same.
	if code := control(home, []string{"grace"}, &out); code != 0 || !strings.Contains(out.String(), "SRS not start") {
		t.Errorf("%d, %s", code, out.String())
	}
	if code := control(home, []string{"status"}, &out); code != 1 {
		t.Errorf("status is %d", code)
	}
	if code := control(home, []string{"quit"}, &out); code != 1 {
		t.Errorf("an unknown command is %d", code)
	}
	// It finds `pid` only where a line begins with it.
	write(t, filepath.Join(home, "conf", "srs.conf"), "daemon off; pid "+p.pidFile+";\n")
	if _, err := runningPid(home); err == nil {
		t.Error("pid is found in the middle of a line")
	}
	write(t, filepath.Join(home, "conf", "srs.conf"), "daemon off;\npid "+p.pidFile+";\n")
	if code := control(home, []string{"grace"}, &out); code != 0 {
		t.Errorf("grace is %d", code)
	}
	if code := p.exits(t, 3*time.Second); code != 0 || !strings.Contains(p.output.String(), "sig=3, user start gracefully quit") {
		t.Errorf("exit code %d, log\n%s", code, p.output)
	}
}

func TestHangupIsIgnored(t *testing.T) {
	t.Parallel()
	p := startProcess(t, "4.0.6", "")
	p.cmd.Process.Signal(syscall.SIGHUP)
	await(t, time.Second, "line about it", func() bool { return strings.Contains(p.output.String(), "SIGHUP is not imitated") })
	if !p.accepts() {
		t.Error("it doesn't serve any more")
	}
}
