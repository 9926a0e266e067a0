package rtmp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"
)

// script is a connection whose peer has said everything already.
type script struct {
	net.Conn
	in  io.Reader
	out bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error) { return s.out.Write(p) }

func reading(chunks ...[]byte) (*Conn, *script) {
	s := &script{in: bytes.NewReader(bytes.Join(chunks, nil))}
	return NewConn(s), s
}

// header0 is a chunk header of format 0 on chunk stream 4.
func header0(timestamp, length uint32, kind uint8) []byte {
	b := appendUint24([]byte{4}, timestamp)
	b = append(appendUint24(b, length), kind)
	return binary.LittleEndian.AppendUint32(b, 1)
}

func filled(n int, with byte) []byte { return bytes.Repeat([]byte{with}, n) }

func control(kind uint8, value uint32) []byte {
	b := append(appendUint24([]byte{2, 0, 0, 0}, 4), kind, 0, 0, 0, 0)
	return binary.BigEndian.AppendUint32(b, value)
}

func TestMessagesSurviveTheWayThroughChunks(t *testing.T) {
	sizes := []int{0, 1, 127, 128, 129, 256, 4096, eagerPayload - 1, eagerPayload, eagerPayload + 1, 300_000, MaxMessageSize}
	timestamps := []uint32{0, 1, noTimestamp - 1, noTimestamp, noTimestamp + 1, math.MaxUint32}
	for _, chunkSize := range []uint32{0, 1 << 12, 60_000, 1 << 24} {
		for _, reuse := range []bool{false, true} {
			out := &script{}
			w := NewConn(out)
			if chunkSize > 0 {
				if err := w.SetChunkSize(chunkSize); err != nil {
					t.Fatal(err)
				}
			}
			var want []Message
			for i, size := range sizes {
				for _, timestamp := range timestamps {
					if size > 1<<20 && (timestamp != noTimestamp || chunkSize != 60_000) { // once is enough
						continue
					}
					kind := []uint8{TypeVideo, TypeAudio, TypeDataAMF0}[i%3]
					m := Message{Type: kind, StreamID: 1, Timestamp: timestamp, Payload: filled(size, byte(i))}
					if err := w.BufferMessage(m); err != nil {
						t.Fatal(err)
					}
					want = append(want, m)
				}
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			r, _ := reading(out.out.Bytes())
			r.ReuseBuffers(reuse)
			for i, m := range want {
				got, err := r.ReadMessage()
				if err != nil {
					t.Fatalf("chunk size %d, message %d: %v", chunkSize, i, err)
				}
				if got.Type != m.Type || got.StreamID != 1 || got.Timestamp != m.Timestamp || !bytes.Equal(got.Payload, m.Payload) {
					t.Fatalf("chunk size %d, message %d: got type %d time %d, %d bytes", chunkSize, i, got.Type, got.Timestamp, len(got.Payload))
				}
			}
			if _, err := r.ReadMessage(); err != io.EOF {
				t.Fatalf("at the end: %v", err)
			}
			if r.pending != 0 {
				t.Fatalf("%d bytes pending at the end", r.pending)
			}
		}
	}
}

func TestShortHeadersRepeatWhatWasBefore(t *testing.T) {
	c, _ := reading(
		header0(1000, 3, TypeAudio), []byte("abc"),
		[]byte{1<<6 | 4, 0, 0, 20, 0, 0, 2, TypeVideo}, []byte("de"),
		[]byte{2<<6 | 4, 0, 0, 5}, []byte("fg"),
		[]byte{3<<6 | 4}, []byte("hi"),
	)
	want := []Message{
		{TypeAudio, 1, 1000, []byte("abc")},
		{TypeVideo, 1, 1020, []byte("de")},
		{TypeVideo, 1, 1025, []byte("fg")},
		{TypeVideo, 1, 1030, []byte("hi")},
	}
	for i, m := range want {
		got, err := c.ReadMessage()
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("message %d: %v %v, want %v", i, got, err, m)
		}
	}
}

func TestChunkStreamsInterleave(t *testing.T) {
	a, b := filled(200, 'a'), filled(130, 'b')
	other := header0(7, 130, TypeVideo)
	wide := append([]byte{1, 0xff, 0x01}, other[1:]...) // chunk stream 64+255+256 in the three-byte form
	c, _ := reading(
		header0(5, 200, TypeAudio), a[:128],
		wide, b[:128],
		[]byte{3<<6 | 4}, a[128:],
		[]byte{3<<6 | 1, 0xff, 0x01}, b[128:],
		append([]byte{0, 0xff}, header0(9, 1, TypeAudio)[1:]...), []byte{'c'}, // the two-byte form
	)
	for i, want := range [][]byte{a, b, {'c'}} {
		got, err := c.ReadMessage()
		if err != nil || !bytes.Equal(got.Payload, want) {
			t.Fatalf("message %d: %d bytes, %v", i, len(got.Payload), err)
		}
	}
}

func TestExtendedTimestampsWithAndWithoutRepetition(t *testing.T) {
	payload := filled(200, 'x')
	extended := []byte{1, 0, 0, 5}
	for name, repeated := range map[string][]byte{"repeated": extended, "not repeated": nil} {
		c, _ := reading(header0(noTimestamp, 200, TypeVideo), extended, payload[:128], []byte{3<<6 | 4}, repeated, payload[128:])
		got, err := c.ReadMessage()
		if err != nil || got.Timestamp != 0x01000005 || !bytes.Equal(got.Payload, payload) {
			t.Errorf("%s: time %#x, %d bytes, %v", name, got.Timestamp, len(got.Payload), err)
		}
	}
}

func TestControlMessagesAreDealtWithInside(t *testing.T) {
	ping := append(appendUint24([]byte{2, 0, 0, 0}, 6), TypeUserControl, 0, 0, 0, 0, 0, EventPingRequest, 1, 2, 3, 4)
	c, s := reading(
		control(TypeWindowAckSize, 400),
		control(TypeSetPeerBandwidth, 400),
		control(TypeAck, 5),
		ping,
		header0(0, 500, TypeVideo), filled(128, 'v'), // given up by the Abort
		control(TypeAbort, 4),
		control(TypeSetChunkSize, 1000),
		header0(3, 600, TypeVideo), filled(600, 'w'),
	)
	got, err := c.ReadMessage()
	if err != nil || len(got.Payload) != 600 || got.Payload[0] != 'w' {
		t.Fatalf("%d bytes, %v", len(got.Payload), err)
	}
	if c.pending != 0 {
		t.Errorf("%d bytes pending", c.pending)
	}
	answers, _ := reading(s.out.Bytes())
	s.in = nil
	seen := map[uint8]int{}
	for {
		// Read below handle, which would swallow the Ack.
		m, whole, err := answers.readChunk()
		if err == io.EOF {
			break
		}
		if err != nil || !whole {
			t.Fatal(err)
		}
		seen[m.Type]++
		if m.Type == TypeUserControl && !bytes.Equal(m.Payload, []byte{0, EventPingResponse, 1, 2, 3, 4}) {
			t.Errorf("ping answered by %v", m.Payload)
		}
	}
	if seen[TypeUserControl] != 1 || seen[TypeAck] == 0 {
		t.Errorf("answers by type: %v", seen)
	}
}

func TestMalformedChunksAreErrors(t *testing.T) {
	manyStreams := []byte{}
	for i := range maxChunkStreams + 1 {
		h := header0(0, 300, TypeVideo)
		manyStreams = append(append(append(manyStreams, 0, byte(i)), h[1:]...), filled(128, 0)...)
	}
	cases := map[string][]byte{
		"nothing to refer to":     {3<<6 | 4},
		"too large":               header0(0, MaxMessageSize+1, TypeVideo),
		"header inside a message": append(append(header0(0, 300, TypeVideo), filled(128, 0)...), header0(0, 300, TypeVideo)...),
		"chunk size 0":            control(TypeSetChunkSize, 0),
		"huge chunk size":         control(TypeSetChunkSize, 1<<31),
		"short control":           append(append(appendUint24([]byte{2, 0, 0, 0}, 2), TypeAck, 0, 0, 0, 0), 1, 2),
		"too many streams":        manyStreams,
	}
	for name, data := range cases {
		c, _ := reading(data)
		if m, err := c.ReadMessage(); err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v, %v", name, m.Type, err)
		}
	}
	whole := append(header0(noTimestamp, 200, TypeVideo), 1, 0, 0, 0)
	whole = append(append(whole, filled(128, 0)...), 3<<6|4, 1, 0, 0, 0)
	for n := 1; n < len(whole); n++ {
		c, _ := reading(whole[:n])
		if _, err := c.ReadMessage(); err != io.ErrUnexpectedEOF {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
}

func TestHeadersAloneAllocateLittle(t *testing.T) {
	header := header0(0, MaxMessageSize, TypeVideo)
	c, _ := reading(control(TypeSetChunkSize, MaxMessageSize), header, filled(1000, 0))
	if _, err := c.ReadMessage(); err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	if got := cap(c.streams[4].payload); got > eagerPayload {
		t.Errorf("%d bytes allocated for a message of which 1000 came", got)
	}
}

func TestAMF0RoundTrip(t *testing.T) {
	values := []any{
		"connect", 1.0, true, false, nil, math.Inf(-1),
		Object{"app": "live", "nested": Object{"list": []any{1.0, "two", nil}}, "": "empty key"},
		ECMAArray{"srs_version": "4.0.6", "srs_pid": 1.0},
		strings.Repeat("long", 20_000),
		time.UnixMilli(1_700_000_000_123),
		[]any{},
	}
	data, err := EncodeAMF0(values...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeAMF0(data)
	if err != nil || !reflect.DeepEqual(got, values) {
		t.Fatalf("got %v, %v", got, err)
	}
	for range 20 { // maps are walked in random order: the bytes must not show it
		again, _ := EncodeAMF0(values...)
		if !bytes.Equal(again, data) {
			t.Fatal("equal values, other bytes")
		}
	}
}

func TestAMF0RefusesWhatItCannotHold(t *testing.T) {
	if _, err := EncodeAMF0(struct{}{}); err == nil {
		t.Error("a struct was encoded")
	}
	deep := bytes.Repeat([]byte{amfStrictArray, 0, 0, 0, 1}, maxAMFDepth+2)
	for name, data := range map[string][]byte{
		"deep":            append(deep, amfNull),
		"huge array":      {amfStrictArray, 0xff, 0xff, 0xff, 0xff},
		"huge string":     {amfLongString, 0xff, 0xff, 0xff, 0xff, 'a'},
		"short number":    {amfNumber, 0, 0},
		"unended object":  {amfObject, 0, 1, 'a', amfNull},
		"reference":       {amfReference, 0, 1},
		"unknown marker":  {0x42},
		"short ecma":      {amfECMAArray, 0, 0},
		"date, no zone":   {amfDate, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"key, no value":   {amfObject, 0, 1, 'a'},
		"boolean, no bit": {amfBoolean},
	} {
		if got, err := DecodeAMF0(data); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got, err := DecodeAMF0([]byte{amfBoolean, 1, amfNumber, 0}); err == nil || !reflect.DeepEqual(got, []any{true}) {
		t.Errorf("values before an error: %v, %v", got, err)
	}
}

func TestCommandOfAMF3Carrier(t *testing.T) {
	payload, _ := EncodeAMF0("createStream", 4, nil)
	got, err := ParseCommand(Message{Type: TypeCommandAMF3, Payload: append([]byte{0}, payload...)})
	if err != nil || got.Name != "createStream" || got.Transaction != 4 || got.Arg(0) != nil || got.Arg(9) != nil {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range [][]byte{nil, {17, 1}} {
		if _, err := ParseCommand(Message{Type: TypeCommandAMF3, Payload: bad}); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}

func TestHandshake(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	client, server := NewConn(a), NewConn(b)
	done := make(chan error, 1)
	go func() {
		err := server.ServerHandshake()
		if err == nil {
			err = server.Command(0, "hello", 1)
		}
		done <- err
	}()
	if err := client.ClientHandshake(); err != nil {
		t.Fatal(err)
	}
	m, err := client.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	if command, err := ParseCommand(m); err != nil || command.Name != "hello" {
		t.Errorf("%+v, %v", command, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestHandshakeRefusesOtherProtocolsAtOnce(t *testing.T) {
	c, _ := reading([]byte("GET / HTTP/1.1\r\n"))
	if err := c.ServerHandshake(); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an HTTP request: %v", err)
	}
}

func TestWriteErrorsStick(t *testing.T) {
	a, b := net.Pipe()
	b.Close()
	c := NewConn(a)
	first := c.Command(0, "x", 1)
	if second := c.BufferMessage(Message{}); first == nil || second != first {
		t.Errorf("%v, then %v", first, second)
	}
	a.Close()
}

// FuzzReadMessage: whatever the peer sends, reading ends in an error without a panic or a message
// beyond the limit, and what was read can be written and read again.
func FuzzReadMessage(f *testing.F) {
	f.Add([]byte{})
	f.Add(append(header0(noTimestamp, 200, TypeVideo), append([]byte{1, 0, 0, 5}, filled(200, 3)...)...))
	f.Add(append(control(TypeSetChunkSize, 1), header0(1, 2, TypeAudio)...))
	f.Add(append(control(TypeWindowAckSize, 1), control(TypeAbort, 2)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, reuse := range []bool{false, true} {
			c, s := reading(data)
			c.ReuseBuffers(reuse)
			total := 0
			for {
				m, err := c.ReadMessage()
				if err != nil {
					break
				}
				if total += len(m.Payload); total > len(data) {
					t.Fatal("more payload than data")
				}
				_, _ = m.Values()
				w := &script{}
				if err := NewConn(w).WriteMessage(m); err != nil {
					t.Fatal(err)
				}
				back, _ := reading(w.out.Bytes())
				again, whole, err := back.readChunk()
				for err == nil && !whole {
					again, whole, err = back.readChunk()
				}
				if err != nil || !reflect.DeepEqual(again, m) && len(m.Payload) > 0 {
					t.Fatalf("%v became %v, %v", m, again, err)
				}
			}
			if c.pending < 0 || c.pending > maxPending || len(c.streams) > maxChunkStreams {
				t.Fatalf("%d bytes pending in %d streams", c.pending, len(c.streams))
			}
			if s.out.Len() > 100*(len(data)+1) {
				t.Fatalf("%d bytes answered to %d", s.out.Len(), len(data))
			}
		}
	})
}

// FuzzDecodeAMF0: no panic, and what was decoded encodes to something that decodes to the same.
func FuzzDecodeAMF0(f *testing.F) {
	seed, _ := EncodeAMF0("connect", 1, Object{"a": ECMAArray{"b": []any{true, nil}}}, time.UnixMilli(5))
	f.Add(seed)
	f.Add([]byte{amfStrictArray, 0xff, 0xff, 0xff, 0xff})
	f.Add(bytes.Repeat([]byte{amfObject, 0, 1, 'a'}, 100))
	f.Fuzz(func(t *testing.T, data []byte) {
		values, err := DecodeAMF0(data)
		if err != nil {
			return
		}
		encoded, err := EncodeAMF0(values...)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeAMF0(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if twice, _ := EncodeAMF0(again...); !bytes.Equal(twice, encoded) { // bytes: a NaN isn't equal to itself
			t.Fatalf("%v became %v", values, again)
		}
	})
}
