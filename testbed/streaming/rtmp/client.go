package rtmp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// DefaultTimeout is a new client's Timeout.
const DefaultTimeout = 10 * time.Second

// Client is an RTMP connection that said `connect` to an application and was accepted.
type Client struct {
	*Conn

	// Properties and Info are the two objects of the server's answer to connect. SRS puts an ECMA
	// array `data` with srs_version, srs_id, srs_pid and srs_server_ip into Info.
	Properties, Info Object

	// StreamID is the message stream that Play or Publish made.
	StreamID uint32

	// Timeout bounds each of Play and Publish.
	Timeout time.Duration

	transaction float64
}

// StatusError is a server's refusal: a command answered by _error, or a status of level error.
type StatusError struct {
	Command, Code, Description string
}

// Error names the command and the server's reason.
func (e *StatusError) Error() string {
	return fmt.Sprintf("rtmp: %s was refused: %s %s", e.Command, e.Code, e.Description)
}

// Dial connects to an application: TCP, handshake and the connect command, all within ctx.
// An empty tcURL is made of addr and app.
func Dial(ctx context.Context, addr, app, tcURL string) (*Client, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if tcURL == "" {
		tcURL = "rtmp://" + addr + "/" + app
	}
	client, err := Connect(ctx, conn, app, tcURL)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return client, nil
}

// Connect is Dial over a connection that is there already, which stays the caller's when it fails.
func Connect(ctx context.Context, conn net.Conn, app, tcURL string) (*Client, error) {
	c := &Client{Conn: NewConn(conn), Timeout: DefaultTimeout}
	// A deadline of long ago wakes the read that is blocked.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err := c.connect(app, tcURL)
	if !stop() {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Client) connect(app, tcURL string) error {
	if err := c.ClientHandshake(); err != nil {
		return err
	}
	answer, err := c.call("connect", Object{
		"app":            app,
		"tcUrl":          tcURL, // SRS refuses a connect without it
		"type":           "nonprivate",
		"flashVer":       "FMLE/3.0 (compatible; srs.testbed)",
		"objectEncoding": 0,
	})
	if err != nil {
		return err
	}
	c.Properties, _ = answer.Arg(0).(Object)
	c.Info, _ = answer.Arg(1).(Object)
	return nil
}

// ServerVersion is the version of the SRS at the other end, "" where it doesn't say.
func (c *Client) ServerVersion() string {
	version, _ := Field(c.Info["data"], "srs_version").(string)
	return version
}

// ServerID tells one server process from another: its address and process number, else "". Not srs_id,
// which is the connection's own since 5.0.
func (c *Client) ServerID() string {
	data := c.Info["data"]
	ip, _ := Field(data, "srs_server_ip").(string)
	if pid, ok := Field(data, "srs_pid").(float64); ok {
		return fmt.Sprintf("%s-%.0f", ip, pid)
	}
	return ip
}

// Play asks for a stream and returns when the server says that it plays, which SRS does also while
// nobody publishes it. ReadMessage brings the media then.
func (c *Client) Play(stream string) error {
	return c.within(func() error {
		if err := c.createStream(); err != nil {
			return err
		}
		c.transaction++
		// -2: live if there is such a stream, else recorded.
		if err := c.Command(c.StreamID, "play", c.transaction, nil, stream, -2); err != nil {
			return err
		}
		return c.awaitStatus("play", "NetStream.Play.Start")
	})
}

// Publish opens a stream for writing, in the way of FMLE, ffmpeg and OBS. SRS accepts the command
// before it looks whether somebody publishes this stream already: then it cuts the connection.
func (c *Client) Publish(stream string) error {
	return c.within(func() error {
		for _, command := range []string{"releaseStream", "FCPublish"} {
			// Nobody waits for the answers: servers differ in whether they give one.
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

// within runs a conversation under the time-out.
func (c *Client) within(talk func() error) error {
	if c.Timeout > 0 {
		if err := c.conn.SetDeadline(time.Now().Add(c.Timeout)); err != nil {
			return err
		}
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
	if !ok || id < 0 || id > 1<<32-1 {
		return errors.New("rtmp: createStream was answered without a stream id")
	}
	c.StreamID = uint32(id)
	return nil
}

// call sends a command and waits for its result; other messages that come first are dropped.
func (c *Client) call(name string, values ...any) (Command, error) {
	c.transaction++
	transaction := c.transaction
	if err := c.Command(0, append([]any{name, transaction}, values...)...); err != nil {
		return Command{}, err
	}
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return Command{}, err
		}
		if m.Type != TypeCommandAMF0 && m.Type != TypeCommandAMF3 {
			continue
		}
		answer, err := ParseCommand(m)
		if err != nil {
			return Command{}, err
		}
		if answer.Transaction != transaction {
			continue
		}
		switch answer.Name {
		case "_result":
			return answer, nil
		case "_error":
			return Command{}, refusal(name, answer)
		}
	}
}

// awaitStatus waits for an onStatus of this code. Media counts as a yes too.
func (c *Client) awaitStatus(command, code string) error {
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return err
		}
		if m.IsMedia() {
			c.pushBack(m)
			return nil
		}
		if m.Type != TypeCommandAMF0 && m.Type != TypeCommandAMF3 {
			continue
		}
		answer, err := ParseCommand(m)
		if err != nil {
			return err
		}
		level, _ := Field(answer.Arg(1), "level").(string)
		got, _ := Field(answer.Arg(1), "code").(string)
		switch {
		case answer.Name == "_error" && answer.Transaction == c.transaction, // not that of a releaseStream
			answer.Name == "onStatus" && level == "error":
			return refusal(command, answer)
		case answer.Name == "onStatus" && got == code:
			return nil
		}
	}
}

func refusal(command string, answer Command) error {
	code, _ := Field(answer.Arg(1), "code").(string)
	description, _ := Field(answer.Arg(1), "description").(string)
	return &StatusError{Command: command, Code: code, Description: description}
}
