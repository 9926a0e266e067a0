package fakesrs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"srs.testbed/streaming/rtmp"
)

const (
	pullConnect = 5 * time.Second        // for the TCP connection of a pull
	pullAnswer  = 500 * time.Millisecond // for each answer until the stream is asked for
	pullSilence = 5 * time.Second        // a pull without a message for so long starts anew
	pullRetry   = 3 * time.Second        // between two tries, and after an origin went away

	pushConnect = 150 * time.Millisecond
	pushAnswer  = 30 * time.Second
	pushPulse   = 500 * time.Millisecond // a forwarder looks into its queue that often
)

// nextOrigin is the origin whose turn it is. The turns are counted for each stream, so every stream
// begins at the first origin.
func (v *vhost) nextOrigin(turn *int) (host string, port int, err error) {
	if len(v.origins) == 0 {
		return "", 0, fmt.Errorf("vhost %s has no origin", v.name)
	}
	origin := v.origins[*turn%len(v.origins)]
	*turn++
	host, port = hostPort(origin, 1935)
	return host, port, nil
}

// ingester pulls one stream from an origin, for as long as it has players.
type ingester struct {
	source *source
	cid    string
	cancel context.CancelFunc
}

// startPull starts the pull unless there is one; the thread is held. The stream counts as published from
// now on, whether any origin has it or not.
func (src *source) startPull() {
	if src.pulling != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	in := &ingester{source: src, cid: src.server.ids.connection(), cancel: cancel}
	src.pulling = in
	src.publish(in.cid)
	go in.cycle(ctx)
}

// stopPull ends the pull; the thread is held.
func (src *source) stopPull() {
	if src.pulling == nil {
		return
	}
	src.pulling.cancel()
	src.pulling = nil
	src.server.log.trace(src.id, "edge change to state init, no player is left of %s", src.key)
	src.unpublish()
}

func (in *ingester) cycle(ctx context.Context) {
	log := in.source.server.log
	for ctx.Err() == nil {
		if err := in.pull(ctx); err != nil && ctx.Err() == nil {
			log.warn(in.cid, "EdgeIngester: Ignore error, %v", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pullRetry):
		}
	}
}

// redirected is an origin's word that another one has the stream.
type redirected struct{ url string }

func (r *redirected) Error() string { return "RTMP 302 redirect to " + r.url }

// pull asks an origin, follows redirects, and takes media until the connection ends.
func (in *ingester) pull(ctx context.Context) error {
	src, s := in.source, in.source.server
	elsewhere := ""
	for {
		s.thread.Lock()
		// A redirect uses up a turn too: the turn is taken first and overridden then.
		host, port, err := src.vhost.nextOrigin(&src.pulls)
		r := src.req
		s.thread.Unlock()
		if err != nil {
			return err
		}
		if elsewhere != "" {
			to := request{tcURL: elsewhere}
			to.discover()
			host, port = to.host, to.port
		}
		up, err := s.dialOrigin(ctx, r, host, port, pullConnect, pullAnswer, in.cid)
		if err != nil {
			return fmt.Errorf("edge pull %s failed: %w", r.key(), err)
		}
		err = in.ingest(ctx, up, r)
		var to *redirected
		if !errors.As(err, &to) {
			return err
		}
		s.log.warn(in.cid, "RTMP redirect %s from %s to %s", r.key(), up.origin, to.url)
		elsewhere = to.url
	}
}

// ingest takes media into the source until the connection ends.
func (in *ingester) ingest(ctx context.Context, up *upstream, r request) error {
	src, s := in.source, in.source.server
	defer up.Close()
	stop := context.AfterFunc(ctx, func() { up.Close() })
	defer stop()
	stream := r.streamWithQuery()
	if src.deaf {
		stream = strings.Replace(stream, r.stream, r.stream+".flv", 1)
	}
	if err := up.play(stream, s.chunkSize); err != nil {
		return fmt.Errorf("edge pull %s failed: %w", r.key(), err)
	}
	s.log.trace(in.cid, "edge-pull publish url %s, stream=%s", up.origin, stream)
	up.conn.timeouts(pullSilence, pullAnswer)
	for {
		m, err := up.ReadMessage()
		if err != nil {
			return fmt.Errorf("origin %s disconnected, retry: %w", up.origin, err)
		}
		if m.Type == rtmp.TypeCommandAMF0 || m.Type == rtmp.TypeCommandAMF3 {
			if to := redirectIn(m); to != "" {
				return &redirected{to}
			}
			continue
		}
		s.thread.Lock()
		if src.pulling == in {
			src.message(m)
		}
		s.thread.Unlock()
	}
}

// redirectIn is where a status sends us: redirect2 is the stream's URL, redirect (of SRS 3 alphas) the
// server's.
func redirectIn(m rtmp.Message) string {
	status, err := rtmp.ParseCommand(m)
	if err != nil || rtmp.Field(status.Arg(1), "level") != "error" {
		return ""
	}
	ex := rtmp.Field(status.Arg(1), "ex")
	for _, name := range []string{"redirect2", "redirect"} {
		if to, _ := rtmp.Field(ex, name).(string); to != "" {
			return to
		}
	}
	return ""
}

// forwarder carries a stream that is published to an edge on to an origin. The thread guards queue,
// start, end and failed.
type forwarder struct {
	source *source
	up     *upstream
	cid    string
	cancel context.CancelFunc

	queue      []queued
	start, end int64
	failed     error // the publisher is cut with it at its next message
}

// startPush connects to an origin for a publisher. The thread isn't held; src.pushing is set already, so
// that a second publisher is refused meanwhile.
func (src *source) startPush(f *forwarder) error {
	s := src.server
	s.thread.Lock()
	host, port, err := src.vhost.nextOrigin(&src.pushes)
	r := src.req
	s.thread.Unlock()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	up, err := s.dialOrigin(ctx, r, host, port, pushConnect, pushAnswer, f.cid)
	if err != nil {
		cancel()
		return fmt.Errorf("sdk connect: %w", err)
	}
	stream := r.streamWithQuery()
	if err := up.publish(stream, s.chunkSize); err != nil {
		cancel()
		up.Close()
		return fmt.Errorf("sdk publish: %w", err)
	}
	f.up, f.cancel = up, cancel
	s.log.trace(f.cid, "edge-fwr publish url %s, stream=%s", up.origin, stream)
	go f.cycle(ctx)
	return nil
}

// stopPush ends the publishing; the thread is held.
func (src *source) stopPush(f *forwarder) {
	if f.cancel != nil {
		f.cancel()
		f.up.Close()
	}
	if src.pushing == f {
		src.pushing = nil
		src.idleSince = time.Now()
	}
}

// proxy takes a message of the publisher; the thread is held. An error ends the publisher.
func (f *forwarder) proxy(m rtmp.Message) error {
	if f.failed != nil {
		return fmt.Errorf("edge forwarder: %w", f.failed)
	}
	if len(m.Payload) == 0 {
		return nil
	}
	fr := &frame{kind: m.Type, timestamp: m.Timestamp, payload: m.Payload}
	f.queue = append(f.queue, queued{fr, m.Timestamp})
	if fr.isAV() {
		if f.start < 0 {
			f.start = int64(m.Timestamp)
		}
		f.end = int64(m.Timestamp)
	}
	if time.Duration(f.end-f.start)*time.Millisecond > f.source.vhost.queueLength {
		f.queue, f.start = nil, f.end
	}
	return nil
}

// cycle waits for whatever the origin says, half a second at most, and then sends what is queued, at
// most maxBatch messages. So a stream through an edge comes in bursts.
//
// An origin that closes the connection is noticed in the waiting, and the publisher is cut. A send that
// fails ends the forwarding; whether the publisher learns of it depends on the version.
func (f *forwarder) cycle(ctx context.Context) {
	s := f.source.server
	fail := func(err error) {
		s.thread.Lock()
		defer s.thread.Unlock()
		if f.failed == nil && ctx.Err() == nil {
			f.failed = err
			s.log.error(f.cid, "edge push get server control message failed. err=%v", err)
		}
	}
	spoken := make(chan struct{}, 1)
	f.up.conn.timeouts(0, pushAnswer)
	go func() {
		for {
			if _, err := f.up.ReadMessage(); err != nil {
				if errors.Is(err, io.EOF) || !errors.Is(err, net.ErrClosed) {
					fail(err)
				}
				return
			}
			select {
			case spoken <- struct{}{}:
			default:
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-spoken:
		case <-time.After(pushPulse):
		}
		if err := f.send(); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() == nil {
				s.log.warn(f.cid, "edge forwarder ends: %v", err)
			}
			if s.version.forwarderReports() {
				fail(err)
			}
			return
		}
	}
}

func (f *forwarder) send() error {
	s := f.source.server
	s.thread.Lock()
	if f.failed != nil {
		s.thread.Unlock()
		return nil
	}
	n := min(len(f.queue), maxBatch)
	batch := f.queue[:n:n]
	f.queue = f.queue[n:]
	if n > 0 {
		f.start = int64(batch[n-1].at)
	}
	s.thread.Unlock()
	if n == 0 {
		return nil
	}
	for _, q := range batch {
		m := rtmp.Message{Type: q.kind, StreamID: f.up.streamID, Timestamp: q.at, Payload: q.payload}
		if err := f.up.BufferMessage(m); err != nil {
			return err
		}
	}
	return f.up.Flush()
}
