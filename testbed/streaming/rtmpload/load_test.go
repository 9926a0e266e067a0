package rtmpload

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"srs.testbed/streaming/fakesrs"
)

// TestMain makes the test binary the fake SRS where a test starts it as a process.
func TestMain(m *testing.M) {
	if os.Getenv("FAKESRS_VERSION") != "" {
		fakesrs.Main()
		return
	}
	flag.Parse()
	flag.Set("test.parallel", "8") // these tests wait, they do not compute
	os.Exit(m.Run())
}

// startServer starts a fake SRS, which ends with the test, and returns where it listens. folder has its certificate.
func startServer(t *testing.T, version, folder string) (rtmp, http, https string) {
	t.Helper()
	conf := filepath.Join(folder, "srs.conf")
	text := `listen 127.0.0.1:0; http_server { enabled on; listen 127.0.0.1:0;
https { enabled on; listen 127.0.0.1:0; key %s/tls.key; cert %[1]s/tls.crt; } } vhost __defaultVhost__ { http_remux { enabled on; } }`
	if err := os.WriteFile(conf, fmt.Appendf(nil, text, folder), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-c", conf)
	cmd.Env = append(os.Environ(), "FAKESRS_VERSION="+version)
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	var log []byte
	buffer := make([]byte, 1000)
	for listens := regexp.MustCompile(`listen at tcp://(\S+)`); ; {
		n, err := output.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, buffer[:n]...)
		if found := listens.FindAllSubmatch(log, -1); len(found) == 3 {
			go io.Copy(io.Discard, output)
			return string(found[0][1]), string(found[1][1]), string(found[2][1])
		}
	}
}

// proxy is a network between load and server that fails on demand.
type proxy struct {
	t       *testing.T
	address string
	target  string

	mu       sync.Mutex
	flows    sync.Cond // !stalled
	stalled  bool      // nothing passes from server to client
	listener net.Listener
	open     []*net.TCPConn // client sides, in order
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	p := &proxy{t: t, address: "127.0.0.1:0", target: target}
	p.flows.L = &p.mu
	p.listen()
	t.Cleanup(func() { p.listener.Close() })
	return p
}

func (p *proxy) listen() {
	p.t.Helper()
	listener, err := net.Listen("tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.listener, p.address = listener, listener.Addr().String()
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", p.target)
			if err != nil {
				client.Close()
				return
			}
			p.mu.Lock()
			p.open = append(p.open, client.(*net.TCPConn))
			p.mu.Unlock()
			go func() {
				io.Copy(server, client)
				server.Close()
			}()
			go p.answer(client, server)
		}
	}()
}

// answer passes what the server sends.
func (p *proxy) answer(client, server net.Conn) {
	defer client.Close()
	buffer := make([]byte, 10_000)
	for {
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		for p.stalled {
			p.flows.Wait()
		}
		p.mu.Unlock()
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) stall(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = on
	p.flows.Broadcast()
}

// cut drops a connection, the first of which is number 0.
func (p *proxy) cut(number int, reset bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if reset {
		p.open[number].SetLinger(0)
	}
	p.open[number].Close()
}

// line is any line of output.
type line struct {
	event
	OpenByVersion    map[string]int `json:"open_by_version"`
	SamplesByVersion map[string]int `json:"samples_by_version"`
	PlayersSilent    int            `json:"players_silent"`
	LongestSilence   float64        `json:"longest_silence"`
}

// running is a load under test.
type running struct {
	t          *testing.T
	rtmp, http *proxy
	end        context.CancelFunc
	done       chan struct{}

	mu      sync.Mutex
	lines   []line
	summary summary
}

// Write takes one line.
func (r *running) Write(b []byte) (int, error) {
	var l line
	if err := json.Unmarshal(b, &l); err != nil || bytes.Count(b, []byte{'\n'}) != 1 {
		r.t.Errorf("%v in %s", err, b)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, l)
	if l.Event == "summary" {
		if err := json.Unmarshal(b, &r.summary); err != nil {
			r.t.Error(err)
		}
	}
	return len(b), nil
}

// start starts a load, which ends with the test, on a fake SRS 4.0.6.
func start(t *testing.T, change func(*config)) *running {
	t.Helper()
	rtmp, http, _ := startServer(t, "4.0.6", t.TempDir())
	return startAt(t, rtmp, http, change)
}

// startAt starts a load on a server.
func startAt(t *testing.T, rtmp, http string, change func(*config)) *running {
	t.Helper()
	r := &running{t: t, rtmp: newProxy(t, rtmp), http: newProxy(t, http), done: make(chan struct{})}
	cfg, err := parse([]string{"-rtmp", r.rtmp.address, "-http", r.http.address, "-publish", "live/a", "-play", "live/a", "-start-rate", "1000"})
	if err != nil {
		t.Fatal(err)
	}
	cfg.tick, cfg.answerTimeout, cfg.mediaTimeout = 200*time.Millisecond, 400*time.Millisecond, 400*time.Millisecond
	change(&cfg)
	ctx, cancel := context.WithCancel(t.Context())
	r.end = cancel
	go func() {
		run(ctx, cfg, r)
		close(r.done)
	}()
	t.Cleanup(func() { r.finish() })
	return r
}

func (r *running) events(match func(line) bool) []line {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []line
	for _, l := range r.lines {
		if match(l) {
			found = append(found, l)
		}
	}
	return found
}

func named(event string) func(line) bool {
	return func(l line) bool { return l.Event == event }
}

// await waits until there are n matching events.
func (r *running) await(n int, what string, match func(line) bool) {
	r.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for len(r.events(match)) < n {
		if time.Now().After(deadline) {
			r.t.Fatalf("no %s; the last events: %+v", what, r.lines[max(0, len(r.lines)-5):])
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (r *running) finish() summary {
	r.end()
	<-r.done
	return r.summary
}

func TestAQuietRunHasNothingToReport(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config) { c.players, c.flvPlayers, c.sampleRate = 6, 3, 50 })
	r.await(1, "ready", named("ready"))
	r.await(1, "tick with all players", func(l line) bool { return l.Event == "tick" && l.OpenByVersion["4.0.6"] == 9 && l.PlayersSilent == 0 })
	time.Sleep(time.Second)
	s := r.finish()
	for _, bad := range []string{"cut", "failed", "nomedia"} {
		if events := r.events(named(bad)); len(events) > 0 {
			t.Errorf("%+v", events)
		}
	}
	if s.Players != 9 || s.PlayersWanted != 9 || s.Publishers != 1 || s.PublishersWanted != 1 || len(s.Cuts) != 0 || len(s.FailedByWhat) != 0 {
		t.Errorf("%+v", s)
	}
	if s.Samples < 50 || s.SamplesByVersion["4.0.6"] != s.Samples || s.ConnectMS == nil || s.ConnectMS.P50 <= 0 {
		t.Errorf("samples: %+v", s)
	}
	if len(s.Silence) != 9 || s.LongestSilence <= 0 || s.LongestSilence > 0.9 || s.MaxSchedLagMS <= 0 {
		t.Errorf("silence: %+v", s)
	}
	open := r.events(named("open"))
	overFLV := slices.IndexFunc(open, func(l line) bool { return l.Kind == "flv" })
	if len(open) != 10 || open[0].Kind != "publish" || open[0].ServerID == "" || overFLV < 0 || open[overFLV].Version != "4.0.6" {
		t.Errorf("open: %+v", open)
	}
	if last := r.lines[len(r.lines)-1]; last.Event != "summary" {
		t.Errorf("the last line is %+v", last)
	}
}

func TestCutsAreCountedOneByOne(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config) { c.players, c.flvPlayers = 6, 3 })
	r.await(1, "ready", named("ready"))
	r.rtmp.cut(0, false) // the publisher
	r.rtmp.cut(2, false)
	r.rtmp.cut(3, true)
	r.http.cut(1, false)
	r.await(4, "cuts", named("cut"))
	r.await(10+4, "reconnections", named("open"))
	r.await(1, "tick with all players", func(l line) bool { return l.Event == "tick" && l.OpenByVersion["4.0.6"] == 9 })
	s := r.finish()
	kinds := map[string]int{}
	for _, c := range s.Cuts {
		kinds[c.Kind]++
		if c.Version != "4.0.6" || c.Detail == "" || (c.ServerID == "") != (c.Kind == "flv") {
			t.Errorf("%+v", c)
		}
	}
	if fmt.Sprint(kinds) != "map[flv:1 publish:1 rtmp:2]" || s.Players != 9 || s.Publishers != 1 || len(s.FailedByWhat) != 0 {
		t.Errorf("%v, %+v", kinds, s)
	}
}

func TestWithoutReopenACutPlayerStaysDisconnected(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config) { c.players, c.reopen = 3, false })
	r.await(1, "ready", named("ready"))
	r.rtmp.cut(1, false)
	r.await(1, "cut", named("cut"))
	time.Sleep(2 * reopenFirst)
	if s := r.finish(); s.Players != 2 || s.PlayersWanted != 3 || len(s.Cuts) != 1 {
		t.Errorf("%+v", s)
	}
}

func TestRefusedConnectionsAreCountedAndOpenOnesAreNot(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config) { c.players, c.sampleRate = 3, 100 })
	r.await(1, "ready", named("ready"))
	r.rtmp.listener.Close()
	time.Sleep(500 * time.Millisecond)
	r.rtmp.listen()
	time.Sleep(200 * time.Millisecond)
	s := r.finish()
	if n := s.FailedByWhat["sample"]; n < 35 || n > 65 || len(r.events(named("failed"))) != n {
		t.Errorf("refused for half a second at 100 a second: %d, %d events", n, len(r.events(named("failed"))))
	}
	if len(s.Cuts) != 0 || s.Players != 3 {
		t.Errorf("the players were not affected: %+v", s)
	}
}

func TestSlowAnswersDoNotSlowTheSamplesDown(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config) { c.publish, c.play, c.sampleRate = nil, nil, 100 })
	r.rtmp.stall(true)
	r.await(10, "ticks", named("tick"))
	// In 2 s at 100 a second, those of the last 0.4 s have no result yet.
	if n := r.finish().FailedByWhat["sample"]; n < 130 || n > 180 {
		t.Errorf("%d failed", n)
	}
}

func TestSilenceIsMeasured(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config) { c.players, c.flvPlayers, c.stall = 3, 2, 300*time.Millisecond })
	r.await(1, "ready", named("ready"))
	r.rtmp.stall(true)
	r.await(1, "tick with silent players", func(l line) bool { return l.Event == "tick" && l.PlayersSilent == 3 })
	r.await(1, "tick with the longest silence", func(l line) bool { return l.Event == "tick" && l.LongestSilence > 0.9 })
	time.Sleep(time.Second)
	r.rtmp.stall(false)
	ticks := len(r.events(named("tick")))
	r.await(ticks+3, "ticks", named("tick"))
	s := r.finish()
	if last := r.events(named("tick")); last[len(last)-1].PlayersSilent != 0 {
		t.Errorf("%+v", last[len(last)-1])
	}
	if s.Silence["rtmp-1"] < 1.1 || s.Silence["flv-4"] > 0.9 || s.LongestSilence < 1.1 || len(s.Cuts) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestSilenceSpansACut(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config) { c.players = 2 })
	r.await(1, "ready", named("ready"))
	r.rtmp.listener.Close()
	r.rtmp.cut(1, false)
	r.await(2, "failed opens", func(l line) bool { return l.Event == "failed" && l.What == "open" && l.Kind == "rtmp" })
	r.rtmp.listen()
	r.await(4, "open", named("open"))
	time.Sleep(300 * time.Millisecond)
	// Reconnected after 0.2 s and refused, after 0.4 s more and refused, after 0.8 s more.
	if s := r.finish(); s.LongestSilence < 1.2 || len(s.Cuts) != 1 || s.Players != 2 {
		t.Errorf("%+v", s)
	}
}

func TestASampleOfADeadStreamHasNoMedia(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config) { c.play, c.sampleRate = []string{"live/none"}, 100 })
	r.await(3, "samples without media", named("nomedia"))
	if s := r.finish(); len(s.FailedByWhat) != 0 || s.Samples < 30 {
		t.Errorf("%+v", s)
	}
}

// Players and new connections use HTTPS. What the server presents after its certificate was replaced is not accepted
// any more, and open connections stay.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	write := func(name, kind string, der []byte) {
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write("tls.key", "PRIVATE KEY", key)
	write("tls.crt", "CERTIFICATE", pair.Certificate[0])
	rtmp, _, https := startServer(t, "6.0.157", folder)
	r := startAt(t, rtmp, https, func(c *config) {
		c.flvPlayers, c.sampleRate, c.ca = 3, 20, x509.NewCertPool()
		c.ca.AddCert(server.Certificate())
	})
	r.await(1, "ready", named("ready"))
	r.await(1, "tick with samples", func(l line) bool { return l.Event == "tick" && l.SamplesByVersion["6.0.157"] > 0 })
	if bad := r.events(func(l line) bool { return l.Event == "failed" || l.Event == "nomedia" }); len(bad) > 0 {
		t.Errorf("%+v", bad)
	}
	other, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2)}, &x509.Certificate{}, server.Certificate().PublicKey, pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write("tls.crt", "CERTIFICATE", other)
	r.await(3, "rejected certificates", func(l line) bool {
		return l.Event == "failed" && l.What == "sample" && strings.Contains(l.Detail, "x509")
	})
	if s := r.finish(); len(s.Cuts) != 0 || s.Players != 3 {
		t.Errorf("%+v", s)
	}
}
