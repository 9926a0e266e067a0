package rtmpload

import (
	"encoding/json"
	"io"
	"math"
	"slices"
	"time"
)

// stamp is the head of every line.
type stamp struct {
	T     float64 `json:"t"` // seconds since 1970
	Event string  `json:"event"`
}

func stamped(event string) stamp { return stamp{float64(time.Now().UnixMicro()) / 1e6, event} }

// event is one of
//
//	ready    every player has had media, and every publisher was accepted
//	open     a connection was accepted, which for a publisher is when it may send
//	cut      an open connection was dropped, not by this program
//	failed   a connection was refused, reset, rejected or not answered in time: of a sample, or an "open"
//	nomedia  a sample got no frame in time
//
// with the fields that apply.
type event struct {
	stamp
	What     string `json:"what"` // of failed: sample or open
	Kind     string `json:"kind"` // rtmp, flv or publish
	ID       string `json:"id"`
	Version  string `json:"version"`   // of the server
	ServerID string `json:"server_id"` // not known over HTTP
	Detail   string `json:"detail"`    // the error
}

// tick is the state now, and the samples since the last tick.
type tick struct {
	stamp
	OpenByVersion    map[string]int `json:"open_by_version"` // players
	SamplesByVersion map[string]int `json:"samples_by_version"`
	PlayersSilent    int            `json:"players_silent"`  // without a frame for more than a second, now
	LongestSilence   float64        `json:"longest_silence"` // of a player now, in seconds
}

// summary is the last line.
type summary struct {
	stamp
	Players          int                `json:"players"` // with an open connection at the end
	PlayersWanted    int                `json:"players_wanted"`
	Publishers       int                `json:"publishers"` // accepted at the end
	PublishersWanted int                `json:"publishers_wanted"`
	Samples          int                `json:"samples"` // answered or failed
	SamplesByVersion map[string]int     `json:"samples_by_version"`
	FailedByWhat     map[string]int     `json:"failed_by_what"`
	Cuts             []event            `json:"cuts"`
	LongestSilence   float64            `json:"longest_silence"` // seconds
	Silence          map[string]float64 `json:"silence"`         // the longest of each player
	ConnectMS        *quantiles         `json:"connect_ms"`      // of samples; null without any
	MaxSchedLagMS    float64            `json:"max_sched_lag_ms"`
}

// quantiles in milliseconds.
type quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func quantilesOf(times []time.Duration) *quantiles {
	if len(times) == 0 {
		return nil
	}
	slices.Sort(times)
	at := func(part float64) float64 { return milliseconds(times[int(math.Ceil(part*float64(len(times))))-1]) }
	return &quantiles{P50: at(0.5), P99: at(0.99), Max: at(1)}
}

func milliseconds(d time.Duration) float64 { return math.Round(d.Seconds()*1e6) / 1e3 }

// outbox writes lines of JSON in its own goroutine: a slow reader must not delay what is measured.
type outbox struct {
	lines chan any
	done  chan struct{}
}

func newOutbox(w io.Writer) *outbox {
	const capacity = 100_000
	o := &outbox{make(chan any, capacity), make(chan struct{})}
	go func() {
		defer close(o.done)
		encoder := json.NewEncoder(w)
		for line := range o.lines {
			encoder.Encode(line)
		}
	}()
	return o
}

// close writes what is left.
func (o *outbox) close() {
	close(o.lines)
	<-o.done
}
