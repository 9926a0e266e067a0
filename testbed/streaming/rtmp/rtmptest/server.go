// Package rtmptest is a small RTMP and HTTP-FLV server for tests: it relays streams like SRS does, and
// cuts, refuses, mutes and stalls connections when it's told to.
package rtmptest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"srs.testbed/streaming/rtmp"
)

// Server is such a server on loopback. It ends with its test.
type Server struct {
	t        testing.TB
	rtmp     *listener
	http     *listener
	mu       sync.Mutex
	version  string
	mute     bool
	stalled  bool
	reject   bool
	streams  map[string]*stream
	sessions map[*session]bool
}

// stream is what one publisher sends and who sees it. New viewers first get the headers.
type stream struct {
	metadata, audio, video *rtmp.Message
	viewers                map[*session]bool
}

// session is one connection. Role is "", "publish", "play" or "flv".
type session struct {
	conn  net.Conn
	rtmp  *rtmp.Conn
	role  string
	queue chan rtmp.Message
}

// New starts a server that calls itself SRS of this version.
func New(t testing.TB, version string) *Server {
	t.Helper()
	s := &Server{t: t, version: version, streams: map[string]*stream{}, sessions: map[*session]bool{}}
	s.rtmp = &listener{serve: s.serveRTMP}
	s.http = &listener{serve: s.serveHTTP}
	s.Listen()
	t.Cleanup(func() {
		s.Refuse()
		for _, role := range []string{"", "publish", "play", "flv"} {
			s.Cut(role, -1, false)
		}
	})
	return s
}

// RTMPAddr is the address for RTMP, HTTPAddr the one for HTTP-FLV. They stay over Refuse and Listen.
func (s *Server) RTMPAddr() string { return s.rtmp.addr }

// HTTPAddr is the address for HTTP-FLV.
func (s *Server) HTTPAddr() string { return s.http.addr }

// SetVersion changes the version that new connections are told.
func (s *Server) SetVersion(version string) { s.locked(func() { s.version = version }) }

// Mute accepts new connections but doesn't answer them.
func (s *Server) Mute(on bool) { s.locked(func() { s.mute = on }) }

// Stall stops relaying media, and drops it.
func (s *Server) Stall(on bool) { s.locked(func() { s.stalled = on }) }

// Reject answers connect by an error, and HTTP requests by 404.
func (s *Server) Reject(on bool) { s.locked(func() { s.reject = on }) }

// Refuse closes the listeners; open connections go on.
func (s *Server) Refuse() {
	s.rtmp.close()
	s.http.close()
}

// Listen opens the listeners on the addresses they had.
func (s *Server) Listen() {
	for _, l := range []*listener{s.rtmp, s.http} {
		if err := l.open(); err != nil {
			s.t.Fatal(err)
		}
	}
}

// Cut closes up to n open connections of a role (all for -1), by RST if reset. It returns how many.
func (s *Server) Cut(role string, n int, reset bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	cut := 0
	for one := range s.sessions {
		if one.role != role || cut == n {
			continue
		}
		if tcp, ok := one.conn.(*net.TCPConn); ok && reset {
			tcp.SetLinger(0)
		}
		one.conn.Close()
		delete(s.sessions, one)
		cut++
	}
	return cut
}

// Count is how many connections of a role are open.
func (s *Server) Count(role string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for one := range s.sessions {
		if one.role == role {
			n++
		}
	}
	return n
}

func (s *Server) locked(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// listener is a TCP listener that can be closed and opened again on the same port.
type listener struct {
	addr   string
	serve  func(net.Conn)
	socket net.Listener
}

func (l *listener) open() error {
	addr := l.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	opened, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	l.socket, l.addr = opened, opened.Addr().String()
	go func() {
		for {
			conn, err := opened.Accept()
			if err != nil {
				return
			}
			go l.serve(conn)
		}
	}()
	return nil
}

func (l *listener) close() { l.socket.Close() }

// begin registers a connection; the returned function ends it.
func (s *Server) begin(conn net.Conn) (*session, func()) {
	one := &session{conn: conn, queue: make(chan rtmp.Message, 512)}
	s.locked(func() { s.sessions[one] = true })
	return one, func() {
		conn.Close()
		s.locked(func() {
			delete(s.sessions, one)
			for _, st := range s.streams {
				if st.viewers[one] {
					delete(st.viewers, one)
					close(one.queue)
				}
			}
		})
	}
}

func (s *Server) muted() (mute bool) {
	s.locked(func() { mute = s.mute })
	return mute
}

func (s *Server) serveRTMP(conn net.Conn) {
	one, end := s.begin(conn)
	defer end()
	if s.muted() {
		io.Copy(io.Discard, conn)
		return
	}
	one.rtmp = rtmp.NewConn(conn)
	if err := one.rtmp.ServerHandshake(); err != nil {
		return
	}
	app, name := "", ""
	for {
		m, err := one.rtmp.ReadMessage()
		if err != nil {
			return
		}
		switch m.Type {
		case rtmp.TypeCommandAMF0, rtmp.TypeCommandAMF3:
			command, err := rtmp.ParseCommand(m)
			if err != nil {
				return
			}
			if command.Name == "connect" {
				app, _ = rtmp.Field(command.Arg(0), "app").(string)
			} else if text, ok := command.Arg(1).(string); ok {
				name = app + "/" + text
			}
			if err := s.answer(one, command, m.StreamID, name); err != nil {
				return
			}
		case rtmp.TypeAudio, rtmp.TypeVideo, rtmp.TypeDataAMF0, rtmp.TypeDataAMF3:
			if one.role == "publish" {
				s.relay(name, m)
			}
		}
	}
}

func (s *Server) answer(one *session, command rtmp.Command, streamID uint32, name string) error {
	c := one.rtmp
	switch command.Name {
	case "connect":
		return s.answerConnect(one, command)
	case "createStream":
		return c.Command(0, "_result", command.Transaction, nil, 1)
	case "releaseStream", "FCPublish":
		return c.Command(0, "_result", command.Transaction, nil, nil)
	case "publish":
		s.locked(func() { one.role = "publish" })
		return c.Command(streamID, "onStatus", 0, nil, status("NetStream.Publish.Start"))
	case "play":
		err := errors.Join(
			c.UserControl(rtmp.EventStreamBegin, streamID),
			c.Command(streamID, "onStatus", 0, nil, status("NetStream.Play.Reset")),
			c.Command(streamID, "onStatus", 0, nil, status("NetStream.Play.Start")),
		)
		if err != nil {
			return err
		}
		s.view(one, "play", name)
		go func() {
			for m := range one.queue {
				m.StreamID = streamID
				if c.WriteMessage(m) != nil {
					return
				}
			}
		}()
	}
	return nil
}

func (s *Server) answerConnect(one *session, command rtmp.Command) error {
	var version string
	var reject bool
	s.locked(func() { version, reject = s.version, s.reject })
	if reject {
		return one.rtmp.Command(0, "_error", command.Transaction, nil, rtmp.Object{
			"level": "error", "code": "NetConnection.Connect.Rejected", "description": "on purpose",
		})
	}
	return errors.Join(
		one.rtmp.WindowAckSize(2_500_000),
		one.rtmp.SetPeerBandwidth(2_500_000),
		one.rtmp.SetChunkSize(60_000),
		one.rtmp.Command(0, "_result", command.Transaction,
			rtmp.Object{"fmsVer": "FMS/3,5,3,888", "capabilities": 127},
			rtmp.Object{
				"level": "status", "code": "NetConnection.Connect.Success", "objectEncoding": 0,
				"data": rtmp.ECMAArray{"srs_version": version, "srs_id": one.conn.RemoteAddr().String(), "srs_pid": 1, "srs_server_ip": "127.0.0.1"},
			}),
	)
}

func status(code string) rtmp.Object {
	return rtmp.Object{"level": "status", "code": code, "description": code}
}

func (s *Server) stream(name string) *stream {
	if s.streams[name] == nil {
		s.streams[name] = &stream{viewers: map[*session]bool{}}
	}
	return s.streams[name]
}

func (s *Server) view(one *session, role, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stream(name)
	one.role = role
	st.viewers[one] = true
	for _, m := range []*rtmp.Message{st.metadata, st.audio, st.video} {
		if m != nil {
			one.queue <- *m
		}
	}
}

func (s *Server) relay(name string, m rtmp.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stream(name)
	switch {
	case m.Type == rtmp.TypeDataAMF0:
		// Viewers see what was set, without the command that set it.
		values, err := rtmp.DecodeAMF0(m.Payload)
		if err != nil || len(values) < 2 || values[0] != "@setDataFrame" {
			return
		}
		m.Payload, _ = rtmp.EncodeAMF0(values[1:]...)
		st.metadata = &m
	case m.Type == rtmp.TypeAudio && len(m.Payload) > 1 && m.Payload[0]>>4 == 10 && m.Payload[1] == 0:
		st.audio = &m
	case m.Type == rtmp.TypeVideo && len(m.Payload) > 1 && m.Payload[0]&15 == 7 && m.Payload[1] == 0:
		st.video = &m
	}
	if s.stalled {
		return
	}
	for one := range st.viewers {
		select {
		case one.queue <- m:
		default: // too slow: this is a test's server, it drops
		}
	}
}

func (s *Server) serveHTTP(conn net.Conn) {
	one, end := s.begin(conn)
	defer end()
	if s.muted() {
		io.Copy(io.Discard, conn)
		return
	}
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	name, isFLV := strings.CutSuffix(strings.TrimPrefix(request.URL.Path, "/"), ".flv")
	var reject bool
	s.locked(func() { reject = s.reject })
	if !isFLV || reject {
		fmt.Fprint(conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return
	}
	var version string
	s.locked(func() { version = s.version })
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nServer: SRS/%s(Test)\r\nContent-Type: video/x-flv\r\nTransfer-Encoding: chunked\r\n\r\n", version)
	s.view(one, "flv", name)
	write := func(b []byte) error {
		_, err := fmt.Fprintf(conn, "%x\r\n%s\r\n", len(b), b)
		return err
	}
	if write([]byte{'F', 'L', 'V', 1, 5, 0, 0, 0, 9, 0, 0, 0, 0}) != nil {
		return
	}
	for m := range one.queue {
		n, ts := len(m.Payload), m.Timestamp
		tag := []byte{m.Type, byte(n >> 16), byte(n >> 8), byte(n), byte(ts >> 16), byte(ts >> 8), byte(ts), byte(ts >> 24), 0, 0, 0}
		tag = binary.BigEndian.AppendUint32(append(tag, m.Payload...), uint32(11+n))
		if write(tag) != nil {
			return
		}
	}
}
