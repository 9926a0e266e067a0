package fakesrs

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is the program as a process of its own.
type process struct {
	cmd       *exec.Cmd
	output    *syncBuffer
	addresses []string // RTMP, API, HTTP
	done      chan struct{}
}

// startProcess starts an origin with these global directives and waits until it listens.
func startProcess(t *testing.T, v version, global string) *process {
	t.Helper()
	p := &process{output: &syncBuffer{}, done: make(chan struct{})}
	text := conf(0, 0, 0, global, "")
	p.cmd = command(t, v.String(), text)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("log of %s:\n%s", v, p.output)
		}
	})
	const listens = "listen at tcp://"
	await(t, 5*time.Second, "listeners", func() bool { return strings.Count(p.output.String(), listens) == 3 })
	for _, line := range strings.Split(p.output.String(), "\n") {
		if _, address, found := strings.Cut(line, listens); found {
			p.addresses = append(p.addresses, address)
		}
	}
	return p
}

func command(t *testing.T, version, conf string) *exec.Cmd {
	t.Helper()
	file := filepath.Join(t.TempDir(), "srs.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-c", file)
	// The race detector would delay every exit by a second.
	cmd.Env = append(os.Environ(), "FAKESRS_VERSION="+version, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// refuses reports whether every port refuses connections.
func (p *process) refuses() bool {
	for _, address := range p.addresses {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return false
		}
	}
	return true
}

func (p *process) reports(text string) func() bool {
	return func() bool { return strings.Contains(p.output.String(), text) }
}

// awaitExit returns how long it took; the exit code must be 0.
func (p *process) awaitExit(t *testing.T, within time.Duration) time.Duration {
	t.Helper()
	begin := time.Now()
	select {
	case <-p.done:
	case <-time.After(within):
		t.Fatalf("it still runs after %v", within)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	return time.Since(begin)
}

// audience is a publisher and a player.
func (p *process) audience(t *testing.T) (encoder, player *stream) {
	t.Helper()
	encoder, player = publish(t, p.addresses[0], "x"), play(t, p.addresses[0], "x")
	player.awaitMedia(t, 10, 3*time.Second)
	return encoder, player
}

// Waits that are short enough for tests.
const (
	startWait  = 600 * time.Millisecond
	finalWait  = 300 * time.Millisecond
	slack      = time.Second // for a busy machine
	waits      = "grace_start_wait 600; grace_final_wait 300;"
	forceGrace = waits + "force_grace_quit on;"
)

func TestDrain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		version   version
		conf      string
		signal    syscall.Signal
		startWait time.Duration
	}{
		{version{4, 0, 5}, "grace_final_wait 300; force_grace_quit on;", syscall.SIGTERM, 0},
		{version{4, 0, 6}, forceGrace, syscall.SIGTERM, startWait},
		{version{6, 0, 157}, forceGrace, syscall.SIGTERM, startWait},
		{version{4, 0, 6}, waits, syscall.SIGQUIT, startWait},
	} {
		t.Run(fmt.Sprint(c.version, c.signal), func(t *testing.T) {
			t.Parallel()
			p := startProcess(t, c.version, c.conf)
			encoder, player := p.audience(t)
			p.cmd.Process.Signal(c.signal)
			begin := time.Now()
			if c.startWait > 0 { // it still serves
				late := play(t, p.addresses[0], "x")
				late.awaitMedia(t, 10, c.startWait)
				await(t, tick+c.startWait+slack, "refusal", p.refuses)
				late.awaitMedia(t, 10, time.Second)
				late.Close()
			}
			await(t, tick+slack, "refusal", p.refuses)
			if took := time.Since(begin); took < c.startWait {
				t.Errorf("the listeners closed after %v", took)
			}
			p.cmd.Process.Signal(c.signal) // a second signal changes nothing
			await(t, 3*time.Second, "count", p.reports("wait for 2 conns to quit"))
			player.awaitMedia(t, 10, time.Second)
			player.Close()
			encoder.Close()
			await(t, tick+slack, "count of 0", p.reports("wait for 0 conns to quit"))
			if took := p.awaitExit(t, finalWait+slack); took < finalWait-100*time.Millisecond {
				t.Errorf("it ended after %v, before the final wait is over", took)
			}
		})
	}
}

func TestWhatDropsAllConnections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		version version
		conf    string
		signals []syscall.Signal // with the drain begun between them
	}{
		{"SIGTERM without force_grace_quit", version{4, 0, 6}, "", []syscall.Signal{syscall.SIGTERM}},
		{"SIGINT", version{4, 0, 6}, forceGrace, []syscall.Signal{syscall.SIGINT}},
		{"5.0 cannot drain", version{5, 0, 213}, forceGrace, []syscall.Signal{syscall.SIGTERM}},
		{"SIGTERM after SIGQUIT", version{4, 0, 6}, waits, []syscall.Signal{syscall.SIGQUIT, syscall.SIGTERM}},
		{"SIGINT in a drain", version{4, 0, 6}, forceGrace, []syscall.Signal{syscall.SIGTERM, syscall.SIGINT}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := startProcess(t, c.version, c.conf)
			_, player := p.audience(t)
			for i, signal := range c.signals {
				if i > 0 {
					await(t, 3*time.Second, "refusal", p.refuses)
					if !player.alive() {
						t.Fatal("dropped too early")
					}
				}
				p.cmd.Process.Signal(signal)
			}
			p.awaitExit(t, tick+finalWait+slack)
			player.awaitEnd(t, time.Second)
		})
	}
}

// Connections that carry nothing keep a drain alive: an idle one of a probe, a bare one of a TCP check.
func TestIdleConnectionsDelayTheExit(t *testing.T) {
	t.Parallel()
	p := startProcess(t, v406, forceGrace)
	bare, err := net.Dial("tcp", p.addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	probe := &http.Client{Transport: &http.Transport{}}
	response, err := probe.Get("http://" + p.addresses[1] + "/api/v1/versions")
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, response.Body) // or the client does not keep the connection
	response.Body.Close()
	p.cmd.Process.Signal(syscall.SIGTERM)
	await(t, 4*time.Second, "count", p.reports("wait for 2 conns to quit"))
	probe.CloseIdleConnections()
	await(t, 5*time.Second, "count", p.reports("wait for 1 conns to quit"))
	bare.Close()
	p.awaitExit(t, tick+finalWait+slack)
}

func TestFailedStartExitsWith255(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, c := range [][3]string{
		{"4.0.5", "listen 1; grace_start_wait 700;", "Failed, code=1023 : check config : check normal : illegal directive grace_start_wait"},
		{"4.0.6", "listen 1", "parse file : line 1: unexpected end of file"},
		{"4.0.6", "listen " + busy.Addr().String() + ";", "address already in use"},
		{"3.0.0", "listen 1;", "not imitated"},
	} {
		cmd := command(t, c[0], c[1])
		killer := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		output, _ := cmd.CombinedOutput()
		killer.Stop()
		if cmd.ProcessState.ExitCode() != 255 || !strings.Contains(string(output), c[2]) {
			t.Errorf("%q: exit code %d, %s", c[1], cmd.ProcessState.ExitCode(), output)
		}
	}
}
