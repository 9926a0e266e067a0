package fakesrs

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortmplib/pkg/amf0"

	"srs.testbed/streaming/rtmp"
)

// TestMain makes the test binary the program itself where a test starts it as a process.
func TestMain(m *testing.M) {
	if os.Getenv("FAKESRS_VERSION") != "" {
		Main()
		return
	}
	flag.Parse()
	flag.Set("test.parallel", "12") // these tests wait, they do not compute
	os.Exit(m.Run())
}

// node is a server in this process.
type node struct {
	*server
	log             *syncBuffer
	rtmp, api, http string // host:port
}

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// conf is an srs.conf that listens on loopback; port 0 is any.
func conf(rtmp, api, http int, global, vhost string) string {
	return fmt.Sprintf(`
listen 127.0.0.1:%d;
http_api { enabled on; listen 127.0.0.1:%d; }
http_server { enabled on; listen 127.0.0.1:%d; }
%s
vhost __defaultVhost__ { http_remux { enabled on; } %s }
`, rtmp, api, http, global, vhost)
}

// startNode starts a server that ends with the test. global and vhost are directives.
func startNode(t *testing.T, v version, global, vhost string) *node {
	t.Helper()
	root, err := parseConf(conf(0, 0, 0, global, vhost))
	if err != nil {
		t.Fatal(err)
	}
	return startServer(t, newSettings(root, v), v)
}

func startServer(t *testing.T, settings settings, v version) *node {
	t.Helper()
	output := &syncBuffer{}
	n := &node{server: newServer(settings, v, log.New(output, "", 0)), log: output}
	if err := n.listen(); err != nil {
		t.Fatal(err)
	}
	address := func(i int) string { return n.listeners[i].Addr().String() }
	n.rtmp, n.api, n.http = address(0), address(1), address(2)
	t.Cleanup(func() {
		n.kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", n.rtmp, output)
		}
	})
	return n
}

// kill ends a server as SIGKILL does.
func (n *node) kill() {
	n.thread.Lock()
	var open []io.Closer
	for _, listener := range n.listeners {
		open = append(open, listener)
	}
	for c := range n.conns {
		open = append(open, c)
	}
	n.thread.Unlock()
	for _, closer := range open {
		closer.Close()
	}
}

// startOrigins starts an origin cluster.
func startOrigins(t *testing.T, v version, count int) []*node {
	t.Helper()
	var nodes []*node
	var coworkers []string
	for range count {
		n := startNode(t, v, "", "cluster { origin_cluster on; }")
		nodes, coworkers = append(nodes, n), append(coworkers, n.api)
	}
	for _, n := range nodes {
		n.thread.Lock()
		n.coworkers = coworkers
		n.thread.Unlock()
	}
	return nodes
}

func startEdge(t *testing.T, v version, origins ...*node) *node {
	t.Helper()
	var addresses []string
	for _, o := range origins {
		addresses = append(addresses, o.rtmp)
	}
	return startNode(t, v, "", "cluster { mode remote; origin "+strings.Join(addresses, " ")+"; }")
}

// What test publishers send.
var (
	videoHeader = []byte{0x17, 0, 0, 0, 0, 1, 2, 3}
	audioHeader = []byte{0xaf, 0, 0x12, 0x10}
	videoFrame  = bytes.Repeat([]byte{0x27, 1, 0, 0, 0}, 20)
	audioFrame  = []byte{0xaf, 1, 0x21, 0x10}
)

const frameInterval = 20 * time.Millisecond

// stream is a connection of a publisher or player.
type stream struct {
	*rtmp.Client
	ended chan struct{}

	mu    sync.Mutex
	first []rtmp.Message // the first ones that came
	last  time.Time      // of the last media
	gap   time.Duration  // the longest silence between media
	media int
}

func dial(address string) (*rtmp.Client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	raw, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	client, err := rtmp.Connect(ctx, raw, address, "live")
	if err != nil {
		raw.Close()
		return nil, err
	}
	client.Timeout = 5 * time.Second
	return client, nil
}

func open(t *testing.T, address, name string, begin func(*rtmp.Client, string) error) *stream {
	t.Helper()
	client, err := dial(address)
	if err != nil {
		t.Fatal(err)
	}
	if err := begin(client, name); err != nil {
		t.Fatal(err)
	}
	s := &stream{Client: client, ended: make(chan struct{})}
	go s.read()
	t.Cleanup(func() { s.Close() })
	return s
}

func play(t *testing.T, address, name string) *stream {
	t.Helper()
	return open(t, address, name, (*rtmp.Client).Play)
}

// publish publishes until the connection ends.
func publish(t *testing.T, address, name string) *stream {
	t.Helper()
	s := open(t, address, name, (*rtmp.Client).Publish)
	go s.send()
	return s
}

func (s *stream) read() {
	defer close(s.ended)
	for {
		m, err := s.ReadMessage()
		if err != nil {
			return
		}
		s.mu.Lock()
		if len(s.first) < 8 {
			s.first = append(s.first, m)
		}
		if m.IsMedia() {
			if s.media > 0 {
				s.gap = max(s.gap, time.Since(s.last))
			}
			s.media++
			s.last = time.Now()
		}
		s.mu.Unlock()
	}
}

func (s *stream) send() {
	write := func(kind uint8, at int, payload []byte) error {
		return s.WriteMessage(rtmp.Message{Type: kind, StreamID: s.StreamID, Timestamp: uint32(at), Payload: payload})
	}
	metadata, _ := amf0.Data{
		"@setDataFrame", "onMetaData", amf0.ECMAArray(rtmp.Object("width", 160.0, "duration", 5.0, "server", "encoder")),
	}.Marshal()
	write(rtmp.TypeData, 0, metadata)
	write(rtmp.TypeVideo, 0, videoHeader)
	write(rtmp.TypeAudio, 0, audioHeader)
	for at := 0; ; at += int(frameInterval.Milliseconds()) {
		if write(rtmp.TypeVideo, at, videoFrame) != nil || write(rtmp.TypeAudio, at, audioFrame) != nil {
			return
		}
		time.Sleep(frameInterval)
	}
}

func (s *stream) alive() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

func (s *stream) awaitEnd(t *testing.T, within time.Duration) {
	t.Helper()
	await(t, within, "end of the connection", func() bool { return !s.alive() })
}

func (s *stream) frames() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.media
}

func (s *stream) silence() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gap
}

// awaitMedia waits for n more messages of media.
func (s *stream) awaitMedia(t *testing.T, n int, within time.Duration) {
	t.Helper()
	from := s.frames()
	await(t, within, "media", func() bool { return s.frames() >= from+n })
}

func await(t *testing.T, within time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %v", what, within)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// get is an answer over HTTP; the connection is closed.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}
