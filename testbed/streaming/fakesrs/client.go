package fakesrs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/bluenviron/gortmplib/pkg/amf0"

	"srs.testbed/streaming/rtmp"
)

const (
	// streamID is the message stream that SRS creates on every connection.
	streamID = 1

	chunkSize     = 60_000
	windowAckSize = 2_500_000

	rtmpTimeout      = 30 * time.Second // for each read and write, also of a connection that sends nothing
	publisherTimeout = 5 * time.Second  // for the next message of a publisher (normal_timeout)
	hookTimeout      = 30 * time.Second // for the answer of a hook (SRS_HTTP_CLIENT_TIMEOUT)
	redirectTimeout  = 3 * time.Second  // for a player to close its connection after a redirect
)

var (
	errUnpublished = errors.New("the publisher ended its stream")
	errBusy        = errors.New("stream is busy")
)

// client is an RTMP client.
type client struct {
	*rtmp.Conn
	conn   *conn
	server *server
	app    string
}

// serveRTMP serves one connection until it ends.
func (s *server) serveRTMP(c *conn) {
	defer c.Close()
	c.timeouts(rtmpTimeout, rtmpTimeout)
	err := (&client{Conn: rtmp.NewConn(c), conn: c, server: s}).serve()
	s.log.Printf("client %s: %v", c.RemoteAddr(), err)
}

func (c *client) serve() error {
	if err := c.ServerHandshake(); err != nil {
		return err
	}
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return err
		}
		command, isCommand := rtmp.ParseCommand(m)
		if !isCommand {
			continue
		}
		stream, _ := command.Arg(1).(string)
		switch command.Name {
		case "connect":
			err = c.connect(command)
		case "createStream":
			err = c.Command(0, "_result", command.Transaction, nil, float64(streamID))
		case "releaseStream", "FCPublish":
			err = c.Command(0, "_result", command.Transaction, nil, nil)
		case "publish":
			return c.publish(withoutQuery(stream))
		case "play":
			return c.play(withoutQuery(stream))
		}
		if err != nil {
			return err
		}
	}
}

// withoutQuery is the name of x?key=value.
func withoutQuery(name string) string {
	name, _, _ = strings.Cut(name, "?")
	return name
}

func (c *client) connect(command rtmp.Command) error {
	s := c.server
	tcURL, _ := rtmp.Field(command.Arg(0), "tcUrl").(string)
	address, err := url.Parse(tcURL)
	if err != nil {
		return fmt.Errorf("invalid tcUrl: %w", err)
	}
	if s.vhostOff {
		return errors.New("vhost disabled")
	}
	c.app = strings.Trim(address.Path, "/")
	if err := c.WindowAckSize(windowAckSize); err != nil {
		return err
	}
	if err := c.SetChunkSize(chunkSize); err != nil {
		return err
	}
	s.thread.Lock()
	number := s.connections
	s.thread.Unlock()
	local, _, _ := net.SplitHostPort(c.conn.LocalAddr().String())
	return c.Command(0, "_result", command.Transaction,
		rtmp.Object("fmsVer", "FMS/3,5,3,888", "capabilities", 127.0),
		rtmp.Object(
			"level", "status", "code", "NetConnection.Connect.Success", "objectEncoding", 0.0,
			"data", amf0.ECMAArray(rtmp.Object(
				"srs_sig", "SRS", "srs_server", s.version.signature(), "srs_version", s.version.String(),
				"srs_server_ip", local, "srs_pid", float64(os.Getpid()), "srs_id", float64(number),
			)),
		))
}

func (c *client) status(code string) error {
	return c.Command(streamID, "onStatus", 0.0, nil, rtmp.Object("level", "status", "code", code))
}

func (c *client) play(stream string) error {
	s := c.server
	// SRS answers that the stream plays before it checks whether it exists.
	if err := c.UserControl(rtmp.EventStreamBegin, streamID); err != nil {
		return err
	}
	if err := c.status("NetStream.Play.Start"); err != nil {
		return err
	}
	if err := ask(s.onPlay, "on_play", c.app, stream); err != nil {
		return err
	}
	s.thread.Lock()
	src := s.source(c.app, stream)
	published := src.published
	s.thread.Unlock()
	if !published && s.originCluster && !s.edge {
		return c.redirect(src)
	}
	return c.deliver(src)
}

// redirect sends the player to the origin that has the stream.
func (c *client) redirect(src *source) error {
	target, err := c.server.search(src.app, src.name)
	if err != nil {
		return err
	}
	to := fmt.Sprintf("rtmp://%s/%s/%s", net.JoinHostPort(target.IP, target.Port), src.app, src.name)
	err = c.Command(0, "onStatus", 0.0, nil, rtmp.Object(
		"level", "error", "code", "NetConnection.Connect.Rejected", "description", "RTMP 302 Redirect",
		"ex", rtmp.Object("code", 302.0, "redirect2", to),
	))
	if err != nil {
		return err
	}
	c.conn.timeouts(redirectTimeout, rtmpTimeout)
	c.ReadMessage()
	return fmt.Errorf("redirected to %s", to)
}

// deliver writes the stream to the player until one of them ends.
func (c *client) deliver(src *source) error {
	s := c.server
	p := s.join(src)
	defer s.leave(src, p)
	c.conn.timeouts(0, rtmpTimeout) // a player sends nothing
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := c.ReadMessage(); err != nil {
				ended <- err
				return
			}
		}
	}()
	for {
		select {
		case err := <-ended:
			return err
		case <-p.ready:
		}
		for _, m := range s.take(p) {
			m.StreamID = streamID
			if err := c.BufferMessage(m); err != nil {
				return err
			}
		}
		if err := c.Flush(); err != nil {
			return err
		}
	}
}

func (c *client) publish(stream string) error {
	s := c.server
	// SRS accepts before it checks whether the stream is busy, and in 4.0 before it asks the hook; a publisher that it
	// rejects is dropped right after.
	if err := c.status("NetStream.Publish.Start"); err != nil {
		return err
	}
	if err := s.mayPublish(c.app, stream); err != nil {
		return err
	}
	s.thread.Lock()
	src := s.source(c.app, stream)
	s.clients++
	s.thread.Unlock()
	defer func() {
		s.thread.Lock()
		defer s.thread.Unlock()
		s.errors++
	}()
	if s.edge {
		return c.publishThrough(src)
	}
	return c.publishHere(src)
}

// mayPublish is what `security` and the hook decide.
func (s *server) mayPublish(app, stream string) error {
	if s.denyPublish {
		return errors.New("system denied by security")
	}
	return ask(s.onPublish, "on_publish", app, stream)
}

// ask asks a hook, which must answer 0. hook: its URL; "": none.
func ask(hook, action, app, stream string) error {
	if hook == "" {
		return nil
	}
	request, err := json.Marshal(map[string]string{"action": action, "app": app, "stream": stream})
	if err != nil {
		return err
	}
	failed := func(reason string, body []byte, status int) error {
		return fmt.Errorf("http: %s failed, client_id=1, url=%s, request=%s, response=%s, status=%d : http: %s",
			action, hook, request, body, status, reason)
	}
	client := http.Client{Timeout: hookTimeout}
	response, err := client.Post(hook, "application/json", bytes.NewReader(request))
	if err != nil {
		var cause *url.Error // it names the URL, which SRS does not
		errors.As(err, &cause)
		return failed("client post : "+cause.Err.Error(), nil, 0)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return failed("body read : "+err.Error(), body, response.StatusCode)
	}
	if response.StatusCode != http.StatusOK {
		return failed(fmt.Sprintf("status %d", response.StatusCode), body, response.StatusCode)
	}
	if string(body) != "0" {
		return failed("response number code "+string(body), body, response.StatusCode)
	}
	return nil
}

// publishHere is for an origin.
func (c *client) publishHere(src *source) error {
	s := c.server
	s.thread.Lock()
	if src.published {
		s.thread.Unlock()
		return errBusy
	}
	src.publish()
	err := src.hls.publish()
	s.thread.Unlock()
	if err != nil {
		s.log.Printf("hls: create dir failed: %v", err)
	}
	defer func() {
		s.thread.Lock()
		defer s.thread.Unlock()
		if err := src.hls.unpublish(); err != nil {
			s.log.Printf("hls: ignore unpublish failed: %v", err)
		}
		src.published, src.headers, src.group = false, nil, nil
	}()
	return c.receive(src.message)
}

// publishThrough is for an edge: everything is forwarded to an origin.
func (c *client) publishThrough(src *source) error {
	s := c.server
	f := &forwarder{source: src}
	s.thread.Lock()
	if src.push != nil {
		s.thread.Unlock()
		return errBusy
	}
	src.push = f
	s.thread.Unlock()
	defer func() {
		s.thread.Lock()
		defer s.thread.Unlock()
		src.push = nil
	}()
	if err := f.start(); err != nil {
		return fmt.Errorf("edge start publish: %w", err)
	}
	defer f.stop()
	return c.receive(f.message)
}

// receive hands a publisher's messages on, with the thread locked, until it ends.
func (c *client) receive(take func(rtmp.Message) error) error {
	c.conn.timeouts(publisherTimeout, rtmpTimeout)
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return err
		}
		if command, ok := rtmp.ParseCommand(m); ok && command.Name == "FCUnpublish" {
			return errUnpublished
		}
		if len(m.Payload) == 0 || !m.IsMedia() && m.Type != rtmp.TypeData {
			continue
		}
		c.server.thread.Lock()
		err = take(m)
		c.server.thread.Unlock()
		if err != nil {
			return err
		}
	}
}
