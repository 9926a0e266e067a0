package fakesrs

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortmplib/pkg/amf0"

	"srs.testbed/streaming/rtmp"
)

var v406 = version{4, 0, 6}

func TestConnectResultIdentifiesVersionAndProcess(t *testing.T) {
	t.Parallel()
	client, err := dial(startNode(t, v406, "", "").rtmp)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if got, want := client.ServerID(), fmt.Sprintf("127.0.0.1-%d", os.Getpid()); got != want || client.ServerVersion() != "4.0.6" {
		t.Errorf("id %q, version %q", got, client.ServerVersion())
	}
	if id, _ := rtmp.Field(client.Data, "srs_id").(float64); id <= 0 {
		t.Errorf("srs_id is %v", id)
	}
}

// A stream that only the second origin has is played through an edge that asks the first one.
func TestEdgeFollowsRedirectToTheOriginThatHasTheStream(t *testing.T) {
	t.Parallel()
	origins := startOrigins(t, version{4, 0, 5}, 2)
	edge := startEdge(t, v406, origins...)
	publish(t, origins[1].rtmp, "x")
	play(t, edge.rtmp, "x").awaitMedia(t, 20, 5*time.Second)
	for _, line := range []string{
		"edge-pull publish url rtmp://" + origins[0].rtmp + "/live/x, stream=x as x",
		"RTMP redirect live/x from " + origins[0].rtmp + " to " + origins[1].rtmp,
	} {
		if !strings.Contains(edge.log.String(), line) {
			t.Errorf("no %q:\n%s", line, edge.log)
		}
	}

	// The next player gets what its decoder needs, and the edge's own version.
	p := play(t, edge.rtmp, "x?key=1")
	p.awaitMedia(t, 4, 2*time.Second)
	p.mu.Lock()
	defer p.mu.Unlock()
	values, err := amf0.Unmarshal(p.first[0].Payload)
	if err != nil || len(values) != 2 || values[0] != "onMetaData" {
		t.Fatalf("metadata is %v, %v", values, err)
	}
	for name, want := range map[string]any{"server": "SRS/4.0.6(Leo)", "server_version": "4.0.6", "duration": nil, "width": 160.0} {
		if got := rtmp.Field(values[1], name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if !bytes.Equal(p.first[1].Payload, audioHeader) || !bytes.Equal(p.first[2].Payload, videoHeader) {
		t.Errorf("a new player first gets %v", p.first)
	}
}

func TestEdgePullsAStreamOnceAndOnlyWhileItHasPlayers(t *testing.T) {
	t.Parallel()
	origin := startOrigins(t, v406, 1)[0]
	edge := startEdge(t, v406, origin)
	publish(t, origin.rtmp, "x")
	players := []*stream{play(t, edge.rtmp, "x"), play(t, edge.rtmp, "x"), play(t, edge.rtmp, "x")}
	for _, p := range players {
		p.awaitMedia(t, 10, 5*time.Second)
	}
	if n := origin.open(); n != 2 {
		t.Errorf("the origin has %d connections, want publisher and edge", n)
	}
	for _, p := range players {
		p.Close()
	}
	await(t, time.Second, "end of the pull", func() bool { return origin.open() == 1 })
}

func TestEveryStreamBeginsAtTheFirstOrigin(t *testing.T) {
	t.Parallel()
	edge := startNode(t, v406, "", "cluster { mode remote; origin a b:1936; }")
	turns := map[string]*int{"x": new(int), "y": new(int)}
	for _, c := range [][2]string{{"x", "a:1935"}, {"x", "b:1936"}, {"y", "a:1935"}, {"x", "a:1935"}} {
		if got, err := edge.nextOrigin(turns[c[0]]); err != nil || got != c[1] {
			t.Errorf("%s goes to %s, want %s (%v)", c[0], got, c[1], err)
		}
	}
}

// As measured on SRS: players stay connected, and are silent for 3 s plus the time without the origin.
func TestPlayersStayWhileTheirOriginRestarts(t *testing.T) {
	t.Parallel()
	origin := startOrigins(t, v406, 1)[0]
	edge := startEdge(t, v406, origin)
	encoder := publish(t, origin.rtmp, "x")
	p := play(t, edge.rtmp, "x")
	p.awaitMedia(t, 10, 5*time.Second)

	origin.kill()
	encoder.awaitEnd(t, time.Second)
	settings := origin.settings
	settings.rtmp = origin.rtmp
	publish(t, startServer(t, settings, v406).rtmp, "x")
	p.awaitMedia(t, 10, 6*time.Second)
	if !p.alive() || p.silence() < 2500*time.Millisecond {
		t.Errorf("the player is connected: %v, and was silent for %v", p.alive(), p.silence())
	}
}

func TestPublishThroughEdge(t *testing.T) {
	t.Parallel()
	origins := startOrigins(t, v406, 2)
	edge := startEdge(t, v406, origins...)
	encoder := publish(t, edge.rtmp, "x")
	play(t, edge.rtmp, "x").awaitMedia(t, 10, 5*time.Second)

	// A second publisher is accepted and then dropped, and does not affect the first one.
	for _, address := range []string{edge.rtmp, origins[0].rtmp} {
		publish(t, address, "x").awaitEnd(t, 2*time.Second)
	}
	if !encoder.alive() {
		t.Fatal("the first publisher was dropped")
	}

	// When the origin closes the connection, the edge drops the encoder, and the next one goes to the next origin.
	origins[0].kill()
	encoder.awaitEnd(t, 2*time.Second)
	encoder = publish(t, edge.rtmp, "x")
	await(t, 2*time.Second, "stream at the second origin", func() bool { return origins[1].locate("live", "x", "") != nil })
	if !encoder.alive() {
		t.Error("the encoder was dropped again")
	}
}

// An origin that vanishes without closing its connection: a write fails at last.
func TestADeadStreamDropsItsEncoderInNewVersionsOnly(t *testing.T) {
	t.Parallel()
	for v, dropped := range map[version]bool{{4, 0, 6}: false, {6, 0, 157}: true} {
		edge := startNode(t, v, "", "cluster { mode remote; }")
		up, origin := net.Pipe()
		origin.Close()
		f := &forwarder{source: &source{server: edge.server}, up: &rtmp.Client{Conn: rtmp.NewConn(up)}}
		f.message(rtmp.Message{Type: rtmp.TypeVideo, Payload: videoFrame})
		f.write(t.Context())
		if got := f.message(rtmp.Message{}); (got != nil) != dropped {
			t.Errorf("%s: the encoder's next message: %v", v, got)
		}
	}
}

func TestSilentPublisherIsDropped(t *testing.T) {
	t.Parallel()
	n := startNode(t, v406, "", "")
	silent := open(t, n.rtmp, "x", (*rtmp.Client).Publish)
	time.Sleep(publisherTimeout - time.Second)
	if !silent.alive() {
		t.Error("it is dropped too early")
	}
	silent.awaitEnd(t, 3*time.Second)
}

// A decoder needs a key frame to begin.
func TestANewPlayerBeginsWithTheLastKeyFrame(t *testing.T) {
	t.Parallel()
	keyFrame, frame := []byte{0x17, 1}, []byte{0x27, 1}
	for conf, want := range map[string][][]byte{"": {keyFrame, frame}, "play { gop_cache off; }": nil} {
		n := startNode(t, v406, "", conf)
		src := n.source("live", "x")
		src.publish()
		for _, payload := range [][]byte{keyFrame, frame, keyFrame, frame} {
			src.message(rtmp.Message{Type: rtmp.TypeVideo, Payload: payload})
		}
		var got [][]byte
		for _, m := range n.take(n.join(src)) {
			got = append(got, m.Payload)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: a new player gets %v, want %v", conf, got, want)
		}
	}
}

func TestFLV(t *testing.T) {
	t.Parallel()
	origin := startOrigins(t, v406, 1)[0]
	edge := startEdge(t, v406, origin)
	publish(t, origin.rtmp, "x")
	for _, n := range []*node{origin, edge} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		request, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.http+"/live/x.flv", nil)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != 200 || response.Header.Get("Content-Type") != "video/x-flv" || response.Header.Get("Server") != "SRS/4.0.6(Leo)" {
			t.Errorf("status %d, header %v", response.StatusCode, response.Header)
		}
		header := make([]byte, 13)
		if _, err := io.ReadFull(response.Body, header); err != nil || string(header[:4]) != "FLV\x01" {
			t.Fatalf("the file begins with %v, %v", header, err)
		}
		var kinds []byte
		for range 6 {
			tag := make([]byte, 11)
			io.ReadFull(response.Body, tag)
			size := int(tag[1])<<16 | int(tag[2])<<8 | int(tag[3])
			rest := make([]byte, size+4)
			if _, err := io.ReadFull(response.Body, rest); err != nil {
				t.Fatal(err)
			}
			if got := binary.BigEndian.Uint32(rest[size:]); got != uint32(size+11) {
				t.Fatalf("the size is %d after a tag of %d", got, size)
			}
			kinds = append(kinds, tag[0])
		}
		if kinds[0] != rtmp.TypeData || bytes.IndexByte(kinds, rtmp.TypeAudio) < 0 || bytes.IndexByte(kinds, rtmp.TypeVideo) < 0 {
			t.Errorf("the tags are %v", kinds)
		}
	}
	for _, path := range []string{"/live/x.m3u8", "/", "/x.flv"} {
		if got, _ := get(t, "http://"+edge.http+path); got != 404 {
			t.Errorf("%s: %d", path, got)
		}
	}
}

// HTTP-FLV as measured on SRS 4.0.5 and 4.0.271, RTMP by its source (SrsRtmpConn::check_vhost).
func TestAVhostThatIsOffRejectsEveryClient(t *testing.T) {
	t.Parallel()
	n := startNode(t, v406, "", "enabled off; http_remux { enabled on; }")
	if got, _ := get(t, "http://"+n.http+"/live/x.flv"); got != 404 {
		t.Errorf("HTTP-FLV: %d", got)
	}
	if client, err := dial(n.rtmp); err == nil {
		client.Close()
		t.Error("RTMP: it connects")
	}
}

func TestSecurityAndTheHookDecideWhoMayPublish(t *testing.T) {
	t.Parallel()
	var asked syncBuffer
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(&asked, "%s ", r.URL)
		io.Copy(&asked, r.Body)
		answer := "0"
		if strings.Contains(asked.String(), "denied") {
			answer = "403"
		}
		fmt.Fprint(w, answer)
	}))
	defer hook.Close()
	n := startNode(t, v406, "", "http_hooks { enabled on; on_publish "+hook.URL+"/publish?key=1; }")
	accepted := publish(t, n.rtmp, "x")
	play(t, n.rtmp, "x").awaitMedia(t, 10, 5*time.Second)
	publish(t, n.rtmp, "denied").awaitEnd(t, 2*time.Second)
	if want := `/publish?key=1 {"action":"on_publish","app":"live","stream":"x"}`; !strings.HasPrefix(asked.String(), want) || !accepted.alive() {
		t.Errorf("the hook was asked %s", asked.String())
	}
	n = startNode(t, v406, "", "security { enabled on; deny publish all; }")
	publish(t, n.rtmp, "x").awaitEnd(t, 2*time.Second)
}

func TestAHookDecidesWhoMayPlay(t *testing.T) {
	t.Parallel()
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "denied") {
			fmt.Fprint(w, "403")
			return
		}
		fmt.Fprint(w, "0")
	}))
	defer hook.Close()
	n := startNode(t, v406, "", "http_hooks { enabled on; on_play "+hook.URL+"; }")
	publish(t, n.rtmp, "x")
	publish(t, n.rtmp, "denied")
	play(t, n.rtmp, "x").awaitMedia(t, 10, 5*time.Second)
	play(t, n.rtmp, "denied").awaitEnd(t, 2*time.Second)
	if response, err := http.Get("http://" + n.http + "/live/denied.flv"); err == nil {
		t.Errorf("the rejected player has the answer %s", response.Status)
	}
}

func TestAPI(t *testing.T) {
	t.Parallel()
	n := startOrigins(t, v406, 1)[0]
	publish(t, n.rtmp, "x")
	await(t, time.Second, "stream", func() bool { return n.locate("live", "x", "") != nil })
	_, port, _ := net.SplitHostPort(n.rtmp)
	for path, want := range map[string]string{
		"/api/v1/versions":  `{"code":0,"data":{"major":4,"minor":0,"revision":6,"version":"4.0.6"}}`,
		"/api/v1/summaries": `{"code":0,"data":{"ok":true,"system":{"conn_srs":2}}}`, // publisher and this request
		"/api/v1/streams/":  `{"code":0,"streams":[{"app":"live","clients":1,"name":"x","publish":{"active":true}}]}`,
		"/api/v1/clusters?app=live&stream=x&coworker=srs-origin-1.socs:1985": `{"code":0,"data":{"origin":{"ip":"srs-origin-1.socs","port":"` + port + `"}}}`,
		"/api/v1/clusters?app=live&stream=y&coworker=srs-origin-1.socs:1985": `{"code":0,"data":{"origin":null}}`,
	} {
		await(t, time.Second, want, func() bool { _, body := get(t, "http://"+n.api+path); return strings.TrimSpace(body) == want })
	}
}

func TestExporter(t *testing.T) {
	t.Parallel()
	n := startNode(t, version{6, 0, 157}, "exporter { enabled on; listen 127.0.0.1:0; }", "")
	exporter := "http://" + n.listeners[3].Addr().String() + "/metrics"
	has := func(metrics ...string) {
		t.Helper()
		for _, want := range metrics {
			await(t, 2*time.Second, want, func() bool { _, body := get(t, exporter); return strings.Contains(body, want+"\n") })
		}
	}
	publish(t, n.rtmp, "x")
	has("srs_streams 1", "srs_clients 1", `srs_build_info{version="6.0.157"} 1`)
	player := play(t, n.rtmp, "x")
	has("srs_clients 2", "srs_clients_total 2", "srs_clients_errs_total 0")
	player.awaitMedia(t, 1, 2*time.Second)
	player.Close()
	has("srs_streams 1", "srs_clients 1", "srs_clients_total 2", "srs_clients_errs_total 1")
	if n.sent.Load() == 0 || n.received.Load() == 0 {
		t.Error("no bytes were counted")
	}
}

// The limit counts connections on all ports, so a full server answers no probe.
func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	n := startNode(t, v406, "max_connections 1;", "")
	client, err := dial(n.rtmp)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := dial(n.rtmp); err == nil {
		t.Error("the second connection is accepted")
	}
	if _, err := http.Get("http://" + n.api + "/api/v1/versions"); err == nil {
		t.Error("the API answers")
	}
}

// While a name is looked up, the one thread of the server does nothing else: no API, no media for anybody.
func TestSlowLookupBlocksTheWholeServer(t *testing.T) {
	t.Parallel()
	const delay = 800 * time.Millisecond
	origin := startOrigins(t, v406, 1)[0]
	_, port, _ := net.SplitHostPort(origin.rtmp)
	edge := startNode(t, v406, "", "cluster { mode remote; origin "+origin.rtmp+" origin.example.:"+port+"; }")
	asked := make(chan struct{}, 10)
	edge.resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		asked <- struct{}{}
		time.Sleep(delay)
		return nil, fmt.Errorf("no name server")
	}}
	publish(t, origin.rtmp, "x")
	p := play(t, edge.rtmp, "x")
	p.awaitMedia(t, 30, 3*time.Second)

	// The first pull of y is from the first origin, which has an address; the second one's needs the lookup.
	play(t, edge.rtmp, "y")
	await(t, pullRetry+2*time.Second, "lookup", func() bool { return len(asked) > 0 })
	begin := time.Now()
	if status, _ := get(t, "http://"+edge.api+"/api/v1/versions"); status != 200 || time.Since(begin) < delay/2 {
		t.Errorf("the API answered %d after %v during the lookup", status, time.Since(begin))
	}
	p.awaitMedia(t, 10, 5*time.Second)
	if p.silence() < delay*2/3 {
		t.Errorf("a player of another stream was silent for %v, want about %v", p.silence(), delay)
	}
}

// An edge is ready while none of its origins resolves, and keeps its players.
func TestEdgeWithoutOriginsServes(t *testing.T) {
	t.Parallel()
	edge := startNode(t, v406, "", "cluster { mode remote; origin nowhere.invalid; }")
	edge.resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, fmt.Errorf("no name server")
	}}
	p := play(t, edge.rtmp, "x")
	// The message of SRS 4.0.6; the program reads it (cluster/origin_check.py).
	message := "EdgeIngester: Ignore error, code=1018 : connect upstream : edge pull rtmp://nowhere.invalid:1935/live/x failed, " +
		"cto=5000ms, sto=500ms. : connect : tcp: connect nowhere.invalid:1935 to=5000ms : get address info"
	await(t, time.Second, "attempt", func() bool { return strings.Contains(edge.log.String(), message) })
	if status, _ := get(t, "http://"+edge.api+"/api/v1/versions"); status != 200 || !p.alive() {
		t.Errorf("the API answers %d, the player is connected: %v", status, p.alive())
	}
}

// ffmpeg publishes to the second origin, and through an edge; ffprobe plays through an edge that asks the first origin.
func TestFFmpeg(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"ffmpeg", "ffprobe"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program, " is missing")
		}
	}
	origins := startOrigins(t, version{4, 0, 5}, 2)
	edge := startEdge(t, v406, origins...)
	for _, to := range []string{origins[1].rtmp + "/live/direct", edge.rtmp + "/live/through?key=1"} {
		arguments := "-v error -nostdin -re -f lavfi -i testsrc=size=64x48:rate=15 -f lavfi -i sine -c:v libx264 " +
			"-preset ultrafast -tune zerolatency -g 15 -threads 1 -c:a aac -f flv rtmp://" + to
		encoder := exec.CommandContext(t.Context(), "ffmpeg", strings.Fields(arguments)...)
		if err := encoder.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { encoder.Wait() }) // killed with the context
	}
	await(t, 15*time.Second, "streams", func() bool {
		return origins[1].locate("live", "direct", "") != nil && origins[0].locate("live", "through", "") != nil
	})
	for _, url := range []string{
		"rtmp://" + edge.rtmp + "/live/direct", "http://" + edge.http + "/live/direct.flv", "rtmp://" + edge.rtmp + "/live/through",
	} {
		arguments := "-v error -rw_timeout 10000000 -analyzeduration 1M -show_entries stream=codec_name,width:format_tags=server_version -of csv=p=0 "
		output, err := exec.CommandContext(t.Context(), "ffprobe", strings.Fields(arguments+url)...).CombinedOutput()
		for _, want := range []string{"h264,64", "aac", "4.0.6"} {
			if err != nil || !strings.Contains(string(output), want) {
				t.Errorf("%s: no %s in %q, %v", url, want, output, err)
			}
		}
	}
}
