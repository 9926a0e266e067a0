package rtmpload

import (
	"context"
	"io"
	"time"

	"srs.testbed/streaming/rtmp"
)

// A lost connection is opened again after reopenFirst, then after twice as long each time up to reopenMost, until one
// lasted for steady.
const (
	reopenFirst = 200 * time.Millisecond
	reopenMost  = 2 * time.Second
	steady      = 2 * time.Second
)

// session is one connection of a player or publisher, or the attempt to open it.
type session struct {
	load              *load
	kind, id          string
	openedAt          time.Time // zero: it is not open
	version, serverID string    // of the server
}

// keepOpen keeps a connection open, in its own goroutine, until the end. connect runs one connection until it ends,
// which is soon after l.ctx does, and calls opened when it is accepted.
func (l *load) keepOpen(kind, id string, connect func(*session) error) {
	l.wait.Go(func() {
		pause := reopenFirst
		for l.ctx.Err() == nil {
			s := &session{load: l, kind: kind, id: id}
			err := connect(s)
			if l.ctx.Err() != nil {
				return
			}
			s.ended(err)
			if !l.reopen {
				return
			}
			if !s.openedAt.IsZero() && time.Since(s.openedAt) > steady {
				pause = reopenFirst
			}
			sleep(l.ctx, pause)
			pause = min(2*pause, reopenMost)
		}
	})
}

func (s *session) event(name string) event {
	return event{stamp: stamped(name), Kind: s.kind, ID: s.id, Version: s.version, ServerID: s.serverID}
}

// opened records that the server accepted the connection.
func (s *session) opened(version, serverID string) {
	s.openedAt, s.version, s.serverID = time.Now(), version, serverID
	l := s.load
	l.record(func() {
		if s.kind == "publish" {
			l.accepted++
		} else {
			l.open[version]++
		}
		l.out.lines <- s.event("open")
	})
}

// ended records that the connection was dropped, or failed to open.
func (s *session) ended(err error) {
	l := s.load
	if s.openedAt.IsZero() {
		l.failed(event{What: "open", Kind: s.kind, ID: s.id}, err)
		return
	}
	cut := s.event("cut")
	cut.Detail = err.Error()
	l.record(func() {
		if s.kind == "publish" {
			l.accepted--
		} else if l.open[s.version]--; l.open[s.version] == 0 {
			delete(l.open, s.version)
		}
		if len(l.cuts) < maxCuts {
			l.cuts = append(l.cuts, cut)
		}
		l.out.lines <- cut
	})
}

// failed records a connection that failed to open.
func (l *load) failed(e event, err error) {
	e.stamp, e.Detail = stamped("failed"), err.Error()
	l.record(func() {
		l.failures[e.What]++
		l.out.lines <- e
	})
}

// connectRTMP opens an RTMP connection to the application of a stream.
func (l *load) connectRTMP(stream string) (*rtmp.Client, error) {
	ctx, cancel := context.WithTimeout(l.ctx, l.answerTimeout)
	defer cancel()
	conn, err := l.dialer.DialContext(ctx, "tcp", l.rtmp)
	if err != nil {
		return nil, err
	}
	app, _ := splitStream(stream)
	client, err := rtmp.Connect(ctx, conn, l.rtmp, app)
	if err != nil {
		conn.Close()
		return nil, err
	}
	client.Timeout = l.answerTimeout
	return client, nil
}

// closeAtEnd closes a connection when the run ends or the returned function is called.
func (l *load) closeAtEnd(conn io.Closer) (closed func()) {
	stop := context.AfterFunc(l.ctx, func() { conn.Close() })
	return func() {
		stop()
		conn.Close()
	}
}
