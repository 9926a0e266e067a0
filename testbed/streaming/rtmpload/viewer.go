package rtmpload

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"srs.testbed/streaming/rtmp"
)

// viewer is a player. The load's mutex guards its times.
type viewer struct {
	load             *load
	kind, id, stream string
	last             time.Time     // of the last frame; zero: there was none
	longest          time.Duration // silence that has ended, over all connections
}

// silence is the time since the last frame, 0 if there was none.
func (v *viewer) silence(now time.Time) time.Duration {
	if v.last.IsZero() {
		return 0
	}
	return now.Sub(v.last)
}

func (v *viewer) watch(s *session) error {
	if v.kind == "flv" {
		return v.watchFLV(s)
	}
	return v.watchRTMP(s)
}

// message takes what the server sent.
func (v *viewer) message(m rtmp.Message) {
	if !isFrame(m) {
		return
	}
	first := false
	v.load.record(func() {
		now := time.Now()
		first = v.last.IsZero()
		v.longest = max(v.longest, v.silence(now))
		v.last = now
	})
	if first {
		v.load.playing.decrement()
	}
}

// isFrame: a decoder's configuration is none. A server repeats it to every new player, whether the stream has a
// publisher or not.
func isFrame(m rtmp.Message) bool {
	return m.IsMedia() && len(m.Payload) > 0 && !m.IsSequenceHeader()
}

func (v *viewer) watchRTMP(s *session) error {
	client, err := v.load.connectRTMP(v.stream)
	if err != nil {
		return err
	}
	defer v.load.closeAtEnd(client)()
	s.opened(client.ServerVersion(), client.ServerID())
	_, name := splitStream(v.stream)
	if err := client.Play(name); err != nil {
		return err
	}
	for {
		m, err := client.ReadMessage()
		if err != nil {
			return err
		}
		v.message(m)
	}
}

func (v *viewer) watchFLV(s *session) error {
	conn, response, err := v.load.request("/" + v.stream + ".flv")
	if err != nil {
		return err
	}
	defer v.load.closeAtEnd(conn)()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	conn.SetDeadline(time.Time{})
	s.opened(versionOf(response.Header.Get("Server")), "")
	body := bufio.NewReader(response.Body)
	if err := readFLVHeader(body); err != nil {
		return err
	}
	for {
		m, err := readTag(body)
		if err != nil {
			return err
		}
		v.message(m)
	}
}

// request opens a connection over HTTP, or HTTPS, and sends a request. The connection keeps the deadline of the answer.
func (l *load) request(path string) (net.Conn, *http.Response, error) {
	ctx, cancel := context.WithTimeout(l.ctx, l.answerTimeout)
	defer cancel()
	raw, err := l.dialer.DialContext(ctx, "tcp", l.http)
	if err != nil {
		return nil, nil, err
	}
	defer context.AfterFunc(l.ctx, func() { raw.Close() })()
	raw.SetDeadline(time.Now().Add(l.answerTimeout))
	conn := raw
	if l.ca != nil {
		host, _, _ := net.SplitHostPort(l.http)
		conn = tls.Client(conn, &tls.Config{RootCAs: l.ca, ServerName: host})
	}
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, l.http)
	if err == nil {
		var response *http.Response
		if response, err = http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
			return conn, response, nil
		}
	}
	conn.Close()
	return nil, nil, err
}

// versionOf reads SRS's Server header, as in "SRS/4.0.6(Leo)".
func versionOf(server string) string {
	version, _, _ := strings.Cut(strings.TrimPrefix(server, "SRS/"), "(")
	return version
}

func readFLVHeader(r io.Reader) error {
	header := make([]byte, 13) // of the file, and the size of the tag before the first
	if _, err := io.ReadFull(r, header); err != nil {
		return err
	}
	if string(header[:3]) != "FLV" {
		return errors.New("not an FLV stream")
	}
	return nil
}

// readTag reads a tag of an FLV file (FLV specification 10.1, annex E.4).
func readTag(r io.Reader) (rtmp.Message, error) {
	const sizeAtEnd = 4
	head := make([]byte, 11)
	if _, err := io.ReadFull(r, head); err != nil {
		return rtmp.Message{}, err
	}
	size := int(head[1])<<16 | int(head[2])<<8 | int(head[3])
	at := uint32(head[7])<<24 | uint32(head[4])<<16 | uint32(head[5])<<8 | uint32(head[6])
	body := make([]byte, size+sizeAtEnd)
	_, err := io.ReadFull(r, body)
	return rtmp.Message{Type: head[0], Timestamp: at, Payload: body[:size]}, err
}
