package rtmp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

const (
	// MaxMessageSize bounds one message, so that a peer's word alone never allocates much. A key
	// frame of a 50 Mbit/s stream has about 1 MB.
	MaxMessageSize = 8 << 20

	// defaultChunkSize holds on either side until a SetChunkSize.
	defaultChunkSize = 128

	// maxChunkStreams bounds the chunk streams of one connection; encoders use fewer than ten.
	maxChunkStreams = 64

	// maxPending bounds the bytes of unfinished messages over all chunk streams.
	maxPending = 2 * MaxMessageSize

	// eagerPayload is how much of a message is allocated on the word of its header.
	eagerPayload = 64 << 10

	// flushAt is when buffered messages are written without a Flush; also what the buffer keeps.
	flushAt = 64 << 10

	noTimestamp = 0xffffff // in a header: the timestamp follows in 4 bytes of its own
)

// Chunk streams that we write on: any would do, but peers prefer the usual ones.
const (
	controlChunks = 2
	commandChunks = 3
	audioChunks   = 4
	dataChunks    = 5
	videoChunks   = 6
)

// Conn is one RTMP connection, either end.
//
// Reading is for one goroutine at a time. Writing is safe from any: reading itself has to write
// acknowledgements and answers to pings. After an error the connection is of no more use (also after
// a deadline: a chunk may have been read by half).
type Conn struct {
	conn net.Conn

	in          *bufio.Reader
	received    atomic.Uint64 // bytes off the socket
	acked       uint64
	window      uint32 // the peer wants an Ack at least this often; 0: never
	inChunkSize uint32
	streams     map[uint32]*chunkStream
	pending     int
	reuse       bool
	unread      []Message

	writing      sync.Mutex
	out          []byte
	outErr       error
	outChunkSize uint32
}

// chunkStream is what one chunk stream remembers: the last header, and the message in the making.
type chunkStream struct {
	length    uint32
	kind      uint8
	streamID  uint32
	timestamp uint32
	field     uint32 // the last header's timestamp or delta
	extended  bool   // field came in 4 bytes of its own
	inMessage bool
	payload   []byte
}

// NewConn makes an RTMP connection of a byte stream. A handshake comes next.
func NewConn(conn net.Conn) *Conn {
	c := &Conn{
		conn:         conn,
		inChunkSize:  defaultChunkSize,
		outChunkSize: defaultChunkSize,
		streams:      map[uint32]*chunkStream{},
	}
	c.in = bufio.NewReader(countingReader{c})
	return c
}

// countingReader counts what comes off the socket: Acks carry that number.
type countingReader struct{ c *Conn }

func (r countingReader) Read(p []byte) (int, error) {
	n, err := r.c.conn.Read(p)
	r.c.received.Add(uint64(n))
	return n, err
}

// NetConn is the connection below, for deadlines and addresses.
func (c *Conn) NetConn() net.Conn { return c.conn }

// Close closes the connection below. What wasn't flushed is lost.
func (c *Conn) Close() error { return c.conn.Close() }

// BytesReceived is how many bytes came off the socket so far; safe from any goroutine.
func (c *Conn) BytesReceived() uint64 { return c.received.Load() }

// ReuseBuffers makes ReadMessage reuse its buffers: a payload is then valid until the next call only.
// For readers that look at media and drop it.
func (c *Conn) ReuseBuffers(reuse bool) { c.reuse = reuse }

// ReadMessage returns the next message that isn't the protocol's own business. SetChunkSize, Abort,
// Ack, WindowAckSize and SetPeerBandwidth, and ping requests, are dealt with inside.
func (c *Conn) ReadMessage() (Message, error) {
	if len(c.unread) > 0 {
		m := c.unread[0]
		c.unread = c.unread[1:]
		return m, nil
	}
	for {
		m, whole, err := c.readChunk()
		if err != nil {
			return Message{}, err
		}
		if err := c.acknowledge(); err != nil {
			return Message{}, err
		}
		if !whole {
			continue
		}
		own, err := c.handle(m)
		if err != nil {
			return Message{}, err
		}
		if !own {
			return m, nil
		}
	}
}

// pushBack makes ReadMessage return m next. The payload is copied where it would be reused.
func (c *Conn) pushBack(m Message) {
	if c.reuse {
		m.Payload = append([]byte(nil), m.Payload...)
	}
	c.unread = append(c.unread, m)
}

// acknowledge sends an Ack when half a window came in: a peer that stops at the window never does.
func (c *Conn) acknowledge() error {
	if c.window == 0 {
		return nil
	}
	received := c.received.Load()
	if received-c.acked < uint64(c.window/2)+1 {
		return nil
	}
	c.acked = received
	return c.control(TypeAck, uint32(received))
}

// handle deals with the messages that concern the connection itself.
func (c *Conn) handle(m Message) (own bool, err error) {
	switch m.Type {
	case TypeSetChunkSize, TypeAbort, TypeAck, TypeWindowAckSize, TypeSetPeerBandwidth:
		if len(m.Payload) < 4 {
			return true, fmt.Errorf("rtmp: control message %d with %d bytes", m.Type, len(m.Payload))
		}
	case TypeUserControl:
		if len(m.Payload) >= 6 && binary.BigEndian.Uint16(m.Payload) == EventPingRequest {
			answer := append([]byte{0, EventPingResponse}, m.Payload[2:6]...)
			return true, c.WriteMessage(Message{Type: TypeUserControl, Payload: answer})
		}
		return false, nil
	default:
		return false, nil
	}
	value := binary.BigEndian.Uint32(m.Payload)
	switch m.Type {
	case TypeSetChunkSize:
		if value == 0 || value > 0x7fffffff {
			return true, fmt.Errorf("rtmp: chunk size %d", value)
		}
		c.inChunkSize = value
	case TypeAbort:
		if s := c.streams[value]; s != nil && s.inMessage {
			c.pending -= len(s.payload)
			s.inMessage = false
			s.payload = nil
		}
	case TypeWindowAckSize:
		c.window = value
	}
	return true, nil
}

// readChunk reads one chunk; whole says that it finished the message m.
func (c *Conn) readChunk() (m Message, whole bool, err error) {
	format, id, err := c.readBasicHeader()
	if err != nil {
		return m, false, err
	}
	s := c.streams[id]
	if s == nil {
		// librtmp opens its control chunk stream with format 1; anything shorter has nothing to refer to.
		if format > 1 {
			return m, false, fmt.Errorf("rtmp: chunk stream %d begins with header format %d", id, format)
		}
		if len(c.streams) >= maxChunkStreams {
			return m, false, errors.New("rtmp: too many chunk streams")
		}
		s = &chunkStream{}
		c.streams[id] = s
	}
	if err := c.readMessageHeader(s, format); err != nil {
		return m, false, err
	}
	size := min(s.length-uint32(len(s.payload)), c.inChunkSize)
	if c.pending+int(size) > maxPending {
		return m, false, errors.New("rtmp: too much in unfinished messages")
	}
	if err := c.readPayload(s, int(size)); err != nil {
		return m, false, err
	}
	if uint32(len(s.payload)) < s.length {
		return m, false, nil
	}
	c.pending -= len(s.payload)
	s.inMessage = false
	m = Message{Type: s.kind, StreamID: s.streamID, Timestamp: s.timestamp, Payload: s.payload}
	if !c.reuse {
		s.payload = nil
	}
	return m, true, nil
}

func (c *Conn) readBasicHeader() (format uint8, id uint32, err error) {
	first, err := c.in.ReadByte()
	if err != nil {
		if c.pending > 0 {
			err = unexpected(err)
		}
		return 0, 0, err
	}
	format, id = first>>6, uint32(first&0x3f)
	switch id {
	case 0:
		b, err := c.readInside(1)
		if err != nil {
			return 0, 0, err
		}
		id = 64 + uint32(b[0])
	case 1:
		b, err := c.readInside(2)
		if err != nil {
			return 0, 0, err
		}
		id = 64 + uint32(b[0]) + uint32(b[1])<<8
	}
	return format, id, nil
}

// readInside takes n bytes out of the buffer; they are valid until the next read. The stream must not
// end here: it would be cut inside a chunk.
func (c *Conn) readInside(n int) ([]byte, error) {
	b, err := c.in.Peek(n)
	if err != nil {
		return nil, unexpected(err)
	}
	_, err = c.in.Discard(n)
	return b, err
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readMessageHeader reads the rest of a chunk's header into s and begins a new message where one begins.
func (c *Conn) readMessageHeader(s *chunkStream, format uint8) error {
	if format == 3 {
		return c.readContinuation(s)
	}
	if s.inMessage {
		return fmt.Errorf("rtmp: header of format %d inside a message", format)
	}
	b, err := c.readInside([]int{11, 7, 3}[format])
	if err != nil {
		return err
	}
	s.field = uint24(b)
	if format < 2 {
		s.length = uint24(b[3:])
		s.kind = b[6]
	}
	if format == 0 {
		s.streamID = binary.LittleEndian.Uint32(b[7:]) // little endian: the only such field
	}
	s.extended = s.field == noTimestamp
	if s.extended {
		if b, err = c.readInside(4); err != nil {
			return err
		}
		s.field = binary.BigEndian.Uint32(b)
	}
	if format == 0 {
		s.timestamp = s.field
	} else {
		s.timestamp += s.field
	}
	return s.begin()
}

// readContinuation is for chunks without a header of their own (format 3).
func (c *Conn) readContinuation(s *chunkStream) error {
	if s.extended {
		// The specification repeats the extended timestamp here, and SRS and ffmpeg do; some old
		// encoders don't. Inside a message the repeated value is known, so the two can be told apart.
		b, err := c.in.Peek(4)
		if err != nil {
			return unexpected(err)
		}
		if !s.inMessage || binary.BigEndian.Uint32(b) == s.field {
			s.field = binary.BigEndian.Uint32(b)
			if _, err := c.in.Discard(4); err != nil {
				return err
			}
		}
	}
	if s.inMessage {
		return nil
	}
	s.timestamp += s.field // a new message with the last header, as far from it as that was from its last
	return s.begin()
}

func (s *chunkStream) begin() error {
	if s.length > MaxMessageSize {
		return fmt.Errorf("rtmp: message of %d bytes", s.length)
	}
	s.inMessage = true
	s.payload = s.payload[:0]
	if s.payload == nil || cap(s.payload) < int(s.length) {
		s.payload = make([]byte, 0, min(int(s.length), eagerPayload))
	}
	return nil
}

func (c *Conn) readPayload(s *chunkStream, size int) error {
	for size > 0 {
		// In steps, so that memory grows with what really arrives.
		step := min(size, eagerPayload)
		have := len(s.payload)
		if cap(s.payload) < have+step {
			grown := make([]byte, have, min(int(s.length), max(2*cap(s.payload), have+step)))
			copy(grown, s.payload)
			s.payload = grown
		}
		s.payload = s.payload[:have+step]
		if _, err := io.ReadFull(c.in, s.payload[have:]); err != nil {
			return unexpected(err)
		}
		c.pending += step
		size -= step
	}
	return nil
}

func uint24(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }

// WriteMessage writes a message, and whatever was buffered before it, to the connection.
func (c *Conn) WriteMessage(m Message) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.buffer(m); err != nil {
		return err
	}
	return c.flush()
}

// BufferMessage takes a message without writing it, so that several go out in one system call. They
// are written by Flush, by the next WriteMessage, or once 64 KiB are waiting. The payload is copied.
func (c *Conn) BufferMessage(m Message) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.buffer(m); err != nil {
		return err
	}
	if len(c.out) >= flushAt {
		return c.flush()
	}
	return nil
}

// Flush writes the buffered messages.
func (c *Conn) Flush() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.flush()
}

// SetChunkSize tells the peer the size of our chunks and uses it from there on.
func (c *Conn) SetChunkSize(size uint32) error {
	if size == 0 || size > 0x7fffffff {
		return fmt.Errorf("rtmp: chunk size %d", size)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	payload := binary.BigEndian.AppendUint32(nil, size)
	if err := c.buffer(Message{Type: TypeSetChunkSize, Payload: payload}); err != nil {
		return err
	}
	c.outChunkSize = size
	return c.flush()
}

// WindowAckSize asks the peer for an Ack after every size bytes at the latest.
func (c *Conn) WindowAckSize(size uint32) error { return c.control(TypeWindowAckSize, size) }

// SetPeerBandwidth limits what the peer may have unacknowledged (limit type 2: dynamic, as SRS sends).
func (c *Conn) SetPeerBandwidth(size uint32) error {
	payload := append(binary.BigEndian.AppendUint32(nil, size), 2)
	return c.WriteMessage(Message{Type: TypeSetPeerBandwidth, Payload: payload})
}

// UserControl sends a user control event about a stream.
func (c *Conn) UserControl(event uint16, value uint32) error {
	payload := binary.BigEndian.AppendUint16(nil, event)
	return c.WriteMessage(Message{Type: TypeUserControl, Payload: binary.BigEndian.AppendUint32(payload, value)})
}

// Command sends an AMF0 command: its name, its transaction number, the command object (or nil), arguments.
func (c *Conn) Command(streamID uint32, values ...any) error {
	payload, err := EncodeAMF0(values...)
	if err != nil {
		return err
	}
	return c.WriteMessage(Message{Type: TypeCommandAMF0, StreamID: streamID, Payload: payload})
}

func (c *Conn) control(kind uint8, value uint32) error {
	return c.WriteMessage(Message{Type: kind, Payload: binary.BigEndian.AppendUint32(nil, value)})
}

// flush writes out the buffer; the lock is held.
func (c *Conn) flush() error {
	if c.outErr != nil {
		return c.outErr
	}
	if len(c.out) == 0 {
		return nil
	}
	_, c.outErr = c.conn.Write(c.out)
	c.out = c.out[:0]
	if cap(c.out) > 2*flushAt {
		c.out = nil // one huge key frame is no reason to hold its size for hours
	}
	return c.outErr
}

// buffer cuts a message into chunks; the lock is held. Every message gets a whole header: the shorter
// ones save 4 bytes and are where implementations differ.
func (c *Conn) buffer(m Message) error {
	if c.outErr != nil {
		return c.outErr
	}
	if len(m.Payload) > MaxMessageSize {
		return fmt.Errorf("rtmp: message of %d bytes", len(m.Payload))
	}
	id := byte(chunkStreamFor(m.Type))
	extended := m.Timestamp >= noTimestamp
	out := append(c.out, id)
	out = appendUint24(out, min(m.Timestamp, noTimestamp))
	out = appendUint24(out, uint32(len(m.Payload)))
	out = append(out, m.Type)
	out = binary.LittleEndian.AppendUint32(out, m.StreamID)
	if extended {
		out = binary.BigEndian.AppendUint32(out, m.Timestamp)
	}
	rest := m.Payload
	for {
		size := min(len(rest), int(c.outChunkSize))
		out = append(out, rest[:size]...)
		if rest = rest[size:]; len(rest) == 0 {
			break
		}
		out = append(out, 0xc0|id)
		if extended {
			out = binary.BigEndian.AppendUint32(out, m.Timestamp)
		}
	}
	c.out = out
	return nil
}

func chunkStreamFor(kind uint8) int {
	switch kind {
	case TypeAudio:
		return audioChunks
	case TypeVideo, TypeAggregate:
		return videoChunks
	case TypeDataAMF0, TypeDataAMF3:
		return dataChunks
	case TypeCommandAMF0, TypeCommandAMF3:
		return commandChunks
	}
	return controlChunks
}

func appendUint24(out []byte, v uint32) []byte {
	return append(out, byte(v>>16), byte(v>>8), byte(v))
}
