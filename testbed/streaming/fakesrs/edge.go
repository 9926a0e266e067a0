package fakesrs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"time"

	"srs.testbed/streaming/rtmp"
)

const (
	pullConnect = 5 * time.Second        // for the TCP connection of a pull
	pullAnswer  = 500 * time.Millisecond // for each answer until the stream plays
	pullSilence = 5 * time.Second        // a pull without a message for so long starts anew
	pullRetry   = 3 * time.Second        // between two attempts

	pushConnect = 150 * time.Millisecond
	pushAnswer  = 30 * time.Second
	pushPause   = 500 * time.Millisecond // between two bursts of a forwarder
	pushBurst   = 128                    // messages
)

// nextOrigin is the origin whose turn it is. The turns are counted for each stream, so every stream begins at the
// first origin. The thread must not be locked.
func (s *server) nextOrigin(turn *int) (address string, err error) {
	if len(s.origins) == 0 {
		return "", errors.New("no origin")
	}
	s.thread.Lock()
	defer s.thread.Unlock()
	origin := s.origins[*turn%len(s.origins)]
	*turn++
	return withPort(origin, "1935"), nil
}

// dialOrigin connects to an application of an origin; each wait for an answer takes at most `answer`.
func (s *server) dialOrigin(ctx context.Context, address, app string, connect, answer time.Duration) (*rtmp.Client, error) {
	c, err := s.dial(ctx, address, connect)
	if err != nil {
		return nil, err
	}
	c.timeouts(answer, answer)
	up, err := rtmp.Connect(ctx, c, address, app)
	if err != nil {
		c.Close()
		return nil, err
	}
	return up, nil
}

// startPull pulls the stream from the origins, for as long as it has players; the thread is locked. The stream counts
// as published from now on, whether any origin has it or not.
func (src *source) startPull() {
	ctx, cancel := context.WithCancel(context.Background())
	src.stopPull = cancel
	src.publish()
	go func() {
		for ctx.Err() == nil {
			if err := src.pull(ctx); err != nil && ctx.Err() == nil {
				src.server.log.Printf("EdgeIngester: Ignore error, %v", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(pullRetry):
			}
		}
	}()
}

// pull asks an origin, follows redirects, and takes media until the connection ends.
func (src *source) pull(ctx context.Context) error {
	s := src.server
	redirect := ""
	for {
		// A redirect uses up a turn too: the turn is taken first and overridden then.
		address, err := s.nextOrigin(&src.pulls)
		if err != nil {
			return err
		}
		if redirect != "" {
			address = redirect
		}
		redirect, err = src.ingest(ctx, address)
		if redirect == "" {
			return err
		}
		s.log.Printf("RTMP redirect %s/%s from %s to %s", src.app, src.name, address, redirect)
	}
}

// ingest takes media from an origin until the connection ends. redirect is the origin that it names instead of itself.
// The program reads the messages in the log (cluster/origin_check.py): they are those of SRS.
func (src *source) ingest(ctx context.Context, address string) (redirect string, err error) {
	s := src.server
	stream := fmt.Sprintf("rtmp://%s/%s/%s", address, src.app, src.name)
	up, err := s.dialOrigin(ctx, address, src.app, pullConnect, pullAnswer)
	if err != nil {
		return "", fmt.Errorf("code=1018 : connect upstream : edge pull %s failed, cto=%dms, sto=%dms. : connect : %w",
			stream, pullConnect.Milliseconds(), pullAnswer.Milliseconds(), err)
	}
	defer up.Close()
	defer context.AfterFunc(ctx, func() { up.Close() })()
	if err := up.Play(src.name); err != nil {
		return "", fmt.Errorf("code=1018 : connect upstream : edge pull %s stream failed : %w", stream, err)
	}
	s.log.Printf("edge-pull publish url %s, stream=%s as %s", stream, src.name, src.name)
	up.NetConn().(*conn).timeouts(pullSilence, pullAnswer)
	for {
		m, err := up.ReadMessage()
		if err != nil {
			return "", err
		}
		if redirect := redirectIn(m); redirect != "" {
			return redirect, nil
		}
		if !m.IsMedia() && m.Type != rtmp.TypeData {
			continue
		}
		s.thread.Lock()
		if ctx.Err() == nil {
			src.message(m)
		}
		s.thread.Unlock()
	}
}

// redirectIn is the host:port that a status redirects to, "" for other messages.
func redirectIn(m rtmp.Message) string {
	status, _ := rtmp.ParseCommand(m)
	to, _ := rtmp.Field(rtmp.Field(status.Arg(1), "ex"), "redirect2").(string)
	target, err := url.Parse(to)
	if err != nil {
		return ""
	}
	return target.Host
}

// forwarder sends a stream that is published to an edge on to an origin. The thread guards queue and failed.
type forwarder struct {
	source *source
	up     *rtmp.Client
	cancel context.CancelFunc

	queue  []rtmp.Message
	failed error // the publisher is dropped with it at its next message
}

// start connects to an origin; the thread is not locked.
func (f *forwarder) start() error {
	s := f.source.server
	address, err := s.nextOrigin(&f.source.pushes)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	if f.up, err = s.dialOrigin(ctx, address, f.source.app, pushConnect, pushAnswer); err != nil {
		cancel()
		return err
	}
	err = f.up.Publish(f.source.name)
	if err == nil {
		err = f.up.SetChunkSize(chunkSize)
	}
	if err != nil {
		f.stop()
		return err
	}
	s.log.Printf("edge forwards %s to %s", path.Join(f.source.app, f.source.name), address)
	go f.read(ctx)
	go f.write(ctx)
	return nil
}

func (f *forwarder) stop() {
	f.cancel()
	f.up.Close()
}

// message takes a message of the publisher; the thread is locked. An error ends the publisher.
func (f *forwarder) message(m rtmp.Message) error {
	if f.failed == nil && len(f.queue) < maxQueue {
		f.queue = append(f.queue, m)
	}
	return f.failed
}

func (f *forwarder) fail(ctx context.Context, err error) {
	f.source.server.thread.Lock()
	defer f.source.server.thread.Unlock()
	if ctx.Err() == nil {
		f.failed = fmt.Errorf("edge forwarder: %w", err)
	}
}

// read notices when the origin closes the connection.
func (f *forwarder) read(ctx context.Context) {
	f.up.NetConn().(*conn).timeouts(0, pushAnswer)
	for {
		if _, err := f.up.ReadMessage(); err != nil {
			if !errors.Is(err, net.ErrClosed) {
				f.fail(ctx, err)
			}
			return
		}
	}
}

// write sends bursts of what is queued. A write that fails ends the forwarding; whether the publisher is dropped
// depends on the version.
func (f *forwarder) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pushPause):
		}
		if err := f.burst(); err != nil {
			f.source.server.log.Printf("edge forwarder ends: %v", err)
			if f.source.server.version.dropsEncoderOfDeadStream() {
				f.fail(ctx, err)
			}
			return
		}
	}
}

func (f *forwarder) burst() error {
	f.source.server.thread.Lock()
	n := min(len(f.queue), pushBurst)
	burst := f.queue[:n]
	f.queue = f.queue[n:]
	f.source.server.thread.Unlock()
	for _, m := range burst {
		m.StreamID = f.up.StreamID
		if err := f.up.BufferMessage(m); err != nil {
			return err
		}
	}
	return f.up.Flush()
}
