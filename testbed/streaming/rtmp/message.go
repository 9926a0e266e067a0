// Package rtmp is both ends of an RTMP connection: messages, commands, and a client that publishes or plays.
//
// Handshake, chunk stream and AMF0 are gortmplib's. Its Client and ServerConn are not used: they fail on messages
// that they do not know, and do not expose the version that SRS sends. The protocol is Adobe's "Real Time Messaging
// Protocol" 1.0 (2012).
package rtmp

import "github.com/bluenviron/gortmplib/pkg/amf0"

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
	TypeCommandAMF3      = 17
	TypeData             = 18
	TypeCommand          = 20
)

// Events of a user control message: the first two bytes of its payload.
const (
	EventStreamBegin  = 0
	eventPingRequest  = 6
	eventPingResponse = 7
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

// IsSequenceHeader reports whether the message configures the decoder of H.264 or AAC instead of carrying a frame
// (FLV specification 10.1, annex E.4).
func (m Message) IsSequenceHeader() bool {
	const codecAVC, soundAAC = 7, 10
	if len(m.Payload) < 2 || m.Payload[1] != 0 {
		return false
	}
	return m.Type == TypeVideo && m.Payload[0]&0x0f == codecAVC || m.Type == TypeAudio && m.Payload[0]>>4 == soundAAC
}

// IsKeyFrame reports whether the message is a video frame that a decoder can begin with.
func (m Message) IsKeyFrame() bool {
	const keyFrame = 1
	return m.Type == TypeVideo && len(m.Payload) > 0 && m.Payload[0]>>4 == keyFrame && !m.IsSequenceHeader()
}

// Command is a decoded command message. The first of Args is the command object, which is null for everything but
// `connect`.
type Command struct {
	Name        string
	Transaction float64
	Args        []any
}

// ParseCommand decodes a command message; ok is false for other messages, and for commands that are malformed.
func ParseCommand(m Message) (command Command, ok bool) {
	payload := m.Payload
	switch {
	case m.Type == TypeCommandAMF3 && len(payload) > 0:
		payload = payload[1:] // a format selector; the values behind it are AMF0
	case m.Type != TypeCommand:
		return command, false
	}
	values, err := amf0.Unmarshal(payload)
	if err != nil || len(values) < 2 {
		return command, false
	}
	name, isName := values[0].(string)
	transaction, isNumber := values[1].(float64)
	return Command{name, transaction, values[2:]}, isName && isNumber
}

// Arg is the command's argument i, or nil where there are fewer.
func (c Command) Arg(i int) any {
	if i < len(c.Args) {
		return c.Args[i]
	}
	return nil
}

// Object is an AMF0 object of alternating names and values; numbers must be float64.
func Object(pairs ...any) amf0.Object {
	object := make(amf0.Object, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		object = append(object, amf0.ObjectEntry{Key: pairs[i].(string), Value: pairs[i+1]})
	}
	return object
}

// Field is the member `name` of a decoded object or ECMA array, nil where there is none.
func Field(value any, name string) any {
	object, _ := value.(amf0.Object)
	if array, ok := value.(amf0.ECMAArray); ok {
		object = amf0.Object(array)
	}
	member, _ := object.Get(name)
	return member
}
