package rtmp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Client is an RTMP connection whose `connect` to an application was accepted.
type Client struct {
	*Conn

	// Data is what SRS adds to its answer to connect: srs_version, srs_id, srs_pid, srs_server_ip.
	Data any

	// StreamID is the message stream that Play or Publish created.
	StreamID uint32

	// Timeout bounds each of Play and Publish; 0: no limit.
	Timeout time.Duration

	transaction float64
}

// Connect does the handshake and connects to an application, within ctx. conn stays the caller's when it fails.
func Connect(ctx context.Context, conn net.Conn, address, app string) (*Client, error) {
	c := &Client{Conn: NewConn(conn)}
	// A deadline in the past ends the read that is blocked.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err := c.connect(app, "rtmp://"+address+"/"+app)
	if !stop() {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Client) connect(app, url string) error {
	if err := c.ClientHandshake(); err != nil {
		return err
	}
	answer, err := c.call("connect", Object(
		"app", app,
		"tcUrl", url, // SRS rejects a connect without it
		"type", "nonprivate",
		"flashVer", "FMLE/3.0 (compatible; srs.testbed)",
		"objectEncoding", 0.0,
	))
	if err != nil {
		return err
	}
	c.Data = Field(answer.Arg(1), "data")
	return nil
}

// ServerVersion is the version of the SRS at the other end, "" if it sends none.
func (c *Client) ServerVersion() string {
	version, _ := Field(c.Data, "srs_version").(string)
	return version
}

// ServerID identifies the server's process by address and process number. srs_id does not: since 5.0 it is the
// connection's own.
func (c *Client) ServerID() string {
	ip, _ := Field(c.Data, "srs_server_ip").(string)
	pid, _ := Field(c.Data, "srs_pid").(float64)
	return fmt.Sprintf("%s-%.0f", ip, pid)
}

// Play starts a stream and returns when the server answers that it plays, which SRS does also while nobody publishes
// it. ReadMessage returns the media then.
func (c *Client) Play(stream string) error {
	return c.withTimeout(func() error {
		if err := c.createStream(); err != nil {
			return err
		}
		c.transaction++
		// -2: live if there is such a stream, else recorded.
		if err := c.Command(c.StreamID, "play", c.transaction, nil, stream, -2.0); err != nil {
			return err
		}
		return c.awaitStatus("play", "NetStream.Play.Start")
	})
}

// Publish opens a stream for writing, as FMLE, ffmpeg and OBS do. SRS accepts the command before it checks whether
// the stream has a publisher already: then it closes the connection.
func (c *Client) Publish(stream string) error {
	return c.withTimeout(func() error {
		for _, command := range []string{"releaseStream", "FCPublish"} {
			// Not every server answers these.
			c.transaction++
			if err := c.Command(0, command, c.transaction, nil, stream); err != nil {
				return err
			}
		}
		if err := c.createStream(); err != nil {
			return err
		}
		c.transaction++
		if err := c.Command(c.StreamID, "publish", c.transaction, nil, stream, "live"); err != nil {
			return err
		}
		return c.awaitStatus("publish", "NetStream.Publish.Start")
	})
}

func (c *Client) withTimeout(talk func() error) error {
	if c.Timeout > 0 {
		c.conn.SetDeadline(time.Now().Add(c.Timeout))
		defer c.conn.SetDeadline(time.Time{})
	}
	return talk()
}

func (c *Client) createStream() error {
	answer, err := c.call("createStream", nil)
	if err != nil {
		return err
	}
	id, ok := answer.Arg(1).(float64)
	if !ok {
		return errors.New("rtmp: the answer to createStream has no stream id")
	}
	c.StreamID = uint32(id)
	return nil
}

// call sends a command and waits for its result; other messages that come first are dropped.
func (c *Client) call(name string, argument any) (Command, error) {
	c.transaction++
	if err := c.Command(0, name, c.transaction, argument); err != nil {
		return Command{}, err
	}
	for {
		answer, err := c.nextCommand()
		switch {
		case err != nil:
			return Command{}, err
		case answer.Transaction != c.transaction:
		case answer.Name == "_result":
			return answer, nil
		case answer.Name == "_error":
			return Command{}, rejection(name, answer)
		}
	}
}

// awaitStatus waits for an onStatus of this code.
func (c *Client) awaitStatus(command, code string) error {
	for {
		answer, err := c.nextCommand()
		switch {
		case err != nil:
			return err
		case answer.Name == "_error" && answer.Transaction == c.transaction, // not that of a releaseStream
			answer.Name == "onStatus" && Field(answer.Arg(1), "level") == "error":
			return rejection(command, answer)
		case answer.Name == "onStatus" && Field(answer.Arg(1), "code") == code:
			return nil
		}
	}
}

func (c *Client) nextCommand() (Command, error) {
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return Command{}, err
		}
		if command, ok := ParseCommand(m); ok {
			return command, nil
		}
	}
}

// rejection is a command answered by _error, or a status of level error.
func rejection(command string, answer Command) error {
	status := answer.Arg(1)
	return fmt.Errorf("rtmp: %s was rejected: %v %v", command, Field(status, "code"), Field(status, "description"))
}
