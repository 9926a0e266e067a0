package fakesrs

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"srs.testbed/streaming/rtmp"
)

func TestConnectResultTellsTheVersion(t *testing.T) {
	t.Parallel()
	for version, id := range map[string]string{"4.0.6": "float64", "6.0.157": "string"} {
		n := startNode(t, version, freePorts(t), "")
		client, err := dial(n.rtmpAddr())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		data, ok := client.Info["data"].(rtmp.ECMAArray)
		if !ok || data["srs_sig"] != "SRS" || data["srs_version"] != version || data["srs_server_ip"] != "127.0.0.1" {
			t.Errorf("%s: data is %v", version, client.Info["data"])
		}
		if got := fmt.Sprintf("%T", data["srs_id"]); got != id {
			t.Errorf("%s: srs_id is a %s, want %s", version, got, id)
		}
		if pid, _ := data["srs_pid"].(float64); pid <= 0 {
			t.Errorf("%s: srs_pid is %v", version, data["srs_pid"])
		}
	}
}

// A stream that only the second origin has is played through an edge that asks the first one.
func TestEdgeFollowsRedirectToTheOriginThatHasTheStream(t *testing.T) {
	t.Parallel()
	origins := startOrigins(t, "4.0.5", 2)
	edge := startEdge(t, "4.0.6", origins...)
	publish(t, origins[1], "x")
	p := play(t, edge.rtmpAddr(), "x")
	p.awaitMedia(t, 20, 3*time.Second)
	if !strings.Contains(edge.log.String(), "RTMP redirect /live/x from "+origins[0].rtmpAddr()) {
		t.Errorf("no redirect:\n%s", edge.log)
	}

	// The next player gets all that it needs to show a picture, and the edge's own version.
	p = play(t, edge.rtmpAddr(), "x")
	p.awaitMedia(t, 4, 2*time.Second)
	p.mu.Lock()
	defer p.mu.Unlock()
	var order []string
	for _, m := range p.first {
		switch {
		case m.Type == rtmp.TypeDataAMF0:
			values, err := m.Values()
			if err != nil || values[0] != "onMetaData" {
				continue
			}
			order = append(order, "meta")
			got := values[1].(rtmp.ECMAArray)
			if got["server"] != "SRS/4.0.6(Leo)" || got["server_version"] != "4.0.6" || got["duration"] != nil || got["width"] != 160.0 {
				t.Errorf("metadata is %v", got)
			}
		case m.Type == rtmp.TypeAudio && bytes.Equal(m.Payload, audioHeader):
			order = append(order, "audio header")
		case m.Type == rtmp.TypeVideo && bytes.Equal(m.Payload, videoHeader):
			order = append(order, "video header")
		case m.Type == rtmp.TypeVideo && bytes.Equal(m.Payload, keyPayload):
			order = append(order, "key frame")
		}
	}
	if got := strings.Join(order, ", "); got != "meta, audio header, video header, key frame" {
		t.Errorf("a new player first gets %s", got)
	}
}

func TestEdgePullsAStreamOnceAndOnlyWhileItHasPlayers(t *testing.T) {
	t.Parallel()
	origin := startOrigins(t, "4.0.6", 1)[0]
	edge := startEdge(t, "4.0.6", origin)
	publish(t, origin, "x")
	var players []*player
	for range 5 {
		players = append(players, play(t, edge.rtmpAddr(), "x"))
	}
	for _, p := range players {
		p.awaitMedia(t, 10, 3*time.Second)
	}
	if n := origin.connections(); n != 2 {
		t.Errorf("the origin has %d connections, want publisher and edge", n)
	}
	for _, p := range players {
		p.Close()
	}
	await(t, time.Second, "end of the pull", func() bool { return origin.connections() == 1 })
}

func TestEveryStreamBeginsAtTheFirstOrigin(t *testing.T) {
	t.Parallel()
	origins := startOrigins(t, "4.0.6", 2)
	edge := startEdge(t, "4.0.6", origins...)
	for _, stream := range []string{"a", "b"} {
		publish(t, origins[0], stream)
		p := play(t, edge.rtmpAddr(), stream)
		p.awaitMedia(t, 1, 2*time.Second)
		before := edge.connections()
		p.Close()
		await(t, time.Second, "end of the player", func() bool { return edge.connections() < before })
		// Old versions never forget a stream: its second pull is the second origin's, which redirects.
		play(t, edge.rtmpAddr(), stream).awaitMedia(t, 1, 2*time.Second)
	}
	log := edge.log.String()
	for _, o := range origins {
		if got := strings.Count(log, "edge-pull publish url "+o.rtmpAddr()); got < 2 {
			t.Errorf("%s was asked %d times:\n%s", o.rtmpAddr(), got, log)
		}
	}
}

// The numbers of a real edge: players stay, and are silent for 3 s and as long as the origin was gone.
func TestPlayersStayWhileTheirOriginRestarts(t *testing.T) {
	t.Parallel()
	ports := freePorts(t)
	vhost := fmt.Sprintf(originVhost, fmt.Sprintf("127.0.0.1:%d", ports.api))
	origin := startNode(t, "4.0.6", ports, vhost)
	edge := startEdge(t, "4.0.6", origin)
	first := publish(t, origin, "x")
	p := play(t, edge.rtmpAddr(), "x")
	p.awaitMedia(t, 10, 3*time.Second)

	origin.kill()
	<-first.ended
	origin = startNode(t, "4.0.6", ports, vhost)
	publish(t, origin, "x")
	time.Sleep(2 * time.Second)
	if !p.alive() {
		t.Fatal("the player was cut: ", p.err)
	}
	p.awaitMedia(t, 10, 3*time.Second)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gap < 2500*time.Millisecond || p.gap > 6500*time.Millisecond {
		t.Errorf("the silence was %v", p.gap)
	}
	if p.back > 0 {
		t.Errorf("%d timestamps went back", p.back)
	}
}

func TestPublishThroughEdge(t *testing.T) {
	t.Parallel()
	origins := startOrigins(t, "4.0.6", 2)
	edge := startEdge(t, "4.0.6", origins...)
	encoder := publish(t, edge, "x")
	// Anybody can have it, through the edge and at the other origin too.
	playOnceThere(t, origins[0].rtmpAddr(), "x")
	play(t, edge.rtmpAddr(), "x").awaitMedia(t, 10, 3*time.Second)

	// A second publisher is accepted and then cut, and does the first one no harm.
	for _, addr := range []string{edge.rtmpAddr(), origins[0].rtmpAddr()} {
		second, err := tryPublish(addr, "x")
		if err != nil {
			t.Fatalf("SRS accepts the command before it looks: %v", err)
		}
		select {
		case <-second.ended:
		case <-time.After(2 * time.Second):
			t.Errorf("%s: the second publisher stays", addr)
		}
	}
	select {
	case <-encoder.ended:
		t.Fatal("the first publisher was cut")
	default:
	}

	// When the origin goes, the edge hears of it and cuts the encoder.
	origins[0].kill()
	select {
	case <-encoder.ended:
	case <-time.After(2 * time.Second):
		t.Error("the encoder stays connected to a stream without an origin")
	}
	// It comes back and is sent to the next origin.
	again := publish(t, edge, "x")
	playOnceThere(t, origins[1].rtmpAddr(), "x")
	select {
	case <-again.ended:
		t.Error("the encoder was cut again")
	default:
	}
}

// playOnceThere plays from an origin where a stream is about to arrive. A player that comes before is sent
// away, or, if the stream arrives right then, redirected to the very same origin.
func playOnceThere(t *testing.T, addr, stream string) {
	t.Helper()
	await(t, 5*time.Second, "stream", func() bool {
		p, err := tryPlay(addr, stream)
		if err != nil {
			return false
		}
		defer p.Close()
		for start := time.Now(); p.alive() && p.seen() == 0 && time.Since(start) < time.Second; {
			time.Sleep(5 * time.Millisecond)
		}
		return p.seen() > 0
	})
}

// 6.0 forgets a stream soon, and so begins at the first origin again, dead or alive (ossrs/srs #4511).
func TestPublisherOfNewVersionsGoesToTheDeadOriginAgain(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{"4.0.6": true, "6.0.157": false} {
		origin := startOrigins(t, version, 1)[0]
		// Nobody listens on port 1, also not in the tests beside this one.
		edge := startNode(t, version, freePorts(t), "cluster { mode remote; origin 127.0.0.1:1 "+origin.rtmpAddr()+"; }")
		first := publish(t, edge, "x")
		<-first.ended // refused: it was the first origin's turn
		edge.thread.Lock()
		for _, src := range edge.sources {
			src.idleSince = time.Now().Add(-time.Minute)
		}
		if edge.version.freesSources() { // as the main loop does
			edge.freeDeadSources()
		}
		edge.thread.Unlock()
		second := publish(t, edge, "x")
		select {
		case <-second.ended:
			if want {
				t.Errorf("%s: the second try failed", version)
			}
		case <-time.After(700 * time.Millisecond):
			if !want {
				t.Errorf("%s: the second try succeeded", version)
			}
		}
	}
}

func TestEncoderCanPublishAgainOnItsConnection(t *testing.T) {
	t.Parallel()
	n := startNode(t, "4.0.6", freePorts(t), "")
	client, err := dial(n.rtmpAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 2 {
		if err := client.Publish("x"); err != nil {
			t.Fatal(err)
		}
		if err := client.Command(0, "FCUnpublish", 9, nil, "x"); err != nil {
			t.Fatal(err)
		}
		for done := false; !done; {
			m, err := client.ReadMessage()
			if err != nil {
				t.Fatal(err)
			}
			cmd, err := rtmp.ParseCommand(m)
			done = err == nil && cmd.Name == "onStatus" && rtmp.Field(cmd.Arg(1), "code") == "NetStream.Unpublish.Success"
		}
	}
}

func TestSilentPublisherIsCut(t *testing.T) {
	t.Parallel()
	n := startNode(t, "4.0.6", freePorts(t), "publish { firstpkt_timeout 300; normal_timeout 300; }")
	client, err := dial(n.rtmpAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Publish("x"); err != nil {
		t.Fatal(err)
	}
	client.NetConn().SetReadDeadline(time.Now().Add(2 * time.Second))
	if _, err := client.ReadMessage(); !isCut(err) {
		t.Errorf("ends with %v", err)
	}
}

// A player that doesn't read costs the others nothing and the server little.
func TestSlowPlayerDoesNotBlockOthers(t *testing.T) {
	t.Parallel()
	n := startNode(t, "4.0.6", freePorts(t), "play { queue_length 0.5; mw_latency 50; }")
	publisher := publish(t, n, "x")
	slow, err := dial(n.rtmpAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	slow.NetConn().(*net.TCPConn).SetReadBuffer(4096)
	if err := slow.Play("x"); err != nil {
		t.Fatal(err)
	}
	fast := play(t, n.rtmpAddr(), "x")
	fast.awaitMedia(t, 1, 2*time.Second)
	big := append([]byte{0x27, 1, 0, 0, 0}, make([]byte, 300<<10)...)
	for i := range 60 {
		m := rtmp.Message{Type: rtmp.TypeVideo, StreamID: publisher.client.StreamID, Timestamp: uint32(2000 + 20*i), Payload: big}
		if err := publisher.client.WriteMessage(m); err != nil {
			t.Fatal(err)
		}
	}
	fast.awaitMedia(t, 50, 3*time.Second)
	await(t, 3*time.Second, "shrinking", func() bool { return strings.Contains(n.log.String(), "shrinking") })
	if !fast.alive() {
		t.Error("the fast player was cut")
	}
}

func TestFLV(t *testing.T) {
	t.Parallel()
	origins := startOrigins(t, "4.0.6", 1)
	edge := startEdge(t, "4.0.6", origins...)
	publish(t, origins[0], "x")
	for _, n := range []*node{edge, origins[0]} {
		response, err := http.Get(n.httpURL("/live/x.flv"))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if got := response.Header.Get("Server"); got != "SRS/4.0.6(Leo)" {
			t.Errorf("Server is %q", got)
		}
		if got := response.Header.Get("Content-Type"); response.StatusCode != 200 || got != "video/x-flv" {
			t.Errorf("status %d, type %q", response.StatusCode, got)
		}
		kinds := readTags(t, response.Body, 8)
		if want := []byte{18, 8, 9, 9}; n == origins[0] && !bytes.Equal(kinds[:4], want) {
			t.Errorf("the file begins with %v, want %v", kinds, want)
		}
	}

	response, err := http.Head(edge.httpURL("/live/x.flv"))
	if err != nil || response.StatusCode != 200 {
		t.Fatalf("HEAD: %v, %v", response, err)
	}
	response.Body.Close()
	for path, want := range map[string]int{"/live/x.m3u8": 404, "/live/x.ts": 404, "/": 404, "/x.flv": 404, "/api/v1/versions": 200} {
		if got := status(t, edge.httpURL(path)); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}

// readTags checks the structure of an FLV file and returns the types of its first n tags.
func readTags(t *testing.T, r io.Reader, n int) []byte {
	t.Helper()
	header := make([]byte, 13)
	if _, err := io.ReadFull(r, header); err != nil || string(header[:3]) != "FLV" || header[4] != 5 {
		t.Fatalf("header is %v, %v", header, err)
	}
	var kinds []byte
	for range n {
		tag := make([]byte, 11)
		if _, err := io.ReadFull(r, tag); err != nil {
			t.Fatal(err)
		}
		size := int(tag[1])<<16 | int(tag[2])<<8 | int(tag[3])
		rest := make([]byte, size+4)
		if _, err := io.ReadFull(r, rest); err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint32(rest[size:]); got != uint32(size+11) {
			t.Fatalf("previous tag size is %d after a tag of %d", got, size)
		}
		kinds = append(kinds, tag[0])
	}
	return kinds
}

// A stream whose first viewer at an edge is HTTP-FLV gives nothing to anybody there, from 6.0.155 on.
func TestFLVFirst(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{"4.0.6": true, "6.0.157": false} {
		origins := startOrigins(t, version, 1)
		edge := startEdge(t, version, origins...)
		publish(t, origins[0], "x")
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, edge.httpURL("/live/x.flv"), nil)
		if err != nil {
			t.Fatal(err)
		}
		go http.DefaultClient.Do(request)
		await(t, time.Second, "pull", func() bool { return strings.Contains(edge.log.String(), "FLV /live/x.flv") })
		p := play(t, edge.rtmpAddr(), "x")
		time.Sleep(time.Second)
		if got := p.seen() > 0; got != want {
			t.Errorf("%s: media %v, want %v", version, got, want)
		}
	}
}

// Viewers over HTTP-FLV go with the publisher of an origin, players over RTMP stay.
func TestPublisherOfAnOriginLeaves(t *testing.T) {
	t.Parallel()
	n := startNode(t, "4.0.6", freePorts(t), "")
	encoder := publish(t, n, "x")
	p := play(t, n.rtmpAddr(), "x")
	p.awaitMedia(t, 1, 2*time.Second)
	viewer := &http.Client{Timeout: 4 * time.Second}
	response, err := viewer.Get(n.httpURL("/live/x.flv"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	encoder.close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Errorf("the file ends with %v", err)
	}
	publish(t, n, "x")
	p.awaitMedia(t, 10, 2*time.Second)
}

func TestAPI(t *testing.T) {
	t.Parallel()
	origins := startOrigins(t, "4.0.6", 2)
	publish(t, origins[1], "x")
	old, young := origins[1], startNode(t, "6.0.157", freePorts(t), "")
	for _, c := range []struct {
		node *node
		path string
		want int
	}{
		{old, "/api/v1/versions", 200}, {old, "/api/v1/versoins", 200}, {old, "/api/v1/", 200}, {old, "/api/", 200},
		{old, "/api/v1/summaries", 200}, {old, "/api/v1/clients/", 200}, {old, "/api/v1/streams/", 200},
		{old, "/api/v1/clients", 302}, {old, "/api/v1/streams", 302},
		{old, "/", 404}, {old, "/metrics", 404}, {old, "/x", 404},
		{young, "/", 200}, {young, "/metrics", 200},
	} {
		if got := status(t, c.node.apiURL(c.path)); got != c.want {
			t.Errorf("%s %s: %d, want %d", c.node.version, c.path, got, c.want)
		}
	}

	if got := query(t, old, "/api/v1/versions", "data", "version"); got != "4.0.6" {
		t.Errorf("version is %v", got)
	}
	if got := query(t, old, "/api/v1/versions", "data", "revision"); got != 6.0 {
		t.Errorf("revision is %v", got)
	}
	await(t, 2*time.Second, "frames", func() bool {
		streams := query(t, old, "/api/v1/streams/", "streams").([]any)
		one := streams[0].(map[string]any)
		return one["name"] == "x" && one["clients"] == 1.0 && one["frames"].(float64) > 0 &&
			one["publish"].(map[string]any)["active"] == true
	})
	clients := query(t, old, "/api/v1/clients/", "clients").([]any)
	if one := clients[0].(map[string]any); len(clients) != 1 || one["type"] != "fmle-publish" || one["publish"] != true {
		t.Errorf("clients are %v", clients)
	}
	if got := query(t, old, "/api/v1/summaries", "data", "system", "conn_srs"); got.(float64) < 1 {
		t.Errorf("conn_srs is %v", got)
	}

	where := "/api/v1/clusters?vhost=__defaultVhost__&app=live&stream=x&coworker=srs-origin-1.socs:1985"
	// A listener on loopback is of no use to others, so it's called what the coworker calls it.
	if got := query(t, old, where, "data", "origin", "ip"); got != "srs-origin-1.socs" {
		t.Errorf("the stream is at %v", got)
	}
	if got := query(t, origins[0], where, "data", "origin"); got != nil {
		t.Errorf("a stream that isn't here is at %v", got)
	}
}

func TestExporter(t *testing.T) {
	t.Parallel()
	p, metrics := freePorts(t), freePorts(t).api
	root, err := parseConf(p.conf(fmt.Sprintf("exporter { enabled on; listen 127.0.0.1:%d; label cn; }", metrics), ""))
	if err != nil {
		t.Fatal(err)
	}
	v := mustVersion("6.0.157")
	s := newServer(root, v, &logger{version: v, out: io.Discard})
	s.announce = takeOver
	if err := s.listen(); err != nil {
		t.Fatal(err)
	}
	defer s.closeListeners()
	response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", metrics))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`version="6.0.157"`, `label="cn"`, "\nsrs_clients 0\n", "\nsrs_streams 0\n"} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	p := freePorts(t)
	root, err := parseConf(p.conf("max_connections 1;", ""))
	if err != nil {
		t.Fatal(err)
	}
	v := mustVersion("4.0.6")
	s := newServer(root, v, &logger{version: v, out: io.Discard})
	s.announce = takeOver
	if err := s.listen(); err != nil {
		t.Fatal(err)
	}
	defer s.closeListeners()
	client, err := dial(p.rtmpAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if other, err := dial(p.rtmpAddr()); !isCut(err) {
		t.Errorf("the second connection: %v, %v", other, err)
	}
}

// slowDNS is a name server that answers each question for an address with 127.0.0.1, late. It counts.
func slowDNS(t *testing.T, delay time.Duration) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go func() {
		for {
			buffer := make([]byte, 512)
			n, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			go func() {
				time.Sleep(delay)
				socket.WriteTo(dnsAnswer(buffer[:n]), from)
			}()
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
}

// dnsAnswer answers a question for an A record with 127.0.0.1 and any other with nothing (RFC 1035, section 4).
func dnsAnswer(question []byte) []byte {
	end := bytes.IndexByte(question[12:], 0) + 12 + 1 + 4 // name, type, class
	answer := append([]byte(nil), question[:end]...)
	answer[2], answer[3] = 0x81, 0x80
	binary.BigEndian.PutUint16(answer[10:], 0) // no additional records
	if binary.BigEndian.Uint16(question[end-4:]) != 1 {
		return answer
	}
	binary.BigEndian.PutUint16(answer[6:], 1)
	return append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
}

// While a name is looked up, the one thread of the server does nothing else: no API, no media for anybody.
func TestSlowLookupStallsTheWholeServer(t *testing.T) {
	t.Parallel()
	const delay = 1200 * time.Millisecond
	origin := startOrigins(t, "4.0.6", 1)[0]
	vhost := fmt.Sprintf("cluster { mode remote; origin 127.0.0.1:%d origin.example.:%d; } play { mw_latency 50; }", origin.rtmp, origin.rtmp)
	edge := startNode(t, "4.0.6", freePorts(t), vhost)
	edge.resolver = slowDNS(t, delay)
	publish(t, origin, "x")
	publish(t, origin, "y")
	ask := func() time.Duration {
		start := time.Now()
		if got := status(t, edge.apiURL("/api/v1/versions")); got != 200 {
			t.Errorf("the API answers %d", got)
		}
		return time.Since(start)
	}
	p := play(t, edge.rtmpAddr(), "x")
	p.awaitMedia(t, 30, 3*time.Second)
	await(t, 5*time.Second, "quick answer without any lookup", func() bool { return ask() < delay/4 })

	// The first pull of y is the first origin's, which has an address; the second one's needs the lookup.
	first := play(t, edge.rtmpAddr(), "y")
	first.awaitMedia(t, 1, 2*time.Second)
	first.Close()
	await(t, time.Second, "end of the pull", func() bool { return edge.connections() == 1 })
	go tryPlay(edge.rtmpAddr(), "y")
	await(t, time.Second, "lookup", func() bool {
		if !edge.thread.TryLock() {
			time.Sleep(20 * time.Millisecond) // others hold it for microseconds
			return !edge.tryLock()
		}
		edge.thread.Unlock()
		return false
	})
	if took := ask(); took < delay/2 {
		t.Errorf("the API answered within %v during the lookup", took)
	}
	p.awaitMedia(t, 10, 2*time.Second)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gap < delay*2/3 {
		t.Errorf("a player of another stream was silent for %v at most, want about %v", p.gap, delay)
	}
}

func (s *server) tryLock() bool {
	locked := s.thread.TryLock()
	if locked {
		s.thread.Unlock()
	}
	return locked
}

// An edge is ready while none of its origins resolves, and goes on trying.
func TestEdgeWithoutOriginsServes(t *testing.T) {
	t.Parallel()
	edge := startNode(t, "4.0.6", freePorts(t), "cluster { mode remote; origin nowhere.invalid; }")
	edge.resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, fmt.Errorf("no name server")
	}}
	p := play(t, edge.rtmpAddr(), "x")
	await(t, time.Second, "try", func() bool { return strings.Contains(edge.log.String(), "EdgeIngester: Ignore error") })
	if got := status(t, edge.apiURL("/api/v1/versions")); got != 200 {
		t.Errorf("the API answers %d", got)
	}
	if !p.alive() {
		t.Error("the player was cut")
	}
	streams := query(t, edge, "/api/v1/streams/", "streams").([]any)
	if active := streams[0].(map[string]any)["publish"].(map[string]any)["active"]; active != true {
		t.Errorf("a stream that nobody has is active: %v", active)
	}
}

func status(t *testing.T, url string) int {
	t.Helper()
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableKeepAlives: true},
		Timeout:       5 * time.Second,
	}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// query is a member of an answer of the API.
func query(t *testing.T, n *node, path string, members ...string) any {
	t.Helper()
	response, err := http.Get(n.apiURL(path))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer any
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	for _, member := range members {
		object, ok := answer.(map[string]any)
		if !ok {
			t.Fatalf("%s: no %s", path, member)
		}
		answer = object[member]
	}
	return answer
}
