package rtmpload

import (
	"context"
	"time"
)

// A connection that is lost comes back after reopenFirst, then after twice as long each time up to
// reopenMost, until it held for steady.
const (
	reopenFirst = 200 * time.Millisecond
	reopenMost  = 2 * time.Second
	steady      = 2 * time.Second
)

// held is something that keeps one connection open: a player or a publisher.
type held interface {
	// session runs one connection until it ends, and says why. It calls opened when the connection is
	// accepted. It ends soon after ctx does.
	session(ctx context.Context, v *visit) error

	identity() (kind, id, stream string)

	// silence is the time since the last frame, 0 if there never was one.
	silence(now time.Duration) time.Duration
}

// visit is one connection of a player or publisher, or the try to open it.
type visit struct {
	l        *load
	holder   held
	attempt  int
	began    time.Duration
	openedAt time.Duration // 0: it isn't open
	version  string
	serverID string
}

// hold keeps a connection open, in its own goroutine, until the end.
func (l *load) hold(h held) {
	l.wait.Go(func() {
		backoff := reopenFirst
		for attempt := 1; l.ctx.Err() == nil; attempt++ {
			v := &visit{l: l, holder: h, attempt: attempt, began: l.now()}
			err := h.session(l.ctx, v)
			if l.ctx.Err() != nil {
				return
			}
			v.ended(err)
			if !l.cfg.Reopen {
				return
			}
			if v.openedAt > 0 && l.now()-v.openedAt > steady {
				backoff = reopenFirst
			}
			sleep(l.ctx, backoff)
			backoff = min(2*backoff, reopenMost)
		}
	})
}

// opened notes that the server accepted the connection.
func (v *visit) opened(version, serverID, peer string) {
	v.openedAt, v.version, v.serverID = v.l.now(), version, serverID
	kind, id, stream := v.holder.identity()
	v.l.counting(func() {
		if kind == "publish" {
			v.l.accepted++
		} else {
			v.l.open[version]++
		}
		v.l.out.emit(openEvent{
			stamp: stamped("open"), Kind: kind, ID: id, Stream: stream,
			Version: version, ServerID: serverID, Peer: peer, Attempt: v.attempt,
		})
	})
}

// ended notes that the connection is gone, or didn't come about, without our doing.
func (v *visit) ended(err error) {
	l := v.l
	kind, id, _ := v.holder.identity()
	if v.openedAt == 0 {
		l.failed(failedEvent{What: "open", Kind: kind, ID: id}, err)
		return
	}
	now := l.now()
	cut := cutEvent{
		stamp: stamped("cut"), Kind: kind, ID: id, Version: v.version, ServerID: v.serverID,
		Reason: reasonFor(err), Detail: err.Error(), OpenSeconds: seconds(now - v.openedAt),
	}
	if since := v.holder.silence(now); since > 0 {
		ago := seconds(since)
		cut.LastMedia = &ago
	}
	l.counting(func() {
		if kind == "publish" {
			l.accepted--
		} else if l.open[v.version]--; l.open[v.version] == 0 {
			delete(l.open, v.version)
		}
		l.cutsCount[kind]++
		if len(l.cuts) < maxCuts {
			l.cuts = append(l.cuts, cut)
		}
		l.out.emit(cut)
	})
}

// failed counts and reports a connection that didn't come about.
func (l *load) failed(e failedEvent, err error) {
	e.stamp, e.Reason, e.Detail = stamped("failed"), reasonFor(err), err.Error()
	l.counting(func() {
		l.tickFailed++
		l.failedByReason[e.Reason]++
		l.failedByWhat[e.What]++
		l.out.emit(e)
	})
}
