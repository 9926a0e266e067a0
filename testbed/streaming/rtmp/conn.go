package rtmp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"sync"
	"time"

	"github.com/bluenviron/gortmplib/pkg/amf0"
	"github.com/bluenviron/gortmplib/pkg/bytecounter"
	"github.com/bluenviron/gortmplib/pkg/handshake"
	"github.com/bluenviron/gortmplib/pkg/rawmessage"
)

// flushAt is how many buffered bytes are written without a Flush.
const flushAt = 64 << 10

// Conn is one RTMP connection, either end.
//
// Reading is for one goroutine at a time. Writing is safe from any: reading itself has to write acknowledgements and
// answers to pings. After an error the connection is of no more use.
type Conn struct {
	conn   net.Conn
	bytes  *bytecounter.ReadWriter
	reader *rawmessage.Reader

	writing sync.Mutex // guards the rest
	writer  *rawmessage.Writer
	out     bytes.Buffer
	err     error
}

// NewConn makes an RTMP connection of a byte stream. A handshake comes next.
func NewConn(conn net.Conn) *Conn {
	c := &Conn{conn: conn, bytes: bytecounter.NewReadWriter(conn)}
	c.reader = rawmessage.NewReader(c.bytes, c.bytes.Reader, func(received uint32) error {
		return c.control(TypeAck, received)
	})
	// Several messages are collected in `out` and then written in one system call.
	c.writer = rawmessage.NewWriter(&c.out, c.bytes.Writer, false)
	return c
}

// ClientHandshake is the simple handshake, which SRS, nginx-rtmp and ffmpeg accept.
func (c *Conn) ClientHandshake() error {
	_, _, err := handshake.DoClient(c.bytes, false, false)
	return err
}

// ServerHandshake answers a client's handshake.
func (c *Conn) ServerHandshake() error {
	key, _, err := handshake.DoServer(c.bytes, false)
	if err == nil && key != nil {
		return errors.New("rtmp: encryption is not supported")
	}
	return err
}

// NetConn is the connection below, for deadlines and addresses.
func (c *Conn) NetConn() net.Conn { return c.conn }

// Close closes the connection below. What was not flushed is lost.
func (c *Conn) Close() error { return c.conn.Close() }

// ReadMessage returns the next message that does not concern the connection itself.
func (c *Conn) ReadMessage() (Message, error) {
	for {
		raw, err := c.reader.Read()
		if err != nil {
			return Message{}, err
		}
		m := Message{
			Type: raw.Type, StreamID: swap(raw.MessageStreamID),
			Timestamp: uint32(raw.Timestamp / time.Millisecond), Payload: raw.Body,
		}
		if internal, err := c.handle(m); err != nil {
			return Message{}, err
		} else if !internal {
			return m, nil
		}
	}
}

// swap: the stream id is the protocol's only little endian number, which gortmplib does not take into account.
func swap(streamID uint32) uint32 { return bits.ReverseBytes32(streamID) }

// handle processes the messages that concern the connection itself.
func (c *Conn) handle(m Message) (internal bool, err error) {
	switch m.Type {
	case TypeSetChunkSize, TypeAbort, TypeAck, TypeWindowAckSize, TypeSetPeerBandwidth:
		if len(m.Payload) < 4 {
			return true, fmt.Errorf("rtmp: control message %d with %d bytes", m.Type, len(m.Payload))
		}
	case TypeUserControl:
		if len(m.Payload) >= 6 && binary.BigEndian.Uint16(m.Payload) == eventPingRequest {
			return true, c.UserControl(eventPingResponse, binary.BigEndian.Uint32(m.Payload[2:]))
		}
		return true, nil
	default:
		return false, nil
	}
	value := binary.BigEndian.Uint32(m.Payload)
	switch m.Type {
	case TypeSetChunkSize:
		if value == 0 {
			return true, errors.New("rtmp: chunk size 0")
		}
		return true, c.reader.SetChunkSize(value)
	case TypeAbort:
		c.reader.AbortChunkStream(value)
	case TypeWindowAckSize:
		c.reader.SetWindowAckSize(value)
	}
	return true, nil
}

// WriteMessage writes a message, and whatever was buffered before it, to the connection.
func (c *Conn) WriteMessage(m Message) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.buffer(m); err != nil {
		return err
	}
	return c.flush()
}

// BufferMessage takes a message without writing it, so that several go out in one system call. They are written by
// Flush, by the next WriteMessage, or once 64 KiB are waiting. The payload is copied.
func (c *Conn) BufferMessage(m Message) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.buffer(m); err != nil {
		return err
	}
	if c.out.Len() >= flushAt {
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

// SetChunkSize announces the size of our chunks and uses it from there on.
func (c *Conn) SetChunkSize(size uint32) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.buffer(Message{Type: TypeSetChunkSize, Payload: binary.BigEndian.AppendUint32(nil, size)}); err != nil {
		return err
	}
	c.writer.SetChunkSize(size)
	return c.flush()
}

// WindowAckSize asks the peer for an acknowledgement after every size bytes.
func (c *Conn) WindowAckSize(size uint32) error { return c.control(TypeWindowAckSize, size) }

// UserControl sends a user control event about a stream.
func (c *Conn) UserControl(event uint16, value uint32) error {
	payload := binary.BigEndian.AppendUint16(nil, event)
	return c.WriteMessage(Message{Type: TypeUserControl, Payload: binary.BigEndian.AppendUint32(payload, value)})
}

// Command sends a command: its name, its transaction number (float64, as all numbers), the command object (or nil),
// arguments.
func (c *Conn) Command(streamID uint32, values ...any) error {
	payload, err := amf0.Data(values).Marshal()
	if err != nil {
		return err
	}
	return c.WriteMessage(Message{Type: TypeCommand, StreamID: streamID, Payload: payload})
}

func (c *Conn) control(kind uint8, value uint32) error {
	return c.WriteMessage(Message{Type: kind, Payload: binary.BigEndian.AppendUint32(nil, value)})
}

// buffer makes chunks of a message; the mutex is locked.
//
// gortmplib 1.0.1 writes zeros where an extended timestamp is repeated in later chunks of a message. That takes a stream
// older than 4.6 hours and a message longer than a chunk.
func (c *Conn) buffer(m Message) error {
	if c.err == nil {
		c.err = c.writer.Write(&rawmessage.Message{
			ChunkStreamID: chunkStream(m.Type), Timestamp: time.Duration(m.Timestamp) * time.Millisecond,
			Type: m.Type, MessageStreamID: swap(m.StreamID), Body: m.Payload,
		})
	}
	return c.err
}

// flush writes the buffer to the connection; the mutex is locked.
func (c *Conn) flush() error {
	if c.err == nil && c.out.Len() > 0 {
		_, c.err = c.conn.Write(c.out.Bytes())
		c.out.Reset()
	}
	return c.err
}

// chunkStream is the usual chunk stream for a type of message; any would do, one for each type.
func chunkStream(kind uint8) byte {
	switch kind {
	case TypeAudio:
		return 4
	case TypeData:
		return 5
	case TypeVideo:
		return 6
	case TypeCommand, TypeCommandAMF3:
		return 3
	}
	return 2
}
