// Package load is rtmp-load: it holds many RTMP and HTTP-FLV connections through an address, opens new
// ones at a steady rate, and says exactly what happens to each of them.
//
// It's the instrument behind the promise that a rolling update cuts no connection and refuses none. So
// it must be able to show the opposite: what isn't seen is counted as bad (a silence as silence, no
// answer as a failure), new connections keep their pace however slow the answers are, and it reports
// how late it was itself.
package rtmpload

import (
	"context"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// settleTime is how long players wait for the publishers, and FLV players for the RTMP ones, before
	// they start all the same.
	settleTime = 10 * time.Second

	// deadAfter ends a connection whose peer is gone without a word. Media flows one way only, so
	// without it a player would wait for ever.
	deadAfter = 20 * time.Second

	watchEvery  = 20 * time.Millisecond
	maxCuts     = 10_000 // that are listed in the summary
	maxInFlight = 5_000  // samples
)

// Config is what the flags say.
type Config struct {
	RTMPAddr, HTTPAddr  string // host:port
	Publish, Play       []string
	Players, FLVPlayers int
	StartRate           float64 // players opened per second at the start; 0: all at once
	SampleRate          float64 // new connections per second
	SampleMediaEvery    int     // every k-th sample waits for media; 0: none
	MediaTimeout        time.Duration
	ConnectTimeout      time.Duration
	Bitrate             int // kbit/s
	FPS                 int
	GOP                 time.Duration
	Reopen              bool
	Stall               time.Duration

	tickEvery time.Duration // a second; tests have less time
}

// load is one run.
type load struct {
	cfg    Config
	base   time.Time
	out    *outbox
	ctx    context.Context // ends the connections
	dialer net.Dialer
	wait   sync.WaitGroup

	viewers    []*viewer
	publishers []*publisher

	allPublish, rtmpPlay, allPlay countdown

	bytes                   atomic.Int64
	inFlight                atomic.Int64
	connect                 histogram
	latency, tickLatency    histogram
	lag, tickLag, tickQuiet highest

	mu               sync.Mutex
	ended            bool // nothing counts any more
	open             map[string]int
	accepted         int // publishers
	samples          map[string]int
	tickSamples      map[string]int
	tickFailed       int
	tickNoMedia      int
	noMedia          int
	mediaSamples     int
	failedByReason   map[string]int
	failedByWhat     map[string]int
	cuts             []cutEvent
	cutsCount        map[string]int
	stalls, failures int
}

// countdown closes its channel when it has been hit n times.
type countdown struct {
	left atomic.Int64
	done chan struct{}
}

func (c *countdown) start(n int) {
	c.done = make(chan struct{})
	if c.left.Store(int64(n)); n == 0 {
		close(c.done)
	}
}

func (c *countdown) hit() {
	if c.left.Add(-1) == 0 {
		close(c.done)
	}
}

// Run runs the load until ctx ends and writes its events to w, the summary last.
func Run(ctx context.Context, cfg Config, w io.Writer) {
	connections, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	l := &load{
		cfg: cfg, base: time.Now(), out: newOutbox(w), ctx: connections,
		open: map[string]int{}, samples: map[string]int{}, tickSamples: map[string]int{},
		failedByReason: map[string]int{}, failedByWhat: map[string]int{},
		cutsCount: map[string]int{"rtmp": 0, "flv": 0, "publish": 0},
	}
	l.dialer = net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: deadAfter / 4, Interval: deadAfter / 4, Count: 3},
		Control:         userTimeout,
	}
	l.plan()

	go l.watchScheduler(ctx)
	go l.ticks(ctx)
	go l.announceReady(ctx)
	for _, p := range l.publishers {
		l.hold(p)
	}
	l.wait.Go(func() { l.follow(ctx) })

	<-ctx.Done()
	summary := l.end()
	cancel()
	l.settle()
	l.out.emit(summary)
	l.out.close()
}

// userTimeout makes the kernel give up what isn't acknowledged; keep-alives alone are held back by it.
func userTimeout(_, _ string, raw syscall.RawConn) error {
	const tcpUserTimeout = 18
	var err error
	if failed := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(deadAfter.Milliseconds()))
	}); failed != nil {
		return failed
	}
	return err
}

// plan makes the publishers and players; none is started yet.
func (l *load) plan() {
	for _, stream := range l.cfg.Publish {
		l.publishers = append(l.publishers, newPublisher(l, stream))
	}
	for i := range l.cfg.Players + l.cfg.FLVPlayers {
		kind := "rtmp"
		if i >= l.cfg.Players {
			kind = "flv"
		}
		l.viewers = append(l.viewers, newViewer(l, kind, i+1, l.cfg.Play[i%len(l.cfg.Play)]))
	}
	l.allPublish.start(len(l.publishers))
	l.rtmpPlay.start(l.cfg.Players)
	l.allPlay.start(len(l.viewers))
}

// follow starts what comes after the publishers: samples, RTMP players, FLV players. In SRS 6 an edge
// whose first viewer of a stream comes by HTTP-FLV sends nothing of this stream to anybody.
func (l *load) follow(ctx context.Context) {
	await(ctx, l.allPublish.done, settleTime)
	if l.cfg.SampleRate > 0 {
		l.wait.Go(func() { l.sampleForever(ctx) })
	}
	l.startPaced(ctx, l.viewers[:l.cfg.Players])
	if l.cfg.FLVPlayers > 0 {
		await(ctx, l.rtmpPlay.done, settleTime)
		l.startPaced(ctx, l.viewers[l.cfg.Players:])
	}
}

func (l *load) startPaced(ctx context.Context, viewers []*viewer) {
	began := time.Now()
	for i, v := range viewers {
		if l.cfg.StartRate > 0 {
			due := time.Duration(float64(i) / l.cfg.StartRate * float64(time.Second))
			sleep(ctx, due-time.Since(began))
		}
		if ctx.Err() != nil {
			return
		}
		l.hold(v)
	}
}

// await waits until done is closed, for d at most.
func await(ctx context.Context, done <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-done:
	case <-timer.C:
	}
}

func sleep(ctx context.Context, d time.Duration) { await(ctx, nil, d) }

func (l *load) announceReady(ctx context.Context) {
	for _, done := range []chan struct{}{l.allPublish.done, l.allPlay.done} {
		select {
		case <-ctx.Done():
			return
		case <-done:
		}
	}
	l.out.emit(readyEvent{
		stamp: stamped("ready"), Seconds: seconds(l.now()),
		Players: len(l.viewers), Publishers: len(l.publishers),
	})
}

// now is the time since the start, on a clock that nobody sets. It's never 0, which means "never".
func (l *load) now() time.Duration { return max(1, time.Since(l.base)) }

// late notes how long after its time something of ours happened.
func (l *load) late(lag time.Duration) {
	l.lag.raise(lag)
	l.tickLag.raise(lag)
}

// watchScheduler sees whether this process gets to run when it wants to.
func (l *load) watchScheduler(ctx context.Context) {
	for ctx.Err() == nil {
		due := time.Now().Add(watchEvery)
		sleep(ctx, watchEvery)
		l.late(time.Since(due))
	}
}

func (l *load) ticks(ctx context.Context) {
	for k := 1; ; k++ {
		sleep(ctx, time.Duration(k)*l.cfg.tickEvery-l.now())
		if ctx.Err() != nil {
			return
		}
		l.out.emit(l.tick())
	}
}

func (l *load) tick() tickEvent {
	now := l.now()
	quiet, silent := l.tickQuiet.take(), 0
	for _, v := range l.viewers {
		if since := v.silence(now); since > 0 {
			quiet = max(quiet, since)
			if since > l.cfg.Stall {
				silent++
			}
		}
	}
	e := tickEvent{
		stamp: stamped("tick"), Bytes: l.bytes.Swap(0), InFlight: int(l.inFlight.Load()),
		PlayersSilent: silent, MaxSilence: seconds(quiet), SchedLagMS: milliseconds(l.tickLag.take()),
	}
	if q := quantilesOf(&l.tickLatency); q != nil {
		e.LatencyP50, e.LatencyP99 = &q.P50, &q.P99
	}
	l.tickLatency.reset()

	l.mu.Lock()
	defer l.mu.Unlock()
	e.OpenByVersion = maps.Clone(l.open)
	e.Publishers = l.accepted
	e.SamplesByVersion, l.tickSamples = l.tickSamples, map[string]int{}
	e.Failed, l.tickFailed = l.tickFailed, 0
	e.NoMedia, l.tickNoMedia = l.tickNoMedia, 0
	return e
}

// end stops the counting and sums up. What happens from here on is our own doing.
func (l *load) end() summaryEvent {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	now := l.now()
	e := summaryEvent{
		stamp: stamped("summary"), Seconds: seconds(now),
		PlayersWanted: len(l.viewers), Publishers: l.accepted, PublishersWanted: len(l.publishers),
		OpenByVersion: maps.Clone(l.open), NeverPlayed: []string{},
		SamplesByVersion: maps.Clone(l.samples), Samples: l.failedByWhat["sample"], Unfinished: int(l.inFlight.Load()),
		NoMedia: l.noMedia, MediaSamples: l.mediaSamples,
		FailedByReason: maps.Clone(l.failedByReason), FailedByWhat: maps.Clone(l.failedByWhat),
		Cuts: slices.Clone(l.cuts), CutsCount: maps.Clone(l.cutsCount), Stalls: l.stalls, OpenStalls: []openStall{},
		Silence: map[string]float64{}, ConnectMS: quantilesOf(&l.connect), LatencyMS: quantilesOf(&l.latency),
		MaxSchedLagMS: milliseconds(l.lag.get()),
	}
	if e.Cuts == nil {
		e.Cuts = []cutEvent{}
	}
	for _, n := range l.open {
		e.Players += n
	}
	for _, n := range l.samples {
		e.Samples += n
	}
	for _, v := range l.viewers {
		since := v.silence(now)
		if since == 0 {
			e.NeverPlayed = append(e.NeverPlayed, v.id)
			continue
		}
		if since > l.cfg.Stall {
			version, _ := v.version.Load().(string)
			e.OpenStalls = append(e.OpenStalls, openStall{Kind: v.kind, ID: v.id, Version: version, Seconds: seconds(since)})
		}
		longest := seconds(max(since, v.longest.get()))
		e.Silence[v.id] = longest
		e.LongestSilence = max(e.LongestSilence, longest)
	}
	return e
}

// settle gives the connections a moment to close in order.
func (l *load) settle() {
	closed := make(chan struct{})
	go func() {
		l.wait.Wait()
		close(closed)
	}()
	await(context.Background(), closed, time.Second)
}

// counting runs change unless the end has come.
func (l *load) counting(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		change()
	}
}
