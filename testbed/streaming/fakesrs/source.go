package fakesrs

import (
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"srs.testbed/streaming/rtmp"
)

// sourceCleanup is how long a stream without publisher and players is remembered where it's freed at all.
const sourceCleanup = 3 * time.Second

// maxGOP bounds the frames since the last key frame, for streams that have none.
const maxGOP = 2500

// frame is one audio, video or metadata message; consumers share it and its payload.
type frame struct {
	kind      uint8
	timestamp uint32
	payload   []byte
}

func (f *frame) isVideo() bool { return f.kind == rtmp.TypeVideo }
func (f *frame) isAudio() bool { return f.kind == rtmp.TypeAudio }
func (f *frame) isAV() bool    { return f.isVideo() || f.isAudio() }

// The first byte of video is frame type and codec, of audio codec and format; the second says what an
// AVC or AAC message is (FLV specification 10.1, annex E.4).

const (
	codecAVC    = 7
	codecHEVC   = 12
	soundAAC    = 10
	keyFrame    = 1
	enhancedBit = 0x80 // "enhanced RTMP": the codec is a FourCC, the first byte's low half a packet type
)

func (f *frame) isSequenceHeader() bool {
	if len(f.payload) < 2 {
		return false
	}
	first := f.payload[0]
	switch {
	case f.isVideo() && first&enhancedBit != 0:
		return first&0x0f == 0
	case f.isVideo():
		return first>>4 == keyFrame && (first&0x0f == codecAVC || first&0x0f == codecHEVC) && f.payload[1] == 0
	case f.isAudio():
		return first>>4 == soundAAC && f.payload[1] == 0
	}
	return false
}

func (f *frame) isKeyFrame() bool {
	return f.isVideo() && len(f.payload) > 0 && f.payload[0]&0x7f>>4 == keyFrame && !f.isSequenceHeader()
}

// source is a stream: what publishes it, what was kept of it for new players, and its players. The
// thread guards it.
type source struct {
	server *server
	vhost  *vhost
	req    request
	key    string

	publishing bool // by a publisher, or pulled from an origin
	id         string
	consumers  []*consumer
	meta       *frame
	video      *frame // sequence header
	audio      *frame // sequence header
	gop        []*frame
	flvMounted bool
	idleSince  time.Time
	deaf       bool // see Version.flvFirstIsDeaf

	pulling *ingester  // an edge's connection to an origin, for players
	pulls   int        // whose turn it is among the origins
	pushing *forwarder // an edge's connection to an origin, for a publisher
	pushes  int
}

// source finds a stream or makes it. The thread is held.
func (s *server) source(r request, v *vhost) (src *source, created bool) {
	key := r.key()
	if src := s.sources[key]; src != nil {
		return src, false
	}
	src = &source{server: s, vhost: v, req: r, key: key, idleSince: time.Now()}
	s.sources[key] = src
	return src, true
}

// freeDeadSources forgets streams that nobody publishes or plays. The thread is held.
func (s *server) freeDeadSources() {
	for key, src := range s.sources {
		if !src.publishing && src.pushing == nil && len(src.consumers) == 0 && time.Since(src.idleSince) > sourceCleanup {
			delete(s.sources, key)
		}
	}
}

// publish begins the stream. id is the connection it comes from.
func (src *source) publish(id string) {
	src.publishing, src.id, src.flvMounted = true, id, true
	src.meta, src.video, src.audio, src.gop = nil, nil, nil, nil
	src.server.stats.published(src.req, id)
}

// unpublish ends it. RTMP players stay and wait, HTTP-FLV players are sent away.
func (src *source) unpublish() {
	if !src.publishing {
		return
	}
	src.server.log.trace(src.id, "cleanup when unpublish")
	src.publishing, src.flvMounted, src.gop = false, false, nil
	src.idleSince = time.Now()
	src.server.stats.unpublished(src.req)
	for _, c := range src.consumers {
		c.wake() // a player over HTTP looks whether it's still wanted
	}
}

// message takes what a publisher, or an origin, sent.
func (src *source) message(m rtmp.Message) {
	if src.deaf {
		return
	}
	switch m.Type {
	case rtmp.TypeAudio, rtmp.TypeVideo:
		src.media(&frame{kind: m.Type, timestamp: m.Timestamp, payload: m.Payload})
	case rtmp.TypeDataAMF0, rtmp.TypeDataAMF3:
		src.data(m)
	}
}

func (src *source) media(f *frame) {
	if len(f.payload) == 0 {
		return
	}
	src.countMedia(f)
	for _, c := range src.consumers {
		c.enqueue(f)
	}
	switch {
	case f.isSequenceHeader() && f.isVideo():
		src.video = f
	case f.isSequenceHeader():
		src.audio = f
	case f.isAudio() && src.audio == nil:
		src.audio = f // MP3 has no sequence header; SRS keeps the first frame in its place
	default:
		src.cacheGOP(f)
	}
}

func (src *source) countMedia(f *frame) {
	stream := src.server.stats.stream(src.req)
	stream.received += int64(len(f.payload))
	if f.isVideo() {
		stream.frames++
	}
}

// cacheGOP keeps what came since the last key frame, so that a new player sees a picture at once.
func (src *source) cacheGOP(f *frame) {
	switch {
	case !src.vhost.gopCache:
		return
	case f.isKeyFrame():
		src.gop = append(src.gop[:0:0], f)
	case len(src.gop) == 0: // audio only, or no key frame yet
	case len(src.gop) >= maxGOP:
		src.gop = nil
	default:
		src.gop = append(src.gop, f)
	}
}

// data takes onMetaData and nothing else. The names of server and version in it are ours, also where the
// origin put its own.
func (src *source) data(m rtmp.Message) {
	values, err := m.Values()
	if err != nil {
		src.server.log.warn(src.id, "drop metadata: %v", err)
		return
	}
	if len(values) > 0 && values[0] == "@setDataFrame" {
		values = values[1:]
	}
	if len(values) < 2 || values[0] != "onMetaData" {
		return
	}
	var members map[string]any
	switch v := values[1].(type) {
	case rtmp.Object:
		members = v
	case rtmp.ECMAArray:
		members = v
	default:
		return
	}
	members = maps.Clone(members)
	delete(members, "duration") // a live stream has none
	members["server"] = src.server.version.signature()
	members["server_version"] = src.server.version.String()
	payload, err := rtmp.EncodeAMF0("onMetaData", rtmp.ECMAArray(members))
	if err != nil {
		src.server.log.warn(src.id, "drop metadata: %v", err)
		return
	}
	src.server.log.trace(src.id, "got metadata")
	src.meta = &frame{kind: rtmp.TypeDataAMF0, timestamp: m.Timestamp, payload: payload}
	for _, c := range src.consumers {
		c.enqueue(src.meta)
	}
}

// consume adds a player, who first gets metadata, sequence headers and what came since the last key
// frame. At an edge the first one starts the pull.
func (src *source) consume(min int, latency time.Duration) *consumer {
	c := newConsumer(src, min, latency)
	if src.publishing {
		start := []*frame{src.meta, src.audio, src.video}
		for _, f := range append(start, src.gop...) {
			if f != nil {
				c.enqueue(f)
			}
		}
	}
	src.consumers = append(src.consumers, c)
	src.server.log.trace(c.source.id, "create consumer, active=%d, queue_size=%dms", bit(src.publishing), src.vhost.queueLength.Milliseconds())
	if src.vhost.remote {
		src.startPull()
	}
	return c
}

// leave takes a player away. At an edge the last one ends the pull, at once.
func (src *source) leave(c *consumer) {
	src.consumers = slices.DeleteFunc(src.consumers, func(other *consumer) bool { return other == c })
	if len(src.consumers) > 0 {
		return
	}
	src.idleSince = time.Now()
	src.stopPull()
}

// isFLVPath reports whether a path is where the vhost's streams are mounted, and takes it apart.
func (v *vhost) isFLVPath(p string) (app, stream string, ok bool) {
	if !v.remux || path.Ext(p) != ".flv" || path.Ext(v.mount) != ".flv" {
		return "", "", false
	}
	mount := strings.Replace(v.mount, "[vhost]", v.name, 1)
	mount = strings.Replace(mount, defaultVhost+"/", "/", 1)
	if strings.Count(mount, "/") != strings.Count(p, "/") {
		return "", "", false
	}
	dir, file := path.Split(p)
	return strings.Trim(dir, "/"), strings.TrimSuffix(file, ".flv"), true
}
