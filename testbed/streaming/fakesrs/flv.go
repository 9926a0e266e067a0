package fakesrs

import (
	"encoding/binary"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"srs.testbed/streaming/rtmp"
)

// minPoll is the shortest sleep between two looks into the queue of an HTTP-FLV viewer.
const minPoll = 10 * time.Millisecond

// httpHandler is the HTTP server of streams and files.
func (s *server) httpHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/versions" {
			s.serveVersions(w, r)
			return
		}
		host, _ := hostPort(r.Host, 0)
		v := s.vhostFor(host)
		if v == nil || !v.enabled {
			notFound(w)
			return
		}
		if app, stream, ok := v.isFLVPath(r.URL.Path); ok {
			s.serveFLV(w, r, v, request{
				tcURL: "rtmp://" + v.name + "/" + app, host: host, port: 1935, vhost: v.name, app: app, stream: stream,
			})
			return
		}
		s.serveFile(w, r)
	})
}

// serveFile is for what lies in the folder of the HTTP server. At an edge no HLS does.
func (s *server) serveFile(w http.ResponseWriter, r *http.Request) {
	path := filepath.Join(s.httpDir, filepath.Clean("/"+r.URL.Path))
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "index.html")
	}
	file, err := os.Open(path)
	if err != nil {
		notFound(w)
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.IsDir() {
		notFound(w)
		return
	}
	http.ServeContent(w, r, path, info.ModTime(), file)
}

// serveFLV sends a stream as FLV without an end. The header of the answer goes out together with the
// first media: for a stream that nobody publishes there is no answer at all, not a 404.
func (s *server) serveFLV(w http.ResponseWriter, r *http.Request, v *vhost, req request) {
	c, _ := r.Context().Value(connKey{}).(*conn)
	if r.URL.RawQuery != "" {
		req.param = "?" + r.URL.RawQuery
	}
	s.thread.Lock()
	src, created := s.source(req, v)
	if created && v.remote && s.version.flvFirstIsDeaf() {
		src.deaf = true
	}
	src.flvMounted = true
	s.stats.connected(c, req, s.playKind(true), true)
	consumer := src.consume(0, 0)
	s.thread.Unlock()
	defer func() {
		s.thread.Lock()
		defer s.thread.Unlock()
		src.leave(consumer)
	}()
	s.log.trace(c.cid, "FLV %s, encoder=FLV, mw_sleep=%dms", r.URL.Path, v.mwLatency.Milliseconds())

	w.Header().Set("Content-Type", "video/x-flv")
	flush := http.NewResponseController(w).Flush
	writer := flvWriter{}
	var batch []queued
	for {
		s.thread.Lock()
		mounted := src.flvMounted
		batch = consumer.take(batch)
		s.thread.Unlock()
		if !mounted {
			return // the publisher is gone, and so is the stream's address
		}
		if tags := writer.tags(batch); len(tags) > 0 {
			if _, err := w.Write(tags); err != nil {
				return
			}
			if flush() != nil || r.Method == http.MethodHead {
				return
			}
			continue
		}
		// SRS polls here instead of waiting for the queue.
		select {
		case <-r.Context().Done():
			return
		case <-consumer.ready:
		case <-time.After(max(v.mwLatency, minPoll)):
		}
	}
}

// flvWriter makes an FLV file out of frames (FLV specification 10.1, annex E).
type flvWriter struct {
	begun bool
	out   []byte
}

// tags is the next piece of the file, valid until the next call. What the stream has is guessed from the
// first frames that have audio or video; anything before them is dropped.
func (f *flvWriter) tags(batch []queued) []byte {
	f.out = f.out[:0]
	if !f.begun {
		var has byte
		for _, q := range batch {
			switch {
			case q.isVideo():
				has |= 1
			case q.isAudio():
				has |= 4
			}
		}
		if has == 0 {
			return nil
		}
		f.begun = true
		f.out = append(f.out, 'F', 'L', 'V', 1, has, 0, 0, 0, 9, 0, 0, 0, 0)
	}
	for _, q := range batch {
		f.out = appendTag(f.out, q)
	}
	return f.out
}

func appendTag(out []byte, q queued) []byte {
	const tagHeader = 11
	kind := q.kind
	if kind != rtmp.TypeAudio && kind != rtmp.TypeVideo {
		kind = rtmp.TypeDataAMF0
	}
	n := len(q.payload)
	out = append(out, kind, byte(n>>16), byte(n>>8), byte(n), byte(q.at>>16), byte(q.at>>8), byte(q.at), byte(q.at>>24), 0, 0, 0)
	out = append(out, q.payload...)
	return binary.BigEndian.AppendUint32(out, uint32(tagHeader+n))
}
