package fakesrs

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"srs.testbed/streaming/rtmp"
)

// upstream is an edge's connection to an origin.
type upstream struct {
	*rtmp.Conn
	conn     *conn
	streamID uint32
	origin   string // host:port
}

// dialOrigin connects and makes a stream, and introduces itself as an edge does. Each wait for an answer
// takes at most `answer`: an origin whose thread is stalled longer is given up.
func (s *server) dialOrigin(ctx context.Context, r request, host string, port int, connect, answer time.Duration, cid string) (*upstream, error) {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	c, err := s.dial(ctx, host, strconv.Itoa(port), connect)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	c.timeouts(answer, answer)
	// Whoever ends the pull meanwhile doesn't have to wait for the answers.
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	up := &upstream{Conn: rtmp.NewConn(c), conn: c, origin: address}
	if err := up.introduce(s, r, address, cid); err != nil {
		c.Close()
		return nil, fmt.Errorf("origin %s: %w", address, err)
	}
	return up, nil
}

func (up *upstream) introduce(s *server, r request, address, cid string) error {
	if err := up.ClientHandshake(); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	local, _, _ := net.SplitHostPort(up.conn.LocalAddr().String())
	err := up.Command(0, "connect", 1, rtmp.Object{
		"app":            r.app,
		"tcUrl":          "rtmp://" + address + "/" + r.app,
		"fpad":           false,
		"capabilities":   239,
		"audioCodecs":    3575,
		"videoCodecs":    252,
		"videoFunction":  1,
		"objectEncoding": 0,
	}, rtmp.Object{
		"srs_sig":       "SRS",
		"srs_server":    s.version.signature(),
		"srs_license":   license,
		"srs_url":       projectURL,
		"srs_version":   s.version.String(),
		"srs_pid":       os.Getpid(),
		"srs_id":        s.ids.asJSON(cid),
		"srs_server_ip": local,
	})
	if err != nil {
		return fmt.Errorf("connect app: %w", err)
	}
	if _, err := up.result(1); err != nil {
		return fmt.Errorf("connect app: %w", err)
	}
	if err := up.Command(0, "createStream", 2, nil); err != nil {
		return fmt.Errorf("create stream: %w", err)
	}
	answer, err := up.result(2)
	if err != nil {
		return fmt.Errorf("create stream: %w", err)
	}
	id, _ := answer.Arg(1).(float64)
	up.streamID = uint32(id)
	return nil
}

func (up *upstream) result(transaction float64) (rtmp.Command, error) {
	for {
		m, err := up.ReadMessage()
		if err != nil {
			return rtmp.Command{}, err
		}
		answer, err := rtmp.ParseCommand(m)
		if err != nil || answer.Transaction != transaction {
			continue
		}
		if answer.Name != "_result" {
			description, _ := rtmp.Field(answer.Arg(1), "description").(string)
			return answer, fmt.Errorf("refused: %s", description)
		}
		return answer, nil
	}
}

// play asks for the stream. SRS doesn't wait for an answer.
func (up *upstream) play(stream string, chunkSize uint32) error {
	if err := up.Command(up.streamID, "play", 0, nil, stream); err != nil {
		return err
	}
	buffer := binary.BigEndian.AppendUint16(nil, rtmp.EventSetBufferLength)
	buffer = binary.BigEndian.AppendUint32(buffer, up.streamID)
	buffer = binary.BigEndian.AppendUint32(buffer, 1000)
	if err := up.WriteMessage(rtmp.Message{Type: rtmp.TypeUserControl, Payload: buffer}); err != nil {
		return err
	}
	return up.SetChunkSize(chunkSize)
}

// publish opens the stream for writing, without the commands of FMLE and without waiting for an answer.
func (up *upstream) publish(stream string, chunkSize uint32) error {
	if err := up.SetChunkSize(chunkSize); err != nil {
		return err
	}
	return up.Command(up.streamID, "publish", 0, nil, stream, "live")
}
