package fakesrs

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"srs.testbed/streaming/rtmp"
)

// TestMain makes the test binary the program itself where a test wants it as a process.
func TestMain(m *testing.M) {
	if os.Getenv("STAND_IN_TEST_RUN") != "" {
		Main()
	}
	// These tests wait for time to pass; they don't compute.
	flag.Parse()
	flag.Set("test.parallel", "12")
	os.Exit(m.Run())
}

// ports are the three of a server.
type ports struct{ rtmp, api, http int }

// reserved are listeners on ports that no server has taken over yet. A port that was only looked up as free
// would now and then be taken by an outgoing connection before its server comes.
var reserved sync.Map

func freePorts(t *testing.T) ports {
	t.Helper()
	var p ports
	for _, port := range []*int{&p.rtmp, &p.api, &p.http} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*port = l.Addr().(*net.TCPAddr).Port
		reserved.Store(*port, l)
	}
	return p
}

// takeOver is net.Listen for an address that may be reserved.
func takeOver(network, address string) (net.Listener, error) {
	_, port := hostPort(address, 0)
	if l, ok := reserved.LoadAndDelete(port); ok {
		return l.(net.Listener), nil
	}
	return net.Listen(network, address)
}

// release makes reserved ports free for another process.
func (p ports) release() {
	for _, port := range []int{p.rtmp, p.api, p.http} {
		if l, ok := reserved.LoadAndDelete(port); ok {
			l.(net.Listener).Close()
		}
	}
}

// conf is an srs.conf on these ports; vhost is what the virtual host holds.
func (p ports) conf(global, vhost string) string {
	return fmt.Sprintf(`
listen 127.0.0.1:%d; daemon off; srs_log_tank console;
http_api { enabled on; listen 127.0.0.1:%d; }
http_server { enabled on; listen 127.0.0.1:%d; dir /nonexistent; }
%s
vhost __defaultVhost__ { http_remux { enabled on; } %s }
`, p.rtmp, p.api, p.http, global, vhost)
}

func (p ports) rtmpAddr() string { return "127.0.0.1:" + strconv.Itoa(p.rtmp) }
func (p ports) apiURL(path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", p.api, path)
}
func (p ports) httpURL(path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", p.http, path)
}

// node is a server in this process.
type node struct {
	ports
	*server
	log *syncBuffer
}

// syncBuffer is a log that can be read while it's written.
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

// startNode starts a server that is killed at the end of the test.
func startNode(t *testing.T, version string, p ports, vhost string) *node {
	t.Helper()
	root, err := parseConf(p.conf("", vhost))
	if err != nil {
		t.Fatal(err)
	}
	v := mustVersion(version)
	log := &syncBuffer{}
	n := &node{ports: p, server: newServer(root, v, &logger{version: v, out: log}), log: log}
	n.announce = takeOver
	if err := checkConf(root, n.settings, v); err != nil {
		t.Fatal(err)
	}
	if err := n.listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", p.rtmpAddr(), log)
		}
	})
	return n
}

// kill ends a server as SIGKILL does.
func (n *node) kill() {
	n.closeListeners()
	n.thread.Lock()
	var all []*conn
	for c := range n.conns {
		all = append(all, c)
	}
	var pulls []*source
	for _, src := range n.sources {
		pulls = append(pulls, src)
	}
	for _, src := range pulls {
		src.stopPull()
		if src.pushing != nil {
			src.stopPush(src.pushing)
		}
	}
	n.thread.Unlock()
	for _, c := range all {
		c.Close()
	}
}

const originVhost = "cluster { origin_cluster on; coworkers %s; }"

// startOrigins starts an origin cluster of n.
func startOrigins(t *testing.T, version string, n int) []*node {
	t.Helper()
	all := make([]ports, n)
	var coworkers []string
	for i := range all {
		all[i] = freePorts(t)
		coworkers = append(coworkers, "127.0.0.1:"+strconv.Itoa(all[i].api))
	}
	vhost := fmt.Sprintf(originVhost, strings.Join(coworkers, " "))
	nodes := make([]*node, n)
	for i, p := range all {
		nodes[i] = startNode(t, version, p, vhost)
	}
	return nodes
}

func edgeVhost(origins ...*node) string {
	var addresses []string
	for _, o := range origins {
		addresses = append(addresses, o.rtmpAddr())
	}
	return "cluster { mode remote; origin " + strings.Join(addresses, " ") + "; }"
}

func startEdge(t *testing.T, version string, origins ...*node) *node {
	t.Helper()
	return startNode(t, version, freePorts(t), edgeVhost(origins...))
}

// The frames that test publishers send: headers, and a key frame every second.
var (
	videoHeader = []byte{0x17, 0, 0, 0, 0, 1, 2, 3}
	audioHeader = []byte{0xaf, 0, 0x12, 0x10}
	keyPayload  = bytes.Repeat([]byte{0x17, 1, 0, 0, 0}, 20)
	interFrame  = bytes.Repeat([]byte{0x27, 1, 0, 0, 0}, 20)
	audioFrame  = []byte{0xaf, 1, 0x21, 0x10}
)

const frameInterval = 20 * time.Millisecond

// publisher publishes until its connection ends.
type publisher struct {
	client *rtmp.Client
	ended  chan struct{}
	err    error
	stop   chan struct{}
}

// publish returns when the server has the stream: SRS accepts a publisher before that.
func publish(t *testing.T, n *node, stream string) *publisher {
	t.Helper()
	p, err := tryPublish(n.rtmpAddr(), stream)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	await(t, 2*time.Second, "stream", func() bool {
		select {
		case <-p.ended:
			return true
		default:
		}
		n.thread.Lock()
		defer n.thread.Unlock()
		src := n.sources["/live/"+stream]
		return src != nil && (src.publishing || src.pushing != nil)
	})
	return p
}

func tryPublish(addr, stream string) (*publisher, error) {
	client, err := dial(addr)
	if err != nil {
		return nil, err
	}
	if err := client.Publish(stream); err != nil {
		client.Close()
		return nil, err
	}
	p := &publisher{client: client, ended: make(chan struct{}), stop: make(chan struct{})}
	go func() {
		for {
			if _, err := client.ReadMessage(); err != nil {
				return
			}
		}
	}()
	go func() {
		p.err = p.send()
		client.Close()
		close(p.ended)
	}()
	return p, nil
}

func dial(addr string) (*rtmp.Client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return rtmp.Dial(ctx, addr, "live", "")
}

func (p *publisher) close() {
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	<-p.ended
}

func (p *publisher) send() error {
	meta, err := rtmp.EncodeAMF0("@setDataFrame", "onMetaData", rtmp.ECMAArray{"width": 160, "duration": 5, "server": "encoder"})
	if err != nil {
		return err
	}
	write := func(kind uint8, at uint32, payload []byte) error {
		return p.client.WriteMessage(rtmp.Message{Type: kind, StreamID: p.client.StreamID, Timestamp: at, Payload: payload})
	}
	if err := errors.Join(write(rtmp.TypeDataAMF0, 0, meta), write(rtmp.TypeVideo, 0, videoHeader), write(rtmp.TypeAudio, 0, audioHeader)); err != nil {
		return err
	}
	ticker := time.NewTicker(frameInterval)
	defer ticker.Stop()
	for n := uint32(0); ; n++ {
		at := n * uint32(frameInterval/time.Millisecond)
		video := interFrame
		if n%uint32(time.Second/frameInterval) == 0 {
			video = keyPayload
		}
		if err := errors.Join(write(rtmp.TypeVideo, at, video), write(rtmp.TypeAudio, at, audioFrame)); err != nil {
			return err
		}
		select {
		case <-p.stop:
			return nil
		case <-ticker.C:
		}
	}
}

// player plays a stream and keeps what it saw.
type player struct {
	*rtmp.Client
	first []rtmp.Message // the first messages, without frames after the first key frame
	mu    sync.Mutex
	last  time.Time     // of the last media
	gap   time.Duration // the longest silence between media
	media int
	stamp uint32
	back  int // timestamps that went back
	ended chan struct{}
	err   error
}

func play(t *testing.T, addr, stream string) *player {
	t.Helper()
	p, err := tryPlay(addr, stream)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func tryPlay(addr, stream string) (*player, error) {
	client, err := dial(addr)
	if err != nil {
		return nil, err
	}
	if err := client.Play(stream); err != nil {
		client.Close()
		return nil, err
	}
	p := &player{Client: client, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		for {
			m, err := client.ReadMessage()
			if err != nil {
				p.err = err
				return
			}
			p.take(m)
		}
	}()
	return p, nil
}

func (p *player) take(m rtmp.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.first) < 8 {
		p.first = append(p.first, m)
	}
	if !m.IsMedia() {
		return
	}
	now := time.Now()
	if p.media > 0 {
		p.gap = max(p.gap, now.Sub(p.last))
		if m.Timestamp < p.stamp {
			p.back++
		}
	}
	p.media++
	p.last, p.stamp = now, m.Timestamp
}

func (p *player) seen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.media
}

// awaitMedia waits for n more messages of media.
func (p *player) awaitMedia(t *testing.T, n int, within time.Duration) {
	t.Helper()
	from := p.seen()
	await(t, within, "media", func() bool { return p.seen() >= from+n })
}

func (p *player) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
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

// isCut reports whether an error is what the end of a connection by the other side looks like.
func isCut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
