package fakesrs

import (
	"encoding/binary"
	"net/http"
	"slices"
	"strings"

	"srs.testbed/streaming/rtmp"
)

// serveFLV sends a stream as FLV without an end. The header of the answer goes out together with the first media: for
// a stream that nobody publishes there is no answer at all, not a 404.
func (s *server) serveFLV(w http.ResponseWriter, r *http.Request) {
	path, isFLV := strings.CutSuffix(strings.Trim(r.URL.Path, "/"), ".flv")
	app, name, found := strings.Cut(path, "/")
	if !isFLV || !found || !s.httpFLV || s.vhostOff {
		http.NotFound(w, r)
		return
	}
	if err := ask(s.onPlay, "on_play", app, name); err != nil {
		s.log.Printf("serve error code=1011 : service cycle : http hook : %v", err)
		panic(http.ErrAbortHandler) // it closes the connection without an answer
	}
	s.thread.Lock()
	src := s.source(app, name)
	s.thread.Unlock()
	p := s.join(src)
	defer s.leave(src, p)
	w.Header().Set("Content-Type", "video/x-flv")
	flush := http.NewResponseController(w).Flush
	begun := false
	var waiting []rtmp.Message
	for {
		select {
		case <-r.Context().Done():
			return
		case <-p.ready:
		}
		waiting = append(waiting, s.take(p)...)
		var out []byte
		if !begun {
			if begun = slices.ContainsFunc(waiting, rtmp.Message.IsMedia); !begun {
				continue
			}
			const audioAndVideo = 5
			out = append(out, 'F', 'L', 'V', 1, audioAndVideo, 0, 0, 0, 9, 0, 0, 0, 0)
		}
		for _, m := range waiting {
			out = appendTag(out, m)
		}
		waiting = waiting[:0]
		if _, err := w.Write(out); err != nil || flush() != nil {
			return
		}
	}
}

// appendTag appends a tag of an FLV file (FLV specification 10.1, annex E.4).
func appendTag(out []byte, m rtmp.Message) []byte {
	const tagHeader = 11
	size := uint32(len(m.Payload))
	out = binary.BigEndian.AppendUint32(out, uint32(m.Type)<<24|size)
	out = binary.BigEndian.AppendUint32(out, m.Timestamp<<8|m.Timestamp>>24)
	out = append(append(out, 0, 0, 0), m.Payload...)
	return binary.BigEndian.AppendUint32(out, tagHeader+size)
}
