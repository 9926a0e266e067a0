package rtmp

import (
	"bytes"
	"context"
	"errors"
	"math"
	"net"
	"testing"
	"time"

	"github.com/bluenviron/gortmplib/pkg/amf0"
)

// connected is both ends of a connection after the handshake.
func connected(t *testing.T) (client, server *Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	raw, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	client, server = NewConn(raw), NewConn(accepted)
	t.Cleanup(func() { client.Close(); server.Close() })
	done := make(chan error, 1)
	go func() { done <- server.ServerHandshake() }()
	if err := errors.Join(client.ClientHandshake(), <-done); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func TestMessagesPassUnchanged(t *testing.T) {
	client, server := connected(t)
	var want []Message
	for i, size := range []int{1, 128, 129, 70_000, 300_000} {
		for _, timestamp := range []uint32{0, 40, 40, 39, 0xffffff - 1} {
			kind := []uint8{TypeVideo, TypeAudio, TypeData}[i%3]
			want = append(want, Message{Type: kind, StreamID: 1, Timestamp: timestamp, Payload: bytes.Repeat([]byte{byte(i)}, size)})
		}
	}
	// An extended timestamp, as after 4.6 hours.
	want = append(want, Message{Type: TypeVideo, StreamID: 1, Timestamp: math.MaxUint32, Payload: []byte{1}})
	go func() {
		client.SetChunkSize(60_000)
		for _, m := range want {
			client.BufferMessage(m)
		}
		client.Flush()
	}()
	for i, m := range want {
		got, err := server.ReadMessage()
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if got.Type != m.Type || got.StreamID != 1 || got.Timestamp != m.Timestamp || !bytes.Equal(got.Payload, m.Payload) {
			t.Fatalf("message %d: type %d, stream %d, time %d, %d bytes", i, got.Type, got.StreamID, got.Timestamp, len(got.Payload))
		}
	}
}

func TestPingsAndAcknowledgementsAreAnswered(t *testing.T) {
	client, server := connected(t)
	go func() {
		server.WindowAckSize(100)
		server.UserControl(eventPingRequest, 7)
		server.WriteMessage(Message{Type: TypeVideo, Payload: make([]byte, 1000)})
	}()
	if m, err := client.ReadMessage(); err != nil || len(m.Payload) != 1000 {
		t.Fatalf("%d bytes, %v", len(m.Payload), err)
	}
	acknowledged, answered := false, false
	for !acknowledged || !answered {
		raw, err := server.reader.Read() // ReadMessage would process them
		if err != nil {
			t.Fatal(err)
		}
		switch raw.Type {
		case TypeAck:
			acknowledged = true
		case TypeUserControl:
			answered = bytes.Equal(raw.Body, []byte{0, eventPingResponse, 0, 0, 0, 7})
		}
	}
}

func TestOtherProtocolsAreRejectedAtOnce(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	go client.Write([]byte("GET / HTTP/1.1\r\n"))
	if err := NewConn(server).ServerHandshake(); err == nil {
		t.Error("an HTTP request is accepted")
	}
}

func TestCommands(t *testing.T) {
	payload, err := amf0.Data{"onStatus", 4.0, nil, Object("ex", amf0.ECMAArray(Object("code", 302.0)))}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for kind, payload := range map[uint8][]byte{TypeCommand: payload, TypeCommandAMF3: append([]byte{0}, payload...)} {
		command, ok := ParseCommand(Message{Type: kind, Payload: payload})
		if !ok || command.Name != "onStatus" || command.Transaction != 4 || command.Arg(0) != nil || command.Arg(9) != nil {
			t.Errorf("%d: %+v, %v", kind, command, ok)
		}
		if code := Field(Field(command.Arg(1), "ex"), "code"); code != 302.0 {
			t.Errorf("code is %v", code)
		}
	}
	for _, m := range []Message{{Type: TypeVideo, Payload: payload}, {Type: TypeCommand, Payload: payload[:5]}, {Type: TypeCommandAMF3}} {
		if command, ok := ParseCommand(m); ok {
			t.Errorf("%+v is a command", command)
		}
	}
}

// answer is a server that answers each command by `reply`, after the result of connect and of createStream.
func answer(t *testing.T, reply func(c *Conn, command Command)) *Client {
	t.Helper()
	raw, other := net.Pipe()
	server := NewConn(other)
	go func() {
		if server.ServerHandshake() != nil {
			return
		}
		for {
			m, err := server.ReadMessage()
			if err != nil {
				return
			}
			switch command, _ := ParseCommand(m); command.Name {
			case "connect":
				server.Command(0, "_result", command.Transaction, nil, Object("data", Object("srs_version", "4.0.6", "srs_server_ip", "::1", "srs_pid", 5.0)))
			case "createStream":
				server.Command(0, "_result", command.Transaction, nil, 1.0)
			default:
				reply(server, command)
			}
		}
	}()
	client, err := Connect(t.Context(), raw, "host:1935", "live")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func TestServerIsIdentified(t *testing.T) {
	client := answer(t, nil)
	if client.ServerVersion() != "4.0.6" || client.ServerID() != "::1-5" {
		t.Errorf("version %q, id %q", client.ServerVersion(), client.ServerID())
	}
}

func TestARejectionNamesItsReason(t *testing.T) {
	client := answer(t, func(c *Conn, command Command) {
		c.Command(1, "onStatus", 0.0, nil, Object("level", "error", "code", "NetStream.Play.Failed", "description", "on purpose"))
	})
	err := client.Play("a")
	if want := "rtmp: play was rejected: NetStream.Play.Failed on purpose"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestPlayEndsAtItsTimeout(t *testing.T) {
	client := answer(t, func(*Conn, Command) {})
	client.Timeout = 50 * time.Millisecond
	var timeout net.Error
	if err := client.Play("a"); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("%v", err)
	}
}

func TestConnectEndsWithItsContext(t *testing.T) {
	raw, other := net.Pipe()
	defer other.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Connect(ctx, raw, "host:1935", "live"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
