// Package rtmp is a small RTMP implementation for both ends of a connection: handshake, chunk stream,
// AMF0 and the few commands that playing and publishing take.
//
// It has what a stand-in for SRS and a load client need and no more: no encryption, no AMF3 values
// and no shared objects. The wire format is Adobe's "Real Time Messaging Protocol" 1.0 (2012); where
// SRS and ffmpeg are known to differ from it, the comments say so.
package rtmp

import (
	"errors"
	"fmt"
)

// Message types (RTMP 1.0, sections 5.4 and 7.1).
const (
	TypeSetChunkSize     = 1
	TypeAbort            = 2
	TypeAck              = 3
	TypeUserControl      = 4
	TypeWindowAckSize    = 5
	TypeSetPeerBandwidth = 6
	TypeAudio            = 8
	TypeVideo            = 9
	TypeDataAMF3         = 15
	TypeCommandAMF3      = 17
	TypeDataAMF0         = 18
	TypeCommandAMF0      = 20
	TypeAggregate        = 22
)

// Events of a user control message: the first two bytes of its payload.
const (
	EventStreamBegin     = 0
	EventStreamEOF       = 1
	EventSetBufferLength = 3
	EventPingRequest     = 6
	EventPingResponse    = 7
)

// Message is one whole RTMP message.
type Message struct {
	Type      uint8
	StreamID  uint32
	Timestamp uint32 // milliseconds, wraps after 49 days
	Payload   []byte
}

// IsMedia reports whether the message is audio or video.
func (m Message) IsMedia() bool { return m.Type == TypeAudio || m.Type == TypeVideo }

// Values decodes the AMF0 values of a command or data message.
// The AMF3 flavours carry AMF0 values too, behind one byte that is 0.
func (m Message) Values() ([]any, error) {
	switch m.Type {
	case TypeCommandAMF0, TypeDataAMF0:
		return DecodeAMF0(m.Payload)
	case TypeCommandAMF3, TypeDataAMF3:
		if len(m.Payload) == 0 || m.Payload[0] != 0 {
			return nil, errors.New("rtmp: AMF3 values are not supported")
		}
		return DecodeAMF0(m.Payload[1:])
	}
	return nil, fmt.Errorf("rtmp: a message of type %d holds no AMF0 values", m.Type)
}

// Command is a decoded command message: its name, its transaction number and the rest.
// The first of Args is the command object, which is null for everything but `connect`.
type Command struct {
	Name        string
	Transaction float64
	Args        []any
}

// ParseCommand decodes a command message. A missing transaction number counts as 0.
func ParseCommand(m Message) (Command, error) {
	if m.Type != TypeCommandAMF0 && m.Type != TypeCommandAMF3 {
		return Command{}, fmt.Errorf("rtmp: a message of type %d is no command", m.Type)
	}
	values, err := m.Values()
	if err != nil {
		return Command{}, err
	}
	if len(values) == 0 {
		return Command{}, errors.New("rtmp: empty command")
	}
	name, ok := values[0].(string)
	if !ok {
		return Command{}, fmt.Errorf("rtmp: the name of a command is a %T", values[0])
	}
	command := Command{Name: name}
	if len(values) > 1 {
		command.Transaction, _ = values[1].(float64)
		command.Args = values[2:]
	}
	return command, nil
}

// Arg is the command's argument i, or nil where there are fewer.
func (c Command) Arg(i int) any {
	if i < len(c.Args) {
		return c.Args[i]
	}
	return nil
}
