package rtmpload

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"srs.testbed/streaming/rtmp"
)

const (
	flvHeader    = 13 // the file's header and the size of the tag before the first
	flvTagHeader = 11
	flvTagTail   = 4 // the tag's size again

	// latencyAfter is how long a player has to play before its frames count for the latency: a server
	// begins with the last group of pictures, which is older.
	latencyAfter = 2 * time.Second

	// lookInto is how much of a frame is looked at; our stamp is within.
	lookInto = 256
)

// viewer is a player.
type viewer struct {
	l                *load
	kind, id, stream string
	last             atomic.Int64 // when the last frame came, in ns since the start; 0: never
	longest          highest      // silence that has ended
	version          atomic.Value // string: of the connection that it has or had last

	// Of its own goroutine:
	visit     *visit
	playingAt time.Duration // on this connection
}

func newViewer(l *load, kind string, number int, stream string) *viewer {
	return &viewer{l: l, kind: kind, id: fmt.Sprintf("%s-%d", kind, number), stream: stream}
}

func (v *viewer) identity() (kind, id, stream string) { return v.kind, v.id, v.stream }

func (v *viewer) silence(now time.Duration) time.Duration {
	last := time.Duration(v.last.Load())
	if last == 0 {
		return 0
	}
	return max(1, now-last)
}

func (v *viewer) session(ctx context.Context, visit *visit) error {
	v.visit, v.playingAt = visit, 0
	if v.kind == "flv" {
		return v.watchFLV(ctx)
	}
	return v.watchRTMP(ctx)
}

func (v *viewer) opened(version, serverID string, conn net.Conn) {
	v.version.Store(version)
	v.visit.opened(version, serverID, conn.RemoteAddr().String())
}

// frame is called for every frame, with its beginning.
func (v *viewer) frame(payload []byte) {
	l := v.l
	now := l.now()
	last := time.Duration(v.last.Swap(int64(now)))
	first := v.playingAt == 0
	if first {
		v.playingAt = now
		l.counting(func() {
			l.out.emit(playingEvent{
				stamp: stamped("playing"), Kind: v.kind, ID: v.id, Version: v.visit.version,
				Seconds: seconds(now - v.visit.began), Attempt: v.visit.attempt,
			})
		})
	}
	if last == 0 {
		l.allPlay.hit()
		if v.kind == "rtmp" {
			l.rtmpPlay.hit()
		}
	} else {
		silence := now - last
		v.longest.raise(silence)
		l.tickQuiet.raise(silence)
		if silence > l.cfg.Stall {
			l.counting(func() {
				l.stalls++
				l.out.emit(stallEvent{
					stamp: stamped("stall"), Kind: v.kind, ID: v.id, Version: v.visit.version,
					Seconds: seconds(silence), Reconnect: first,
				})
			})
		}
	}
	if now-v.playingAt > latencyAfter {
		if sent, ok := stampOf(payload); ok {
			latency := time.Since(sent)
			l.latency.add(latency)
			l.tickLatency.add(latency)
		}
	}
}

// connectRTMP opens an RTMP connection within the time-out.
func (l *load) connectRTMP(ctx context.Context, stream string) (*rtmp.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.ConnectTimeout)
	defer cancel()
	conn, err := l.dialer.DialContext(ctx, "tcp", l.cfg.RTMPAddr)
	if err != nil {
		return nil, err
	}
	app, _ := splitStream(stream)
	client, err := rtmp.Connect(ctx, conn, app, "rtmp://"+l.cfg.RTMPAddr+"/"+app)
	if err != nil {
		conn.Close()
		return nil, err
	}
	client.Timeout = l.cfg.ConnectTimeout
	return client, nil
}

// splitStream splits live/a into application and stream.
func splitStream(stream string) (app, name string) {
	at := strings.LastIndexByte(stream, '/')
	return stream[:max(0, at)], stream[at+1:]
}

// closeWith closes a connection when ctx ends or the returned function is called.
func closeWith(ctx context.Context, conn io.Closer) (closed func()) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return func() {
		if stop() {
			conn.Close()
		}
	}
}

func (v *viewer) watchRTMP(ctx context.Context) error {
	client, err := v.l.connectRTMP(ctx, v.stream)
	if err != nil {
		return err
	}
	defer closeWith(ctx, client)()
	v.opened(client.ServerVersion(), client.ServerID(), client.NetConn())
	client.ReuseBuffers(true)
	_, name := splitStream(v.stream)
	if err := client.Play(name); err != nil {
		return err
	}
	counted := uint64(0)
	for {
		m, err := client.ReadMessage()
		if err != nil {
			return err
		}
		received := client.BytesReceived()
		v.l.bytes.Add(int64(received - counted))
		counted = received
		if isFrame(m.Type, m.Payload) {
			v.frame(m.Payload)
		}
	}
}

func (v *viewer) watchFLV(ctx context.Context) error {
	l := v.l
	within, cancel := context.WithTimeout(ctx, l.cfg.ConnectTimeout)
	defer cancel()
	conn, err := l.dialer.DialContext(within, "tcp", l.cfg.HTTPAddr)
	if err != nil {
		return err
	}
	defer closeWith(ctx, conn)()
	conn.SetDeadline(v.l.base.Add(v.visit.began + l.cfg.ConnectTimeout))
	if _, err := fmt.Fprintf(conn, "GET /%s.flv HTTP/1.1\r\nHost: %s\r\nUser-Agent: rtmp-load\r\n\r\n", v.stream, l.cfg.HTTPAddr); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return httpStatus(response.StatusCode)
	}
	conn.SetDeadline(time.Time{})
	v.opened(versionOf(response.Header.Get("Server")), "", conn)
	return v.readFLV(response.Body)
}

// versionOf reads SRS's Server header, as in "SRS/4.0.6(Leo)".
func versionOf(server string) string {
	version, _ := strings.CutPrefix(server, "SRS/")
	if end := strings.IndexAny(version, "( "); end > 0 {
		version = version[:end]
	}
	return version
}

func (v *viewer) readFLV(body io.Reader) error {
	buf := make([]byte, 4<<10)
	if _, err := io.ReadFull(body, buf[:flvHeader]); err != nil {
		return err
	}
	if string(buf[:3]) != "FLV" {
		return errors.New("no FLV stream")
	}
	for {
		if _, err := io.ReadFull(body, buf[:flvTagHeader]); err != nil {
			return err
		}
		kind := buf[0] & 0x1f
		size := int(buf[1])<<16 | int(buf[2])<<8 | int(buf[3])
		look := min(size, lookInto)
		if _, err := io.ReadFull(body, buf[:look]); err != nil {
			return err
		}
		v.l.bytes.Add(int64(flvTagHeader + size + flvTagTail))
		if isFrame(kind, buf[:look]) {
			v.frame(buf[:look])
		}
		for rest := size - look + flvTagTail; rest > 0; {
			n, err := body.Read(buf[:min(rest, len(buf))])
			if rest -= n; err != nil && rest > 0 {
				return err
			}
		}
	}
}
