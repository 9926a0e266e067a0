package fakesrs

import (
	"github.com/bluenviron/gortmplib/pkg/amf0"

	"srs.testbed/streaming/rtmp"
)

// maxQueue is how many messages may wait for one player, or for an origin; more are dropped.
const maxQueue = 5000

// source is a stream: its publisher, what new players get first, and its players. The thread guards it.
type source struct {
	server    *server
	app, name string

	published bool                    // by a publisher, or pulled from an origin
	headers   map[uint8]*rtmp.Message // by type: metadata, and the sequence headers of audio and video
	group     []rtmp.Message          // media since the last key frame, where gop_cache is on
	players   map[*player]bool
	hls       hls

	stopPull func()     // ends an edge's connection to an origin for players; nil: there is none
	pulls    int        // the turn among the origins
	push     *forwarder // an edge's connection to an origin for a publisher
	pushes   int
}

// source finds a stream or creates it. The thread is locked.
func (s *server) source(app, name string) *source {
	key := app + "/" + name
	if s.sources[key] == nil {
		src := &source{server: s, app: app, name: name, players: map[*player]bool{}}
		src.hls = hls{source: src}
		s.sources[key] = src
	}
	return s.sources[key]
}

// clients is the number of players and publishers. The thread is locked.
func (src *source) clients() int {
	clients := len(src.players)
	if src.push != nil || src.published && !src.server.edge {
		clients++
	}
	return clients
}

// publish begins the stream. The thread is locked, as for all methods.
func (src *source) publish() {
	src.published = true
	src.headers, src.group = map[uint8]*rtmp.Message{}, nil
}

// message takes what a publisher, or an origin, sent, and hands it to the players.
func (src *source) message(m rtmp.Message) error {
	if m.Type == rtmp.TypeData {
		if m.Payload = metadata(m, src.server.version); m.Payload == nil {
			return nil
		}
	}
	if m.Type == rtmp.TypeData || m.IsSequenceHeader() {
		src.headers[m.Type] = &m
	} else if src.server.gopCache {
		if m.IsKeyFrame() {
			src.group = nil
		}
		if m.IsKeyFrame() || len(src.group) > 0 && len(src.group) < maxQueue {
			src.group = append(src.group, m)
		}
	}
	for p := range src.players {
		p.enqueue(m)
	}
	if err := src.hls.message(m); err != nil {
		src.server.log.Printf("hls: ignore error: %v", err)
	}
	return nil
}

// metadata is onMetaData with the name and version of this server instead of the encoder's or the origin's, nil for
// other data.
func metadata(m rtmp.Message, v version) []byte {
	values, err := amf0.Unmarshal(m.Payload)
	if err == nil && len(values) > 0 && values[0] == "@setDataFrame" {
		values = values[1:]
	}
	if err != nil || len(values) < 2 || values[0] != "onMetaData" {
		return nil
	}
	entries, _ := values[1].(amf0.ECMAArray)
	if object, ok := values[1].(amf0.Object); ok {
		entries = amf0.ECMAArray(object)
	}
	kept := amf0.ECMAArray(rtmp.Object("server", v.signature(), "server_version", v.String()))
	for _, entry := range entries {
		switch entry.Key {
		case "server", "server_version", "duration": // a live stream has no duration
		default:
			kept = append(kept, entry)
		}
	}
	payload, err := amf0.Data{"onMetaData", kept}.Marshal()
	if err != nil {
		return nil
	}
	return payload
}

// player is a player's queue. The thread guards it.
type player struct {
	queue []rtmp.Message
	ready chan struct{} // something is in the queue
}

func (p *player) enqueue(m rtmp.Message) {
	if len(p.queue) >= maxQueue {
		return
	}
	p.queue = append(p.queue, m)
	select {
	case p.ready <- struct{}{}:
	default:
	}
}

// join adds a player, who first gets metadata, sequence headers and the last group of pictures. At an edge the first one starts the pull.
func (s *server) join(src *source) *player {
	s.thread.Lock()
	defer s.thread.Unlock()
	p := &player{ready: make(chan struct{}, 1)}
	for _, kind := range []uint8{rtmp.TypeData, rtmp.TypeAudio, rtmp.TypeVideo} {
		if header := src.headers[kind]; header != nil {
			p.enqueue(*header)
		}
	}
	for _, m := range src.group {
		p.enqueue(m)
	}
	src.players[p] = true
	s.clients++
	if s.edge && src.stopPull == nil {
		src.startPull()
	}
	return p
}

// leave removes a player. At an edge the last one ends the pull, at once.
func (s *server) leave(src *source, p *player) {
	s.thread.Lock()
	defer s.thread.Unlock()
	delete(src.players, p)
	s.errors++
	if len(src.players) == 0 && src.stopPull != nil {
		src.stopPull()
		src.stopPull, src.published, src.headers, src.group = nil, false, nil, nil
	}
}

// take empties a player's queue.
func (s *server) take(p *player) []rtmp.Message {
	s.thread.Lock()
	defer s.thread.Unlock()
	queue := p.queue
	p.queue = nil
	return queue
}
