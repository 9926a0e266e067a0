package fakesrs

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"srs.testbed/streaming/rtmp"
)

// hlsSettings are those of srs.conf, with SRS's defaults.
type hlsSettings struct {
	enabled                           bool
	folder, playlist, file            string // file: of a segment
	fragment, target, window, dispose time.Duration
}

func newHLSSettings(d *directive, v version) hlsSettings {
	if !d.get("enabled").on() {
		return hlsSettings{}
	}
	seconds := func(name string, fallback int) time.Duration {
		return time.Duration(d.get(name).number(fallback)) * time.Second
	}
	s := hlsSettings{
		enabled:  true,
		folder:   d.get("hls_path").arg("./objs/nginx/html"),
		playlist: d.get("hls_m3u8_file").arg("[app]/[stream].m3u8"),
		file:     d.get("hls_ts_file").arg("[app]/[stream]-[seq].ts"),
		fragment: seconds("hls_fragment", 10),
		window:   seconds("hls_window", 60),
	}
	s.target = s.fragment // hls_td_ratio
	if v[0] == 4 {
		s.target = s.fragment * 3 / 2
		s.dispose = seconds("hls_dispose", 0)
	} else {
		s.dispose = seconds("hls_dispose", 120)
	}
	return s
}

// segment is a part of the stream in a file of its own.
type segment struct {
	number        int
	path          string
	discontinuous bool  // it begins with sequence headers
	first, last   int64 // timestamps of its frames, in milliseconds; first: -1 without a frame
	media         *transportStream
}

func (s *segment) duration() time.Duration { return time.Duration(s.last-s.first) * time.Millisecond }

// hls writes a stream as HLS. The numbers of its segments go on when it is published again, and begin at 0 in each
// process. The thread guards it.
type hls struct {
	source   *source
	next     int       // the number of the next segment
	current  *segment  // nil: it is not published
	segments []segment // of the playlist
	began    bool      // it was published, and its files have not been deleted since
	touched  time.Time // the last frame
}

const shortest = 100 * time.Millisecond // segments that are shorter are dropped

// path is that of a file of the stream, of a template in srs.conf.
func (h *hls) path(template string, more ...string) string {
	names := append([]string{"[app]", h.source.app, "[stream]", h.source.name}, more...)
	return filepath.Join(h.source.server.hls.folder, strings.NewReplacer(names...).Replace(template))
}

// isForgotten: the server has freed the stream, which has ended and has no players.
func (h *hls) isForgotten() bool {
	delay, frees := h.source.server.version.freesStream(h.source.server.hls.dispose)
	return frees && h.current == nil && len(h.source.players) == 0 && time.Since(h.touched) > delay
}

func (h *hls) publish() error {
	if !h.source.server.hls.enabled {
		return nil
	}
	if h.isForgotten() {
		h.next, h.segments = 0, nil
	}
	h.touched, h.began = time.Now(), true
	h.open()
	return os.MkdirAll(filepath.Dir(h.path(h.source.server.hls.playlist)), 0o755)
}

func (h *hls) open() {
	path := h.path(h.source.server.hls.file,
		"[timestamp]", strconv.FormatInt(time.Now().UnixMilli(), 10), "[seq]", strconv.Itoa(h.next))
	h.current = &segment{number: h.next, path: path, first: -1, media: newTransportStream()}
	h.next++
}

// message takes what the publisher sent.
func (h *hls) message(m rtmp.Message) (err error) {
	header := h.source.headers[m.Type]
	if h.current == nil || !m.IsMedia() || header == nil {
		return nil
	}
	h.touched = time.Now()
	if m.IsSequenceHeader() {
		h.current.discontinuous = true
		return nil
	}
	if m.IsKeyFrame() && h.current.duration() >= h.source.server.hls.fragment {
		err = h.close()
		h.open()
	}
	h.current.last = int64(m.Timestamp)
	if h.current.first < 0 {
		h.current.first = h.current.last
	}
	h.current.media.frame(m, header.Payload)
	return err
}

// close ends a segment: it writes its file, then the playlist, and deletes the files that have left it.
func (h *hls) close() error {
	ended := *h.current
	h.current = nil
	if ended.first < 0 || ended.duration() < shortest {
		h.next--
		return nil
	}
	err := os.WriteFile(ended.path, ended.media.out, 0o644)
	ended.media = nil
	h.segments = append(h.segments, ended)
	total, begin := time.Duration(0), len(h.segments)
	for ; begin > 0 && total <= h.source.server.hls.window; begin-- {
		total += h.segments[begin-1].duration()
	}
	expired := h.segments[:begin]
	h.segments = h.segments[begin:]
	err = errors.Join(err, h.write())
	for _, old := range expired {
		err = errors.Join(err, os.Remove(old.path))
	}
	return err
}

// write replaces the playlist, whoever has written it.
func (h *hls) write() error {
	longest := h.source.server.hls.target
	for _, s := range h.segments {
		longest = max(longest, s.duration())
	}
	text := fmt.Sprintf("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:%d\n#EXT-X-TARGETDURATION:%d\n",
		h.segments[0].number, int(math.Ceil(longest.Seconds())))
	for _, s := range h.segments {
		if s.discontinuous {
			text += "#EXT-X-DISCONTINUITY\n"
		}
		text += fmt.Sprintf("#EXTINF:%.3f, no desc\n%s\n", s.duration().Seconds(), filepath.Base(s.path))
	}
	path := h.path(h.source.server.hls.playlist)
	if err := os.WriteFile(path+".temp", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".temp", path)
}

// unpublish ends the last segment.
func (h *hls) unpublish() error {
	if h.current == nil {
		return nil
	}
	return h.close()
}

// cycle deletes the files of a stream that ended hls_dispose ago.
func (h *hls) cycle() {
	dispose := h.source.server.hls.dispose
	if h.began && h.source.server.version.disposesHLS() && dispose > 0 && time.Since(h.touched) > dispose {
		h.began = false
		h.delete()
	}
}

// quit is the end of the process, which deletes the files of every stream that it remembers.
func (h *hls) quit() {
	h.unpublish()
	if !h.touched.IsZero() && h.source.server.hls.dispose > 0 && !h.isForgotten() {
		h.delete()
	}
}

// delete deletes segments and playlist. It does not ask who has written the playlist.
func (h *hls) delete() {
	h.unpublish()
	for _, s := range h.segments {
		os.Remove(s.path)
	}
	h.segments = nil
	os.Remove(h.path(h.source.server.hls.playlist))
}
