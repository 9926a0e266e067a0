package rtmpload

import (
	"context"
	"errors"
	"net"
	"time"

	"srs.testbed/streaming/rtmp"
)

const (
	publishChunk = 60_000 // as SRS itself sends

	// writeTimeout ends a publisher whose server takes nothing any more, like an encoder's.
	writeTimeout = 10 * time.Second

	// goodbye bounds the parting words at the end.
	goodbye = 200 * time.Millisecond
)

// publisher sends one synthetic stream.
type publisher struct {
	l        *load
	stream   string
	began    time.Time // its timestamps go on over all its connections
	accepted bool      // at least once
}

func newPublisher(l *load, stream string) *publisher { return &publisher{l: l, stream: stream} }

func (p *publisher) identity() (kind, id, stream string) {
	return "publish", "publish-" + p.stream, p.stream
}

// silence is 0: a publisher sees no media.
func (p *publisher) silence(time.Duration) time.Duration { return 0 }

func (p *publisher) session(ctx context.Context, v *visit) error {
	client, err := p.l.connectRTMP(ctx, p.stream)
	if err != nil {
		return err
	}
	// Not closed with ctx at once: an encoder that ends says so.
	defer client.Close()
	_, name := splitStream(p.stream)
	if err := client.Publish(name); err != nil {
		return err
	}
	if err := client.SetChunkSize(publishChunk); err != nil {
		return err
	}
	v.opened(client.ServerVersion(), client.ServerID(), client.NetConn().RemoteAddr().String())
	if !p.accepted {
		p.accepted, p.began = true, time.Now()
		p.l.allPublish.hit()
	}

	// Reading answers pings, and is what notices the end first.
	gone := make(chan error, 1)
	go func() {
		client.ReuseBuffers(true)
		for {
			if _, err := client.ReadMessage(); err != nil {
				gone <- err
				return
			}
		}
	}()
	err = because(gone, p.send(ctx, client, gone))
	if ctx.Err() != nil {
		client.NetConn().SetDeadline(time.Now().Add(goodbye))
		client.Command(0, "FCUnpublish", 6, nil, name)
		client.Command(0, "deleteStream", 7, nil, client.StreamID)
	}
	return err
}

// send paces frames by the clock until the connection or ctx ends. When it's late it catches up: the
// stream's own time goes on.
func (p *publisher) send(ctx context.Context, client *rtmp.Client, gone <-chan error) error {
	// now is also the timestamp that the next frame would get.
	now := func() time.Duration { return time.Since(p.began) }
	buffer := func(m rtmp.Message, at time.Duration) error {
		client.NetConn().SetWriteDeadline(time.Now().Add(writeTimeout)) // it may write
		m.StreamID, m.Timestamp = client.StreamID, uint32(at.Milliseconds())
		return client.BufferMessage(m)
	}

	pic := newPicture(p.l.cfg.Bitrate, p.l.cfg.FPS, p.l.cfg.GOP)
	first := now()
	for _, m := range pic.headers() {
		if err := buffer(m, first); err != nil {
			return err
		}
	}
	if err := client.Flush(); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for videos, audios := 0, 0; ; {
		video := first + time.Duration(videos)*time.Second/time.Duration(p.l.cfg.FPS)
		audio := first + audioTime(audios)
		due := min(video, audio)
		if wait := due - now(); wait > 0 {
			if err := client.Flush(); err != nil {
				return err
			}
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case err := <-gone:
				return err
			case <-timer.C:
			}
		}
		m := rtmp.Message{Type: rtmp.TypeAudio, Payload: pic.audio}
		if video <= audio {
			m = rtmp.Message{Type: rtmp.TypeVideo, Payload: pic.video(time.Now())}
			videos++
		} else {
			audios++
		}
		if err := buffer(m, due); err != nil {
			return err
		}
	}
}

// audioTime is when audio frame n begins. (n frames in nanoseconds would overflow after two days.)
func audioTime(n int) time.Duration {
	samples := n * audioFrameLength
	return time.Duration(samples/audioRate)*time.Second + time.Duration(samples%audioRate)*time.Second/audioRate
}

// because prefers what the reader saw: a write to a closed connection only says that it's closed.
func because(gone <-chan error, err error) error {
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "write" {
		select {
		case err = <-gone:
		case <-time.After(50 * time.Millisecond):
		}
	}
	return err
}
