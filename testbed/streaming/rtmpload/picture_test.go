package rtmpload

import (
	"bytes"
	"encoding/binary"
	"os/exec"
	"strings"
	"testing"
	"time"

	"srs.testbed/streaming/rtmp"
)

// flvFile is some seconds of the synthetic stream as a file.
func flvFile(p *picture, seconds int) []byte {
	out := []byte{'F', 'L', 'V', 1, 5, 0, 0, 0, 9, 0, 0, 0, 0}
	tag := func(kind uint8, ms int, payload []byte) {
		n := len(payload)
		out = append(out, kind, byte(n>>16), byte(n>>8), byte(n), byte(ms>>16), byte(ms>>8), byte(ms), byte(ms>>24), 0, 0, 0)
		out = binary.BigEndian.AppendUint32(append(out, payload...), uint32(11+n))
	}
	for _, m := range p.headers()[1:] {
		tag(m.Type, 0, m.Payload)
	}
	audio := 0
	for i := range seconds * p.fps {
		ms := i * 1000 / p.fps
		for audio*audioFrameLength*1000/audioRate <= ms {
			tag(rtmp.TypeAudio, audio*audioFrameLength*1000/audioRate, p.audio)
			audio++
		}
		tag(rtmp.TypeVideo, ms, p.video(time.UnixMilli(int64(ms))))
	}
	return out
}

func TestTheStreamDecodesWithoutAnError(t *testing.T) {
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("no ffmpeg here")
	}
	cmd := exec.CommandContext(t.Context(), ffmpeg, "-hide_banner", "-loglevel", "info", "-xerror", "-err_detect", "explode",
		"-f", "flv", "-i", "-", "-f", "null", "-")
	cmd.Stdin = bytes.NewReader(flvFile(newPicture(200, 25, time.Second), 3))
	said, err := cmd.CombinedOutput()
	text := string(said)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for _, want := range []string{"h264 (Constrained Baseline)", "64x64", "aac (LC), 44100 Hz, mono", "frame=   75"} {
		if !strings.Contains(text, want) {
			t.Errorf("ffmpeg doesn't say %q: %s", want, text)
		}
	}
	if strings.Contains(text, "rror") {
		t.Errorf("ffmpeg complains: %s", text)
	}
}

func TestTheBitrateIsWhatWasAskedFor(t *testing.T) {
	for _, kbps := range []int{100, 500, 4000} {
		for _, fps := range []int{5, 25, 60} {
			p := newPicture(kbps, fps, time.Second)
			total := 0
			for range 10 * fps {
				total += len(p.video(time.Now()))
			}
			total += 10 * len(p.audio) * audioRate / audioFrameLength
			if got := float64(total) * 8 / 10_000; got < 0.95*float64(kbps) || got > 1.05*float64(kbps) {
				t.Errorf("%d kbit/s at %d frames/s: got %.1f", kbps, fps, got)
			}
		}
	}
}

func TestFramesAreStampedAndKeyedByTheirGOP(t *testing.T) {
	p := newPicture(4000, 5, 2*time.Second)
	sent := time.UnixMicro(1_700_000_000_123_456)
	for i := range 25 {
		frame := p.video(sent)
		if got, ok := stampOf(frame); !ok || !got.Equal(sent) {
			t.Fatalf("frame %d: stamp %v, %v", i, got, ok)
		}
		if key := frame[0] == 0x17; key != (i%10 == 0) {
			t.Errorf("frame %d: key is %v", i, key)
		}
		if !isFrame(rtmp.TypeVideo, frame) {
			t.Errorf("frame %d doesn't count as media", i)
		}
		checkUnits(t, frame[5:])
	}
	if _, ok := stampOf([]byte{0x27, 1, 0, 0, 0}); ok {
		t.Error("a frame of somebody else has a stamp")
	}
}

// checkUnits: a frame is NAL units with their lengths, in which no byte needs emulation prevention, and
// its beginning isn't a start code.
func checkUnits(t *testing.T, frame []byte) {
	t.Helper()
	if bytes.HasPrefix(frame, []byte{0, 0, 1}) || bytes.HasPrefix(frame, []byte{0, 0, 0, 1}) {
		t.Fatalf("begins with %x: SRS takes that for Annex B", frame[:4])
	}
	for len(frame) > 0 {
		size := binary.BigEndian.Uint32(frame)
		unit := frame[4 : 4+size]
		for _, bad := range []byte{0, 1, 2, 3} {
			if bytes.Contains(unit, []byte{0, 0, bad}) {
				t.Fatalf("a unit of type %d contains 00 00 %02x", unit[0]&31, bad)
			}
		}
		frame = frame[4+size:]
	}
}

func TestNoFrameSizeLooksLikeAStartCode(t *testing.T) {
	for kbps := 1; kbps < 2000; kbps += 3 {
		p := newPicture(kbps, 25, time.Second)
		for range 3 {
			checkUnits(t, p.video(time.Now())[5:])
		}
	}
}

func TestHeadersAreNoMedia(t *testing.T) {
	for _, m := range newPicture(100, 25, time.Second).headers() {
		if isFrame(m.Type, m.Payload) {
			t.Errorf("a header of type %d counts as media", m.Type)
		}
	}
	if isFrame(rtmp.TypeVideo, nil) || !isFrame(rtmp.TypeVideo, []byte{0x22, 0}) || !isFrame(rtmp.TypeAudio, []byte{0x2f}) {
		t.Error("other codecs have no headers, and nothing is no frame")
	}
	if isFrame(rtmp.TypeVideo, []byte{0x90, 'h'}) || !isFrame(rtmp.TypeVideo, []byte{0x91, 'h'}) {
		t.Error("enhanced RTMP has its packet type in the first byte")
	}
}
