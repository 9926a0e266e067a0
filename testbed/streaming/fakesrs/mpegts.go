package fakesrs

import (
	"bytes"
	"encoding/binary"

	"srs.testbed/streaming/rtmp"
)

// The streams of a segment, by packet identifier (PID).
const (
	pidTables  = 0x0000
	pidProgram = 0x1001
	pidVideo   = 0x0100
	pidAudio   = 0x0101
)

// The tables of every segment, with their checksums: one program, with H.264 and AAC.
var (
	programs = []byte("\x00\x00\xb0\x0d\x00\x01\xc1\x00\x00\x00\x01\xf0\x01\x2e\x70\x19\x05")
	streams  = []byte("\x00\x02\xb0\x17\x00\x01\xc1\x00\x00\xe1\x00\xf0\x00\x1b\xe1\x00\xf0\x00\x0f\xe1\x01\xf0\x00\x2f\x44\xb9\x9b")
)

// transportStream is an MPEG transport stream (ISO/IEC 13818-1) of H.264 and AAC.
type transportStream struct {
	out      []byte
	counters map[uint16]byte // packets of each PID
}

func newTransportStream() *transportStream {
	t := &transportStream{counters: map[uint16]byte{}}
	t.packets(pidTables, append(bytes.Clone(programs), bytes.Repeat([]byte{0xff}, 184-len(programs))...), nil)
	t.packets(pidProgram, append(bytes.Clone(streams), bytes.Repeat([]byte{0xff}, 184-len(streams))...), nil)
	return t
}

// frame appends a frame of a publisher. header: the sequence header of its type.
func (t *transportStream) frame(m rtmp.Message, header []byte) {
	clock := int64(m.Timestamp) * 90
	if m.Type == rtmp.TypeAudio {
		t.packets(pidAudio, pes(0xc0, clock, clock, adts(m.Payload[2:], header)), nil)
		return
	}
	shift := int64(m.Payload[2])<<16 | int64(m.Payload[3])<<8 | int64(m.Payload[4])
	var field []byte
	if m.IsKeyFrame() { // a decoder may begin here, with this clock
		field = []byte{0x50, byte(clock >> 25), byte(clock >> 17), byte(clock >> 9), byte(clock >> 1), byte(clock<<7) | 0x7e, 0}
	}
	t.packets(pidVideo, pes(0xe0, clock+shift*90, clock, annexB(m, header)), field)
}

// packets appends the packets of a payload. field: the adaptation field of the first one.
func (t *transportStream) packets(pid uint16, payload, field []byte) {
	for start := byte(0x40); len(payload) > 0; start, field = 0, nil {
		adaptation := []byte{}
		if field != nil {
			adaptation = append([]byte{byte(len(field))}, field...)
		}
		if missing := 184 - len(adaptation) - len(payload); missing > 0 {
			switch {
			case len(adaptation) > 0:
			case missing == 1:
				adaptation = []byte{0}
			default:
				adaptation = []byte{0, 0}
			}
			adaptation = append(adaptation, bytes.Repeat([]byte{0xff}, 184-len(adaptation)-len(payload))...)
			adaptation[0] = byte(len(adaptation) - 1)
		}
		control := byte(0x10)
		if len(adaptation) > 0 {
			control = 0x30
		}
		room := min(184-len(adaptation), len(payload))
		t.out = append(t.out, 0x47, start|byte(pid>>8), byte(pid), control|t.counters[pid]&0x0f)
		t.out = append(append(t.out, adaptation...), payload[:room]...)
		t.counters[pid]++
		payload = payload[room:]
	}
}

// pes is a packet of an elementary stream, with its times in units of 1/90000 s.
func pes(stream byte, shown, decoded int64, data []byte) []byte {
	length := 13 + len(data)
	if length > 0xffff {
		length = 0 // allowed for video
	}
	return append(append(append([]byte{0, 0, 1, stream, byte(length >> 8), byte(length), 0x80, 0xc0, 10},
		timestamp(3, shown)...), timestamp(1, decoded)...), data...)
}

func timestamp(mark byte, clock int64) []byte {
	return []byte{mark<<4 | byte(clock>>29)&0x0e | 1, byte(clock >> 22), byte(clock>>14) | 1, byte(clock >> 7), byte(clock<<1) | 1}
}

// annexB is a frame of H.264 with start codes instead of sizes, a key frame with its parameter sets.
func annexB(m rtmp.Message, header []byte) []byte {
	code := []byte{0, 0, 0, 1}
	out := append(bytes.Clone(code), 0x09, 0xf0) // an access unit delimiter
	unit := func(data []byte, sizeBytes int) []byte {
		size := 0
		for _, b := range data[:sizeBytes] {
			size = size<<8 | int(b)
		}
		out = append(append(out, code...), data[sizeBytes:sizeBytes+size]...)
		return data[sizeBytes+size:]
	}
	if m.IsKeyFrame() {
		sets := header[10:] // of AVCDecoderConfigurationRecord: counts, each before its sets with sizes of 2 bytes
		for range 2 {
			count := sets[0] & 0x1f
			for sets = sets[1:]; count > 0; count-- {
				sets = unit(sets, 2)
			}
		}
	}
	for data := m.Payload[5:]; len(data) > 4; {
		data = unit(data, 4)
	}
	return out
}

// adts is a frame of AAC with the header that describes it. header: AudioSpecificConfig, behind two bytes of FLV.
func adts(data, header []byte) []byte {
	config := binary.BigEndian.Uint16(header[2:])
	profile, rate, channels := byte(config>>11)-1, byte(config>>7)&0x0f, byte(config>>3)&0x0f
	size := 7 + len(data)
	return append([]byte{
		0xff, 0xf1, profile<<6 | rate<<2 | channels>>2, channels<<6 | byte(size>>11), byte(size >> 3), byte(size<<5) | 0x1f, 0xfc,
	}, data...)
}
