package rtmpload

import (
	"encoding/json"
	"io"
	"math"
	"sync"
	"time"
)

// stamp is the head of every line.
type stamp struct {
	T     float64 `json:"t"` // seconds since 1970
	Event string  `json:"event"`
}

func stamped(event string) stamp {
	return stamp{T: math.Round(float64(time.Now().UnixMicro())/10) / 1e5, Event: event}
}

// openEvent: a connection was accepted, which for a publisher is when it may send.
type openEvent struct {
	stamp
	Kind     string `json:"kind"` // rtmp, flv or publish
	ID       string `json:"id"`
	Stream   string `json:"stream"`
	Version  string `json:"version"`
	ServerID string `json:"server_id"`
	Peer     string `json:"peer"`
	Attempt  int    `json:"attempt"` // 1 for the first connection
}

// playingEvent: the first frame on this connection.
type playingEvent struct {
	stamp
	Kind    string  `json:"kind"`
	ID      string  `json:"id"`
	Version string  `json:"version"`
	Seconds float64 `json:"seconds"` // since it began to connect
	Attempt int     `json:"attempt"`
}

// cutEvent: an open connection ended and it wasn't us.
type cutEvent struct {
	stamp
	Kind        string   `json:"kind"`
	ID          string   `json:"id"`
	Version     string   `json:"version"`
	ServerID    string   `json:"server_id"`
	Reason      string   `json:"reason"`
	Detail      string   `json:"detail"`
	OpenSeconds float64  `json:"open_seconds"`
	LastMedia   *float64 `json:"last_media_seconds_ago"` // null for publishers and where none ever came
}

// stallEvent: a frame came after a silence that was too long.
type stallEvent struct {
	stamp
	Kind      string  `json:"kind"`
	ID        string  `json:"id"`
	Version   string  `json:"version"`
	Seconds   float64 `json:"seconds"`
	Reconnect bool    `json:"reconnect"` // the silence spans a cut
}

// failedEvent: a connection that didn't come about (sample or open), or a sample that saw no media (nomedia).
type failedEvent struct {
	stamp
	What    string `json:"what"`
	Reason  string `json:"reason"`
	Detail  string `json:"detail"`
	Kind    string `json:"kind,omitempty"`
	ID      string `json:"id,omitempty"`
	Version string `json:"version,omitempty"`
}

// readyEvent: every player had media and every publisher was accepted.
type readyEvent struct {
	stamp
	Seconds    float64 `json:"seconds"` // since the start
	Players    int     `json:"players"`
	Publishers int     `json:"publishers"`
}

// quantiles in milliseconds.
type quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func quantilesOf(h *histogram) *quantiles {
	q := h.quantiles(0.5, 0.99)
	if q == nil {
		return nil
	}
	return &quantiles{P50: milliseconds(q[0]), P99: milliseconds(q[1]), Max: milliseconds(h.most.get())}
}

// tickEvent: the state now, and what happened since the tick before.
type tickEvent struct {
	stamp
	OpenByVersion    map[string]int `json:"open_by_version"` // players
	Publishers       int            `json:"publishers"`
	SamplesByVersion map[string]int `json:"samples_by_version"`
	Failed           int            `json:"failed"`  // samples and opens
	NoMedia          int            `json:"nomedia"` // samples
	InFlight         int            `json:"in_flight"`
	Bytes            int64          `json:"bytes"`
	PlayersSilent    int            `json:"players_silent"` // no frame for longer than -stall, now
	MaxSilence       float64        `json:"max_silence"`    // the longest that ended since the last tick or goes on
	SchedLagMS       float64        `json:"sched_lag_ms"`
	LatencyP50       *float64       `json:"latency_ms_p50"` // null without frames of ours
	LatencyP99       *float64       `json:"latency_ms_p99"`
}

// openStall is a silence that is too long and hadn't ended at the end.
type openStall struct {
	Kind    string  `json:"kind"`
	ID      string  `json:"id"`
	Version string  `json:"version"`
	Seconds float64 `json:"seconds"`
}

// summaryEvent is the last line.
type summaryEvent struct {
	stamp
	Seconds          float64            `json:"seconds"`
	Players          int                `json:"players"`        // with an open connection at the end
	PlayersWanted    int                `json:"players_wanted"` // as the flags say
	Publishers       int                `json:"publishers"`     // accepted at the end
	PublishersWanted int                `json:"publishers_wanted"`
	OpenByVersion    map[string]int     `json:"open_by_version"`
	NeverPlayed      []string           `json:"never_played"`
	Samples          int                `json:"samples"` // answered or failed
	SamplesByVersion map[string]int     `json:"samples_by_version"`
	Unfinished       int                `json:"unfinished"` // samples that the end cut short
	NoMedia          int                `json:"nomedia"`
	MediaSamples     int                `json:"media_samples"`
	FailedByReason   map[string]int     `json:"failed_by_reason"` // samples and opens
	FailedByWhat     map[string]int     `json:"failed_by_what"`
	Cuts             []cutEvent         `json:"cuts"` // the first 10000
	CutsCount        map[string]int     `json:"cuts_count"`
	Stalls           int                `json:"stalls"`
	OpenStalls       []openStall        `json:"open_stalls"`
	LongestSilence   float64            `json:"longest_silence"`
	Silence          map[string]float64 `json:"silence"` // the longest of each player
	ConnectMS        *quantiles         `json:"connect_ms"`
	LatencyMS        *quantiles         `json:"latency_ms"`
	MaxSchedLagMS    float64            `json:"max_sched_lag_ms"`
}

// outbox writes lines in its own goroutine: a reader that is slow must not slow the measuring down.
type outbox struct {
	w       io.Writer
	mu      sync.Mutex
	waiting [][]byte
	closing bool
	wake    *sync.Cond
	done    chan struct{}
}

func newOutbox(w io.Writer) *outbox {
	o := &outbox{w: w, done: make(chan struct{})}
	o.wake = sync.NewCond(&o.mu)
	go o.run()
	return o
}

// emit takes an event; its order is that of the calls.
func (o *outbox) emit(event any) {
	line, err := json.Marshal(event)
	if err != nil {
		panic(err) // our own structs, without a NaN in them
	}
	o.mu.Lock()
	o.waiting = append(o.waiting, append(line, '\n'))
	o.mu.Unlock()
	o.wake.Signal()
}

func (o *outbox) run() {
	defer close(o.done)
	for {
		o.mu.Lock()
		for len(o.waiting) == 0 && !o.closing {
			o.wake.Wait()
		}
		lines := o.waiting
		o.waiting = nil
		o.mu.Unlock()
		if lines == nil {
			return
		}
		for _, line := range lines {
			o.w.Write(line) // whoever closed it doesn't want to know
		}
	}
}

// close writes what is left.
func (o *outbox) close() {
	o.mu.Lock()
	o.closing = true
	o.mu.Unlock()
	o.wake.Signal()
	<-o.done
}
