package rtmpload

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"srs.testbed/streaming/rtmp/rtmptest"
)

// TestMain lets more tests wait side by side than there are processors.
func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "8")
	os.Exit(m.Run())
}

// line is any event.
type line struct {
	T             float64
	Event         string
	Kind          string
	ID            string
	Version       string
	ServerID      string `json:"server_id"`
	What          string
	Reason        string
	Reconnect     bool
	Attempt       int
	Seconds       float64
	OpenByVersion map[string]int `json:"open_by_version"`
	PlayersSilent int            `json:"players_silent"`
	MaxSilence    float64        `json:"max_silence"`
	Publishers    int
	Bytes         int64
	LatencyP99    *float64 `json:"latency_ms_p99"`
	LastMedia     *float64 `json:"last_media_seconds_ago"`
	InFlight      int      `json:"in_flight"`
	OpenSeconds   float64  `json:"open_seconds"`
}

// running is a load under test.
type running struct {
	t    *testing.T
	end  context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	lines   []line
	summary summaryEvent
}

// Write takes one line: the outbox writes them one by one.
func (r *running) Write(b []byte) (int, error) {
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		r.t.Errorf("%v in %s", err, b)
	}
	if bytes.Count(b, []byte{'\n'}) != 1 || b[len(b)-1] != '\n' {
		r.t.Errorf("not one line: %q", b)
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

func start(t *testing.T, server *rtmptest.Server, change func(*Config)) *running {
	t.Helper()
	cfg, _, err := parse([]string{"-rtmp", server.RTMPAddr(), "-http", server.HTTPAddr(), "-publish", "live/a"})
	if err != nil {
		t.Fatal(err)
	}
	cfg.StartRate, cfg.tickEvery = 0, 200*time.Millisecond
	cfg.ConnectTimeout, cfg.MediaTimeout = 400*time.Millisecond, 400*time.Millisecond
	change(&cfg)
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{t: t, end: cancel, done: make(chan struct{})}
	go func() {
		Run(ctx, cfg, r)
		close(r.done)
	}()
	t.Cleanup(func() { r.finish() })
	return r
}

// count is how many events there were that match.
func (r *running) count(match func(line) bool) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, l := range r.lines {
		if match(l) {
			n++
		}
	}
	return n
}

func (r *running) events(name string) []line {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []line
	for _, l := range r.lines {
		if l.Event == name {
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
	for r.count(match) < n {
		if time.Now().After(deadline) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.t.Fatalf("no %s; the last events: %+v", what, r.lines[max(0, len(r.lines)-5):])
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (r *running) finish() summaryEvent {
	r.end()
	<-r.done
	return r.summary
}

func TestAQuietRunHasNothingToReport(t *testing.T) {
	t.Parallel()
	server := rtmptest.New(t, "4.0.6")
	r := start(t, server, func(c *Config) { c.Players, c.FLVPlayers, c.SampleRate, c.SampleMediaEvery = 6, 3, 50, 5 })
	r.await(1, "ready", named("ready"))
	r.await(13, "ticks", named("tick"))
	s := r.finish()

	ready := r.events("ready")[0]
	if n := r.count(func(l line) bool { return l.Event == "playing" && l.T <= ready.T }); n != 9 {
		t.Errorf("ready after %d of 9 were playing", n)
	}
	last := r.events("tick")[12]
	if last.OpenByVersion["4.0.6"] != 9 || last.Publishers != 1 || last.PlayersSilent != 0 || last.MaxSilence <= 0 || last.Bytes < 10_000 {
		t.Errorf("tick: %+v", last)
	}
	if last.LatencyP99 == nil || *last.LatencyP99 > 500 {
		t.Errorf("latency: %v", last.LatencyP99)
	}
	if s.Players != 9 || s.PlayersWanted != 9 || s.Publishers != 1 || len(s.NeverPlayed) != 0 || len(s.Silence) != 9 {
		t.Errorf("players: %+v", s)
	}
	if len(s.Cuts) != 0 || len(s.FailedByReason) != 0 || s.NoMedia != 0 || s.Stalls != 0 || s.LongestSilence > 0.9 {
		t.Errorf("events of nothing: %+v", s)
	}
	if s.Samples < 100 || s.SamplesByVersion["4.0.6"] != s.Samples || s.MediaSamples < s.Samples/5-10 || s.ConnectMS == nil {
		t.Errorf("samples: %+v", s)
	}
	open := r.events("open")
	if len(open) != 10 || open[0].Kind != "publish" || open[1].ServerID != "127.0.0.1-1" || open[9].Kind != "flv" || open[9].Version != "4.0.6" {
		t.Errorf("opens: %+v", open)
	}
}

func TestCutsAreCountedOneByOne(t *testing.T) {
	t.Parallel()
	server := rtmptest.New(t, "4.0.5")
	r := start(t, server, func(c *Config) { c.Players, c.FLVPlayers = 8, 4 })
	r.await(1, "ready", named("ready"))
	server.SetVersion("4.0.6")
	server.Cut("play", 3, false)
	server.Cut("flv", 1, false)
	r.await(4, "cuts", named("cut"))
	server.Cut("play", 2, true)
	server.Cut("publish", -1, false)
	r.await(7, "cuts", named("cut"))
	r.await(12+6, "players that come back", named("playing"))
	r.await(1, "a tick with all of them", func(l line) bool {
		return l.Event == "tick" && l.OpenByVersion["4.0.5"]+l.OpenByVersion["4.0.6"] == 12 && l.Publishers == 1
	})
	s := r.finish()

	want := map[string]int{"rtmp": 5, "flv": 1, "publish": 1}
	for kind, n := range want {
		if s.CutsCount[kind] != n {
			t.Errorf("%d cuts of %s, want %d", s.CutsCount[kind], kind, n)
		}
	}
	reasons := map[string]int{}
	for _, c := range s.Cuts {
		reasons[c.Kind+" "+c.Reason]++
		if (c.LastMedia == nil) != (c.Kind == "publish") || c.Version == "" || c.OpenSeconds <= 0 {
			t.Errorf("cut: %+v", c)
		}
	}
	if len(s.Cuts) != 7 || reasons["rtmp reset"] != 2 || reasons["rtmp eof"] != 3 || reasons["flv eof"] != 1 || reasons["publish eof"] != 1 {
		t.Errorf("%d cuts: %v", len(s.Cuts), reasons)
	}
	if s.OpenByVersion["4.0.6"] < 3 || s.Players != 12 || s.Publishers != 1 || len(s.FailedByReason) != 0 {
		t.Errorf("%+v", s)
	}
	if n := r.count(func(l line) bool { return l.Event == "open" && l.Attempt > 1 }); n != 7 {
		t.Errorf("%d came back, want 7", n)
	}
}

func TestWithoutReopenACutPlayerStaysAway(t *testing.T) {
	t.Parallel()
	server := rtmptest.New(t, "4.0.6")
	r := start(t, server, func(c *Config) { c.Players, c.Reopen = 3, false })
	r.await(1, "ready", named("ready"))
	server.Cut("play", 2, false)
	r.await(2, "cuts", named("cut"))
	time.Sleep(2 * reopenFirst)
	if s := r.finish(); s.Players != 1 || s.PlayersWanted != 3 || s.CutsCount["rtmp"] != 2 {
		t.Errorf("%+v", s)
	}
}

func TestRefusedConnectionsAreCountedAndOpenOnesAreNot(t *testing.T) {
	t.Parallel()
	server := rtmptest.New(t, "4.0.6")
	r := start(t, server, func(c *Config) { c.Players, c.SampleRate = 3, 100 })
	r.await(1, "ready", named("ready"))
	r.await(1, "a tick", named("tick"))
	server.Refuse()
	time.Sleep(500 * time.Millisecond)
	server.Listen()
	time.Sleep(200 * time.Millisecond)
	s := r.finish()
	n, reset := s.FailedByReason["refused"], s.FailedByReason["reset"]
	// A listener that closes resets what it hasn't accepted yet.
	if n < 35 || n > 65 || reset > 10 || s.FailedByWhat["sample"] != n+reset {
		t.Errorf("refused for half a second at 100 a second: %v, %v", s.FailedByReason, s.FailedByWhat)
	}
	if len(s.Cuts) != 0 || s.Players != 3 {
		t.Errorf("the players were none of it: %+v", s.Cuts)
	}
	if got := r.count(func(l line) bool { return l.Event == "failed" && l.What == "sample" && l.Reason == "refused" }); got != n {
		t.Errorf("%d events for %d failures", got, n)
	}
}

func TestSlowAnswersDoNotSlowTheSamplesDown(t *testing.T) {
	t.Parallel()
	server := rtmptest.New(t, "4.0.6")
	server.Mute(true)
	r := start(t, server, func(c *Config) { c.Publish, c.Play, c.SampleRate = nil, nil, 100 })
	r.await(10, "ticks", named("tick"))
	s := r.finish()
	// In 2 s at 100 a second, those of the last 0.4 s have no result yet.
	n := s.FailedByReason["timeout"]
	if n < 140 || n > 180 || s.Samples != n || s.Unfinished < 20 || s.Unfinished > 60 {
		t.Errorf("%d time-outs of %d, %d unfinished", n, s.Samples, s.Unfinished)
	}
	if tick := r.events("tick")[9]; tick.InFlight < 20 {
		t.Errorf("%d in flight", tick.InFlight)
	}
}

func TestResetsAreToldFromRefusals(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	}()
	server := rtmptest.New(t, "4.0.6")
	r := start(t, server, func(c *Config) {
		c.Publish, c.Play, c.SampleRate, c.RTMPAddr = nil, nil, 50, listener.Addr().String()
	})
	r.await(20, "failures", named("failed"))
	if s := r.finish(); s.FailedByReason["reset"] != s.Samples || s.Samples < 20 {
		t.Errorf("%v of %d", s.FailedByReason, s.Samples)
	}
}

func TestRejectionsAreFailures(t *testing.T) {
	t.Parallel()
	server := rtmptest.New(t, "4.0.6")
	server.Reject(true)
	r := start(t, server, func(c *Config) {
		c.Publish, c.Players, c.FLVPlayers, c.SampleRate = nil, 1, 0, 20
	})
	r.await(5, "failed samples", func(l line) bool { return l.What == "sample" && l.Reason == "rejected" })
	r.await(2, "failed opens", func(l line) bool { return l.What == "open" && l.Reason == "rejected" && l.ID == "rtmp-1" })
	s := r.finish()
	if s.Players != 0 || len(s.NeverPlayed) != 1 || len(s.Cuts) != 0 || s.FailedByWhat["open"] < 2 {
		t.Errorf("%+v", s)
	}

	r = start(t, server, func(c *Config) { c.Publish, c.FLVPlayers = nil, 1 })
	r.await(1, "a failed open", func(l line) bool { return l.What == "open" && l.Kind == "flv" && l.Reason == "http 404" })
}

func TestStallsAreMeasuredAndOpenOnesAreReported(t *testing.T) {
	t.Parallel()
	server := rtmptest.New(t, "4.0.6")
	r := start(t, server, func(c *Config) { c.Players, c.FLVPlayers, c.Stall = 3, 2, 300*time.Millisecond })
	r.await(1, "ready", named("ready"))
	server.Stall(true)
	time.Sleep(1200 * time.Millisecond)
	server.Stall(false)
	r.await(5, "stalls", named("stall"))
	for _, stall := range r.events("stall") {
		if stall.Seconds < 1.1 || stall.Seconds > 2 || stall.Reconnect {
			t.Errorf("a stall of 1.2 s: %+v", stall)
		}
	}
	r.await(1, "a tick that shows it", func(l line) bool { return l.Event == "tick" && l.PlayersSilent == 5 && l.MaxSilence > 0.3 })
	server.Stall(true)
	time.Sleep(500 * time.Millisecond)
	s := r.finish()
	if s.Stalls != 5 || len(s.OpenStalls) != 5 || len(s.Cuts) != 0 || s.LongestSilence < 1.1 || s.Silence["flv-4"] < 1.1 {
		t.Errorf("%+v", s)
	}
	if open := s.OpenStalls[0]; open.Seconds < 0.45 || open.Seconds > 1.1 || open.ID != "rtmp-1" || open.Version != "4.0.6" {
		t.Errorf("%+v", open)
	}
}

func TestSilenceSpansACut(t *testing.T) {
	t.Parallel()
	server := rtmptest.New(t, "4.0.6")
	r := start(t, server, func(c *Config) { c.Players, c.Stall = 2, 300*time.Millisecond })
	r.await(1, "ready", named("ready"))
	server.Refuse()
	server.Cut("play", 1, false)
	r.await(2, "failed opens", func(l line) bool { return l.Event == "failed" && l.What == "open" })
	server.Listen()
	r.await(1, "the stall", named("stall"))
	stall := r.events("stall")[0]
	s := r.finish()
	// Back after 0.2 s and refused, after 0.4 s more and refused, after 0.8 s more.
	if stall.Seconds < 0.5 || stall.Seconds > 2.5 || !stall.Reconnect || s.Silence[stall.ID] < stall.Seconds-0.01 {
		t.Errorf("%+v, %v", stall, s.Silence)
	}
	if s.CutsCount["rtmp"] != 1 || s.Stalls != 1 {
		t.Errorf("%v, %d stalls", s.CutsCount, s.Stalls)
	}
}

func TestASampleOfADeadStreamHasNoMedia(t *testing.T) {
	t.Parallel()
	server := rtmptest.New(t, "4.0.6")
	r := start(t, server, func(c *Config) { c.Players, c.SampleRate, c.SampleMediaEvery = 1, 20, 2 })
	r.await(1, "ready", named("ready"))
	server.Stall(true) // its headers still come
	r.await(5, "samples without media", named("nomedia"))
	s := r.finish()
	if s.NoMedia < 5 || s.MediaSamples < s.NoMedia || len(s.FailedByReason) != 0 {
		t.Errorf("%d of %d without media; %v", s.NoMedia, s.MediaSamples, s.FailedByReason)
	}
	if e := r.events("nomedia")[0]; e.Reason != "timeout" || e.Version != "4.0.6" {
		t.Errorf("%+v", e)
	}
}

func TestTheEndIsNoCut(t *testing.T) {
	t.Parallel()
	server := rtmptest.New(t, "4.0.6")
	r := start(t, server, func(c *Config) { c.Players, c.FLVPlayers, c.SampleRate = 20, 10, 50 })
	r.await(1, "ready", named("ready"))
	s := r.finish()
	if r.count(named("cut")) != 0 || r.count(named("failed")) != 0 || s.Players != 30 {
		t.Errorf("%+v", s)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if last := r.lines[len(r.lines)-1]; last.Event != "summary" {
		t.Errorf("the last line is %s", last.Event)
	}
}
