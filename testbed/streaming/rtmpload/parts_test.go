package rtmpload

import (
	"bytes"
	"encoding/binary"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"srs.testbed/streaming/rtmp"
)

func TestCommandLine(t *testing.T) {
	cfg, err := parse(strings.Fields("-rtmp h:1935 -http h:8080 -publish live/a,live/b -play live/a -players 4 -flv-players 2"))
	if err != nil || !reflect.DeepEqual(cfg.publish, []string{"live/a", "live/b"}) || !reflect.DeepEqual(cfg.play, []string{"live/a"}) || !cfg.reopen {
		t.Errorf("%+v, %v", cfg, err)
	}
	for _, bad := range []string{
		"", "-players 1", "-rtmp h:1 -players 1", "-rtmp h -players 1 -play live/a", "-players 1 -play live/a",
		"-rtmp h:1 -publish a", "-rtmp h:1 -publish live/", "-http h:1 -rtmp h:1 -players -1 -play live/a",
		"-flv-players 1 -play live/a", "-http h:1 -flv-players 1 -play live/a -ca /dev/null", "-rtmp h:1 -sample-rate 1 more", "-nonsense", "-players many",
	} {
		if _, err := parse(strings.Fields(bad)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestVersionsOfServerHeaders(t *testing.T) {
	for header, want := range map[string]string{"SRS/4.0.6(Leo)": "4.0.6", "SRS/6.0.157": "6.0.157", "": ""} {
		if got := versionOf(header); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}

func TestQuantiles(t *testing.T) {
	if got := quantilesOf(nil); got != nil {
		t.Errorf("quantiles of nothing: %v", got)
	}
	var times []time.Duration
	for ms := 1000; ms > 0; ms-- {
		times = append(times, time.Duration(ms)*time.Millisecond)
	}
	if got := *quantilesOf(times); got != (quantiles{500, 990, 1000}) {
		t.Errorf("%+v", got)
	}
}

func TestLoopCanBeRepeated(t *testing.T) {
	headers, frames := loopTags()
	if len(headers) != 3 || len(frames) != 64 {
		t.Fatalf("%d headers, %d frames", len(headers), len(frames))
	}
	for i, m := range frames {
		if at := time.Duration(m.Timestamp) * time.Millisecond; at > loopPeriod || i > 0 && m.Timestamp < frames[i-1].Timestamp {
			t.Errorf("frame %d is at %v", i, at)
		}
		// The size of the first NAL unit, which SRS must not take for a start code.
		if m.Type == rtmp.TypeVideo && binary.BigEndian.Uint32(m.Payload[5:])>>8 == 1 {
			t.Errorf("frame %d begins as Annex B", i)
		}
		if !isFrame(m) {
			t.Errorf("frame %d is none", i)
		}
	}
	for _, m := range headers {
		if isFrame(m) {
			t.Errorf("a header of type %d is a frame", m.Type)
		}
	}
	if !bytes.HasPrefix(headers[0].Payload[3:], []byte("@setDataFrame\x02\x00\x0aonMetaData")) {
		t.Errorf("metadata is %q", headers[0].Payload)
	}
}

func TestLoopDecodesWithoutAnError(t *testing.T) {
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("ffmpeg is missing")
	}
	cmd := exec.CommandContext(t.Context(), ffmpeg, "-v", "warning", "-xerror", "-err_detect", "explode", "-f", "flv", "-i", "-", "-f", "null", "-")
	cmd.Stdin = bytes.NewReader(loopFLV)
	if output, err := cmd.CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("%v: %s", err, output)
	}
}
