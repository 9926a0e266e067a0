package fakesrs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"srs.testbed/streaming/rtmp"
)

// What an encoder of HLS sends: parameter sets of H.264, and key frames.
var (
	setsHeader = []byte{0x17, 0, 0, 0, 0, 1, 0x42, 0, 30, 0xff, 0xe1, 0, 2, 0x67, 0x42, 1, 0, 2, 0x68, 0xce}
	unitFrame  = []byte{0x17, 1, 0, 0, 0, 0, 0, 0, 2, 0x65, 0x88}
)

// hlsOrigin is an origin that writes HLS with segments of 2 s to a folder.
func hlsOrigin(t *testing.T, v version, folder string) *source {
	t.Helper()
	return startNode(t, v, "", fmt.Sprintf("hls { enabled on; hls_fragment 2; hls_window 6; hls_path %s; "+
		"hls_ts_file [app]/[stream]-%d-[seq].ts; hls_dispose 10; }", folder, time.Now().UnixNano())).source("live", "x")
}

// broadcast publishes ten key frames a second, and does not end.
func broadcast(src *source, seconds int) {
	src.publish()
	src.hls.publish()
	src.message(rtmp.Message{Type: rtmp.TypeVideo, Payload: setsHeader})
	for at := range seconds * 10 {
		src.message(rtmp.Message{Type: rtmp.TypeVideo, Timestamp: uint32(at) * 100, Payload: unitFrame})
	}
}

func unpublish(src *source) {
	src.hls.unpublish()
	src.published = false
}

// playlist is the numbers of the segments that are listed and exist, each with ! at a discontinuity.
func playlist(t *testing.T, folder string) string {
	t.Helper()
	text, _ := os.ReadFile(filepath.Join(folder, "live/x.m3u8"))
	listed, mark := []string{}, ""
	for _, line := range strings.Split(string(text), "\n") {
		name, isSegment := strings.CutSuffix(line, ".ts")
		if _, err := os.Stat(filepath.Join(folder, "live", line)); isSegment && err == nil {
			listed, mark = append(listed, name[strings.LastIndex(name, "-")+1:]+mark), ""
		} else if line == "#EXT-X-DISCONTINUITY" {
			mark = "!"
		}
	}
	return strings.Join(listed, " ")
}

// As measured on SRS 4.0.271 and 6.0.157.
func TestPlaylistOfAStream(t *testing.T) {
	t.Parallel()
	for v, again := range map[version]string{v406: "4 5! 6 7", {6, 0, 157}: "0! 1 2", {6, 0, 183}: "4 5! 6 7"} {
		folder := t.TempDir()
		src := hlsOrigin(t, v, folder)
		broadcast(src, 2)
		if got := playlist(t, folder); got != "" {
			t.Errorf("%s: before the end of the first segment it lists %q", v, got)
		}
		unpublish(src)
		broadcast(src, 7)
		unpublish(src)
		if got, want := playlist(t, folder), "1! 2 3 4"; got != want {
			t.Errorf("%s: %q, want %q", v, got, want)
		}
		src.hls.touched = src.hls.touched.Add(-4 * time.Second)
		broadcast(src, 7)
		if got := playlist(t, folder); got != again {
			t.Errorf("%s: after a pause %q, want %q", v, got, again)
		}
	}
}

// An origin deletes the playlist that another one has written since: after hls_dispose, and 4.0 also at its exit.
func TestAnOriginDeletesThePlaylistOfAnother(t *testing.T) {
	t.Parallel()
	for v, deletes := range map[version][2]bool{
		v406: {true, true}, {6, 0, 157}: {false, false}, {6, 0, 183}: {true, false},
	} {
		for i, end := range []func(*hls){(*hls).cycle, (*hls).quit} {
			folder := t.TempDir()
			old, next := hlsOrigin(t, v, folder), hlsOrigin(t, v, folder)
			broadcast(old, 7)
			unpublish(old)
			broadcast(next, 3)
			if got := playlist(t, folder); got != "0!" {
				t.Errorf("%s: the next origin lists %q", v, got)
			}
			old.hls.touched = old.hls.touched.Add(-3 * time.Minute)
			end(&old.hls)
			if got := playlist(t, folder) == ""; got != deletes[i] {
				t.Errorf("%s, %d: the playlist is deleted: %v", v, i, got)
			}
		}
	}
}
