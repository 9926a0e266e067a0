package rtmpload

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"srs.testbed/streaming/rtmp"
)

// The synthetic stream is real H.264 and AAC that any decoder shows as grey and plays as silence: key
// frames are flat intra macroblocks, the frames between skip every macroblock. What the bitrate asks
// for beyond that goes into an SEI message in front of each frame, which also carries the time at which
// it was sent.

const (
	macroblocks = 4  // in either direction: 64x64 pixels
	idrCycle    = 16 // frame_num has 4 bits

	audioRate        = 44100
	audioFrameLength = 1024 // samples

	nalReferenceIDR = 0x65
	nalReferenceP   = 0x41
	nalSEI          = 0x06
	nalSPS          = 0x67
	nalPPS          = 0x68
	seiUserData     = 5
	rbspEnd         = 0x80

	stampDigits = 16
)

// stampID and padID mark our SEI messages; they stand where the standard wants a UUID.
var (
	stampID = []byte("srs.testbed/time")
	padID   = []byte("srs.testbed/fill")
)

// bitWriter writes bit by bit, as H.264 and AAC want it.
type bitWriter struct {
	bytes []byte
	used  int // of the last byte
}

func (b *bitWriter) u(n int, value uint32) {
	for i := n - 1; i >= 0; i-- {
		if b.used == 0 {
			b.bytes = append(b.bytes, 0)
		}
		b.bytes[len(b.bytes)-1] |= byte(value>>i&1) << (7 - b.used)
		b.used = (b.used + 1) % 8
	}
}

// ue is an unsigned Exp-Golomb code (ITU-T H.264, 9.1). A signed one of 0 is the same.
func (b *bitWriter) ue(value uint32) {
	length := 0
	for v := value + 1; v > 1; v >>= 1 {
		length++
	}
	b.u(length, 0)
	b.u(length+1, value+1)
}

// end closes an RBSP: a 1, and zeroes up to the next byte.
func (b *bitWriter) end() []byte {
	b.u(1, 1)
	b.used = 0
	return b.bytes
}

func sequenceParameters() []byte {
	b := &bitWriter{bytes: []byte{nalSPS, 66, 0xc0, 10}} // baseline, constrained, level 1.0
	b.ue(0)                                              // seq_parameter_set_id
	b.ue(0)                                              // log2_max_frame_num: 4 bits
	b.ue(2)                                              // pic_order_cnt_type: output in decoding order
	b.ue(1)                                              // max_num_ref_frames
	b.u(1, 0)                                            // gaps_in_frame_num_value_allowed
	b.ue(macroblocks - 1)                                // width
	b.ue(macroblocks - 1)                                // height
	b.u(1, 1)                                            // frame_mbs_only
	b.u(1, 1)                                            // direct_8x8_inference
	b.u(2, 0)                                            // no cropping, no VUI
	return b.end()
}

func pictureParameters() []byte {
	b := &bitWriter{bytes: []byte{nalPPS}}
	b.ue(0)   // pic_parameter_set_id
	b.ue(0)   // seq_parameter_set_id
	b.u(2, 0) // CAVLC, no bottom field order
	b.ue(0)   // one slice group
	b.ue(0)   // one reference in list 0
	b.ue(0)   // and in list 1
	b.u(3, 0) // no weighted prediction
	b.ue(0)   // pic_init_qp 26
	b.ue(0)   // pic_init_qs 26
	b.ue(0)   // chroma_qp_index_offset
	b.u(3, 0) // deblocking by default, unconstrained intra, no redundant pictures
	return b.end()
}

// keyFrame is an IDR slice; successive ones must have different ids.
func keyFrame(id uint32) []byte {
	b := &bitWriter{bytes: []byte{nalReferenceIDR}}
	b.ue(0)      // first_mb_in_slice
	b.ue(7)      // all slices are I
	b.ue(0)      // pic_parameter_set_id
	b.u(4, 0)    // frame_num
	b.ue(id % 2) // idr_pic_id
	b.u(2, 0)    // dec_ref_pic_marking: output what was before, no long-term reference
	b.ue(0)      // slice_qp_delta
	for range macroblocks * macroblocks {
		b.ue(3)   // Intra 16x16, DC prediction, nothing coded: flat
		b.ue(0)   // chroma DC prediction
		b.ue(0)   // mb_qp_delta
		b.u(1, 1) // an empty block of luma DC coefficients
	}
	return b.end()
}

// otherFrame is a P slice that repeats the picture; n counts from the key frame.
func otherFrame(n uint32) []byte {
	b := &bitWriter{bytes: []byte{nalReferenceP}}
	b.ue(0)                         // first_mb_in_slice
	b.ue(5)                         // all slices are P
	b.ue(0)                         // pic_parameter_set_id
	b.u(4, n%idrCycle)              // frame_num
	b.u(3, 0)                       // usual references in the usual order, sliding window
	b.ue(0)                         // slice_qp_delta
	b.ue(macroblocks * macroblocks) // mb_skip_run: all of them
	return b.end()
}

// silence is an AAC frame of one channel without a single coefficient.
func silence() []byte {
	b := &bitWriter{}
	b.u(3, 0) // single_channel_element
	b.u(4, 0) // its tag
	b.u(8, 0) // global_gain
	b.u(1, 0) // reserved
	b.u(3, 0) // a long window
	b.u(6, 0) // max_sfb: no scale factor bands
	b.u(1, 0) // no prediction
	b.u(3, 0) // no pulses, noise shaping, gain control
	b.u(3, 7) // end
	return b.bytes
}

// picture makes the messages of one synthetic stream. The payloads it returns are valid until its next call.
type picture struct {
	fps, gop int // gop in frames
	padding  int // bytes that fill a frame up
	n        int // frames since the last key frame was due
	keys     uint32
	buf      []byte
	audio    []byte
}

// newPicture is a stream of kbps kbit/s with fps frames a second and a key frame every gop.
func newPicture(kbps, fps int, gop time.Duration) *picture {
	p := &picture{fps: fps, gop: max(1, int(gop.Seconds()*float64(fps)+0.5)), audio: append([]byte{0xaf, 1}, silence()...)}
	wanted := (float64(kbps)*1000/8 - float64(len(p.audio))*audioRate/audioFrameLength) / float64(fps)
	p.padding, p.n = 1, 1 // an ordinary frame: a key frame is a few bytes more
	bare := len(p.video(time.Time{}))
	p.padding = max(0, int(wanted)-bare+1)
	p.n, p.keys = 0, 0
	return p
}

// headers are what a publisher sends first: metadata and the decoders' configurations.
func (p *picture) headers() []rtmp.Message {
	metadata, err := rtmp.EncodeAMF0("@setDataFrame", "onMetaData", rtmp.ECMAArray{
		"width": 16 * macroblocks, "height": 16 * macroblocks, "framerate": p.fps, "videocodecid": 7,
		"audiocodecid": 10, "audiosamplerate": audioRate, "audiosamplesize": 16, "stereo": false,
		"encoder": "rtmp-load",
	})
	if err != nil {
		panic(err) // these values can't fail
	}
	sps, pps := sequenceParameters(), pictureParameters()
	video := []byte{0x17, 0, 0, 0, 0, 1, sps[1], sps[2], sps[3], 0xff, 0xe1} // lengths of 4 bytes, one SPS
	video = append(binary.BigEndian.AppendUint16(video, uint16(len(sps))), sps...)
	video = append(video, 1) // one PPS
	video = append(binary.BigEndian.AppendUint16(video, uint16(len(pps))), pps...)
	return []rtmp.Message{
		{Type: rtmp.TypeDataAMF0, Payload: metadata},
		{Type: rtmp.TypeVideo, Payload: video},
		{Type: rtmp.TypeAudio, Payload: []byte{0xaf, 0, 0x12, 0x08}}, // AAC LC, 44.1 kHz, one channel
	}
}

// video is the next frame, stamped with the time at which it's sent.
func (p *picture) video(sent time.Time) []byte {
	out := append(p.buf[:0], 0x27, 1, 0, 0, 0)
	var slice []byte
	if p.n == 0 {
		out[0] = 0x17
		slice = keyFrame(p.keys)
		p.keys++
	} else {
		slice = otherFrame(uint32(p.n))
	}
	p.n = (p.n + 1) % p.gop

	// The stamp has a NAL unit of its own, which is short: SRS takes a frame that begins with a length
	// of 256 to 511, 00 00 01 xx, for Annex B, and makes rubbish of the whole stream in HLS.
	out = appendSEI(out, len(stampID)+stampDigits)
	out = append(out, stampID...)
	out = fmt.Appendf(out, "%0*x", stampDigits, uint64(sent.UnixMicro()))
	out = append(out, rbspEnd)
	if p.padding > 0 {
		out = appendSEI(out, len(padID)+p.padding)
		out = append(out, padID...)
		for range p.padding {
			out = append(out, 0xff)
		}
		out = append(out, rbspEnd)
	}

	out = binary.BigEndian.AppendUint32(out, uint32(len(slice)))
	p.buf = append(out, slice...)
	return p.buf
}

// appendSEI begins a NAL unit with a message of size bytes, which follow, with rbspEnd after them. No
// content of ours has zeroes that would need emulation prevention.
func appendSEI(out []byte, size int) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(2+size/255+1+size+1))
	out = append(out, nalSEI, seiUserData)
	for ; size >= 255; size -= 255 {
		out = append(out, 0xff)
	}
	return append(out, byte(size))
}

// stampOf is the time at which a video frame of ours was sent.
func stampOf(payload []byte) (sent time.Time, ok bool) {
	at := bytes.Index(payload[:min(len(payload), lookInto)], stampID)
	if at < 0 {
		return time.Time{}, false
	}
	digits := payload[at+len(stampID):]
	if len(digits) < stampDigits {
		return time.Time{}, false
	}
	micro, err := strconv.ParseUint(string(digits[:stampDigits]), 16, 63)
	return time.UnixMicro(int64(micro)), err == nil
}

// isFrame tells frames from the decoders' configurations, which a server repeats to every new player
// whether anything is being sent or not.
func isFrame(kind uint8, payload []byte) bool {
	if len(payload) == 0 {
		return false
	}
	switch first := payload[0]; kind {
	case rtmp.TypeVideo:
		if first&0x80 != 0 { // enhanced RTMP: the packet type is in the same byte
			packet := first & 0x0f
			return packet == 1 || packet == 3
		}
		if codec := first & 0x0f; codec == 7 || codec == 12 {
			return len(payload) > 1 && payload[1] == 1
		}
		return true
	case rtmp.TypeAudio:
		if first>>4 == 10 {
			return len(payload) > 1 && payload[1] == 1
		}
		return true
	}
	return false
}
