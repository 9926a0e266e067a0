package fakesrs

import (
	"maps"
	"slices"
	"time"
)

// stats is what the HTTP API shows. The thread guards it.
type stats struct {
	server  *server
	vhosts  map[string]any // name to id
	streams map[string]*streamStats
	clients map[*conn]*clientStats

	totalClients int64
	sent         int64 // by connections that have ended
	received     int64
}

type streamStats struct {
	id        any
	key       string
	request   request
	clients   int
	publisher string // connection that publishes it, "" if none
	active    bool
	frames    int64
	received  int64
	sent      int64
}

type clientStats struct {
	conn     *conn
	request  request
	stream   *streamStats
	kind     string
	overHTTP bool
	since    time.Time
}

// Kinds of clients, as the API names them.
const (
	kindFMLEPublish  = "fmle-publish"
	kindFlashPublish = "flash-publish"
)

func (s *server) playKind(overHTTP bool) string {
	switch {
	case s.version[0] < 5:
		return "Play"
	case overHTTP:
		return "flv-play"
	}
	return "rtmp-play"
}

func newStats(s *server) *stats {
	return &stats{server: s, vhosts: map[string]any{}, streams: map[string]*streamStats{}, clients: map[*conn]*clientStats{}}
}

func (t *stats) vhost(name string) any {
	if t.vhosts[name] == nil {
		t.vhosts[name] = t.server.ids.thing()
	}
	return t.vhosts[name]
}

func (t *stats) stream(r request) *streamStats {
	key := r.key()
	if t.streams[key] == nil {
		t.streams[key] = &streamStats{id: t.server.ids.thing(), key: key, request: r}
	}
	return t.streams[key]
}

func (t *stats) connected(c *conn, r request, kind string, overHTTP bool) {
	if known := t.clients[c]; known != nil { // it publishes or plays again on the same connection
		known.kind = kind
		return
	}
	stream := t.stream(r)
	stream.clients++
	t.totalClients++
	t.clients[c] = &clientStats{conn: c, request: r, stream: stream, kind: kind, overHTTP: overHTTP, since: time.Now()}
}

func (t *stats) disconnected(c *conn) {
	t.sent += c.sent.Load()
	t.received += c.received.Load()
	client := t.clients[c]
	if client == nil {
		return
	}
	client.stream.clients--
	client.stream.sent += c.sent.Load()
	delete(t.clients, c)
	t.cleanUp(client.stream)
}

func (t *stats) published(r request, cid string) {
	stream := t.stream(r)
	stream.active, stream.publisher = true, cid
}

func (t *stats) unpublished(r request) {
	stream := t.stream(r)
	stream.active, stream.publisher = false, ""
	t.cleanUp(stream)
}

// cleanUp forgets a stream that nobody publishes or plays. Old versions show it for ever.
func (t *stats) cleanUp(stream *streamStats) {
	if t.server.version.freesSources() && stream.clients == 0 && !stream.active {
		delete(t.streams, stream.key)
	}
}

// bytes are the totals of all connections, those that are gone included.
func (t *stats) bytes() (sent, received int64) {
	sent, received = t.sent, t.received
	for c := range t.server.conns {
		sent += c.sent.Load()
		received += c.received.Load()
	}
	return sent, received
}

func (t *stats) activeStreams() int {
	n := 0
	for _, stream := range t.streams {
		if stream.active || stream.clients > 0 {
			n++
		}
	}
	return n
}

func (t *stats) sortedStreams() []*streamStats {
	return slices.SortedFunc(maps.Values(t.streams), func(a, b *streamStats) int {
		if a.key < b.key {
			return -1
		}
		return 1
	})
}

func (t *stats) sortedClients() []*clientStats {
	return slices.SortedFunc(maps.Values(t.clients), func(a, b *clientStats) int {
		return a.since.Compare(b.since)
	})
}
