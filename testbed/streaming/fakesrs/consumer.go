package fakesrs

import (
	"time"

	"srs.testbed/streaming/rtmp"
)

// jitterRule is what happens to timestamps on their way to a player.
type jitterRule string

const (
	jitterFull jitterRule = "full" // monotonous and without jumps: a republished stream goes on smoothly
	jitterZero jitterRule = "zero" // begins at 0
)

// Larger steps than this are no steps of one stream; defaultStep replaces them.
const (
	maxStep     = 250
	defaultStep = 10
)

// jitter corrects the timestamps of one player, in milliseconds.
type jitter struct {
	rule      jitterRule
	last      int64 // as it came
	corrected int64 // as it was sent; -1 before the first
}

func (j *jitter) correct(f *frame) uint32 {
	time := int64(f.timestamp)
	switch j.rule {
	case jitterFull:
		if !f.isAV() {
			return 0
		}
		step := time - j.last
		if step < -maxStep || step > maxStep {
			step = defaultStep
		}
		j.corrected = max(0, j.corrected+step)
		j.last = time
		return uint32(j.corrected)
	case jitterZero:
		if j.corrected < 0 {
			j.corrected = time
		}
		return uint32(time - j.corrected)
	}
	return f.timestamp
}

// queued is a frame with the timestamp that this player gets.
type queued struct {
	*frame
	at uint32
}

// consumer is a player's queue. A player that doesn't keep up loses what waits for it, so that it costs
// the others nothing. The thread guards all but ready.
type consumer struct {
	source *source
	jitter jitter
	queue  []queued
	start  int64 // timestamps of the queue, in milliseconds; -1: none yet
	end    int64
	paused bool

	// SRS writes to a player when this much waits for it ("merged write"), not for each frame.
	min     int
	latency time.Duration
	waiting bool
	ready   chan struct{}
}

func newConsumer(src *source, min int, latency time.Duration) *consumer {
	return &consumer{
		source: src, jitter: jitter{rule: src.vhost.jitter, corrected: -1},
		start: -1, end: -1, min: min, latency: latency, ready: make(chan struct{}, 1),
	}
}

// enqueue adds a frame; the thread is held.
func (c *consumer) enqueue(f *frame) {
	at := c.jitter.correct(f)
	if f.isAV() {
		if c.start < 0 {
			c.start = int64(at)
		}
		c.end = int64(at)
	}
	c.queue = append(c.queue, queued{f, at})
	if c.duration() > c.source.vhost.queueLength {
		c.shrink()
	}
	if c.waiting && c.due() {
		c.wake()
	}
}

func (c *consumer) duration() time.Duration {
	return time.Duration(c.end-c.start) * time.Millisecond
}

// shrink drops everything but the last sequence headers, without which nothing later can be decoded.
func (c *consumer) shrink() {
	var audio, video *queued
	for i := range c.queue {
		switch q := &c.queue[i]; {
		case !q.isSequenceHeader():
		case q.isVideo():
			video = q
		default:
			audio = q
		}
	}
	var kept []queued
	for _, q := range []*queued{video, audio} {
		if q != nil {
			kept = append(kept, queued{q.frame, uint32(c.end)})
		}
	}
	c.source.server.log.trace(c.source.id, "shrinking, size=%d, removed=%d, max=%dms", len(kept), len(c.queue)-len(kept), c.source.vhost.queueLength.Milliseconds())
	c.queue, c.start = kept, c.end
}

func (c *consumer) due() bool { return len(c.queue) > c.min && c.duration() > c.latency }

// wake makes the player's loop look again.
func (c *consumer) wake() {
	c.waiting = false
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// maxBatch is how many messages are written at once.
const maxBatch = 128

// take empties the queue, up to maxBatch; the thread is held.
func (c *consumer) take(batch []queued) []queued {
	batch = batch[:0]
	if c.paused || len(c.queue) == 0 {
		return batch
	}
	n := min(len(c.queue), maxBatch)
	batch = append(batch, c.queue[:n]...)
	if c.queue = c.queue[n:]; len(c.queue) == 0 {
		c.queue = nil
	}
	c.start = int64(batch[n-1].at)
	return batch
}

// message is a frame for a player of RTMP.
func (q queued) message() rtmp.Message {
	return rtmp.Message{Type: q.kind, StreamID: streamID, Timestamp: q.at, Payload: q.payload}
}
