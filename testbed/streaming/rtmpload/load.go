// Package rtmpload is rtmp-load: it keeps many RTMP and HTTP-FLV connections open through an address, opens new ones
// at a steady rate, and reports what happens to each of them, as lines of JSON.
//
// It is the instrument behind the promise that a rolling update drops no connection and refuses none. So it must be
// able to show the opposite: no answer is a failure, new connections keep their pace however slow the answers are, and
// it reports how late it was itself.
package rtmpload

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// settleTime is how long players wait for the publishers, and FLV players for the RTMP ones, before they start
	// all the same.
	settleTime = 10 * time.Second

	// deadAfter ends a connection whose peer vanished. Media flows one way only, so without it a player would wait
	// for ever.
	deadAfter = 20 * time.Second

	maxCuts = 10_000 // in the summary
)

// config is the command line; the durations are constants that tests shorten.
type config struct {
	rtmp, http          string // host:port
	publish, play       []string
	players, flvPlayers int
	startRate           float64 // players opened per second at the start
	sampleRate          float64 // new connections per second
	reopen              bool
	ca                  *x509.CertPool // of HTTPS; nil: HTTP

	answerTimeout time.Duration // for a connection to be answered
	mediaTimeout  time.Duration // for a sample's first frame
	stall         time.Duration // a player without a frame for longer is silent
	tick          time.Duration
}

// load is one run.
type load struct {
	config
	ctx    context.Context // ends the connections
	dialer net.Dialer
	wait   sync.WaitGroup

	viewers            []*viewer
	published, playing *countdown

	mu           sync.Mutex // guards the rest, and the viewers' times
	ended        bool       // nothing counts any more
	out          *outbox
	open         map[string]int // players by version
	accepted     int            // publishers
	inFlight     int            // samples
	samples      map[string]int
	tickSamples  map[string]int
	failures     map[string]int
	cuts         []event
	connectTimes []time.Duration
	maxLag       time.Duration
}

// countdown closes its channel when it was decremented n times.
type countdown struct {
	mu   sync.Mutex
	left int
	done chan struct{}
}

func newCountdown(n int) *countdown {
	c := &countdown{left: n, done: make(chan struct{})}
	if n == 0 {
		close(c.done)
	}
	return c
}

func (c *countdown) decrement() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left == 0 {
		close(c.done)
	}
}

// run runs the load until ctx ends and writes its events to w, the summary last.
func run(ctx context.Context, cfg config, w io.Writer) {
	connections, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	l := &load{
		config: cfg, ctx: connections, out: newOutbox(w),
		published: newCountdown(len(cfg.publish)),
		playing:   newCountdown(cfg.players + cfg.flvPlayers),
		open:      map[string]int{}, samples: map[string]int{}, tickSamples: map[string]int{},
		failures: map[string]int{}, cuts: []event{},
	}
	l.dialer = net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: deadAfter / 4, Interval: deadAfter / 4, Count: 3},
		Control:         userTimeout,
	}
	for i := range l.players + l.flvPlayers {
		kind := "rtmp"
		if i >= l.players {
			kind = "flv"
		}
		id := fmt.Sprintf("%s-%d", kind, i+1)
		l.viewers = append(l.viewers, &viewer{load: l, kind: kind, id: id, stream: l.play[i%len(l.play)]})
	}
	go l.measureLag(ctx)
	go l.ticks(ctx)
	go l.announceReady(ctx)
	l.wait.Go(func() { l.start(ctx) })

	<-ctx.Done()
	l.end()
	cancel()
	l.settle()
	l.out.close()
}

// userTimeout makes the kernel give up what is not acknowledged; keep-alives alone do not while data is unacknowledged.
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

// start starts the publishers, then samples and players.
func (l *load) start(ctx context.Context) {
	for _, stream := range l.publish {
		p := &publisher{load: l, stream: stream}
		l.keepOpen("publish", "publish-"+stream, p.publish)
	}
	await(ctx, l.published.done, settleTime)
	if l.sampleRate > 0 {
		l.wait.Go(func() { l.takeSamples(ctx) })
	}
	for _, v := range l.viewers {
		sleep(ctx, time.Duration(float64(time.Second)/l.startRate))
		if ctx.Err() != nil {
			return
		}
		l.keepOpen(v.kind, v.id, v.watch)
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

// record runs change, with the mutex locked, unless the run has ended. All events are sent within.
func (l *load) record(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		change()
	}
}

func (l *load) announceReady(ctx context.Context) {
	for _, done := range []chan struct{}{l.published.done, l.playing.done} {
		select {
		case <-ctx.Done():
			return
		case <-done:
		}
	}
	l.record(func() { l.out.lines <- event{stamp: stamped("ready")} })
}

// late notes how long after its time something of ours happened.
func (l *load) late(lag time.Duration) {
	l.record(func() { l.maxLag = max(l.maxLag, lag) })
}

// measureLag measures whether this process gets to run when it should.
func (l *load) measureLag(ctx context.Context) {
	const interval = 20 * time.Millisecond
	for ctx.Err() == nil {
		due := time.Now().Add(interval)
		sleep(ctx, interval)
		l.late(time.Since(due))
	}
}

func (l *load) ticks(ctx context.Context) {
	ticker := time.NewTicker(l.tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			l.record(func() {
				t := tick{stamp: stamped("tick"), OpenByVersion: maps.Clone(l.open), SamplesByVersion: l.tickSamples}
				l.tickSamples = map[string]int{}
				for _, v := range l.viewers {
					silence := v.silence(now)
					if silence > l.stall {
						t.PlayersSilent++
					}
					t.LongestSilence = max(t.LongestSilence, silence.Seconds())
				}
				l.out.lines <- t
			})
		}
	}
}

// end stops the recording and sends the summary. What happens from here on is our own doing.
func (l *load) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	s := summary{
		stamp:         stamped("summary"),
		PlayersWanted: l.players + l.flvPlayers, Publishers: l.accepted, PublishersWanted: len(l.publish),
		Samples: l.failures["sample"], SamplesByVersion: l.samples, FailedByWhat: l.failures, Cuts: slices.Clone(l.cuts),
		Silence: map[string]float64{}, ConnectMS: quantilesOf(l.connectTimes), MaxSchedLagMS: milliseconds(l.maxLag),
	}
	for _, n := range l.open {
		s.Players += n
	}
	for _, n := range l.samples {
		s.Samples += n
	}
	now := time.Now()
	for _, v := range l.viewers {
		longest := max(v.longest, v.silence(now)).Seconds()
		s.Silence[v.id] = longest
		s.LongestSilence = max(s.LongestSilence, longest)
	}
	l.out.lines <- s
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
