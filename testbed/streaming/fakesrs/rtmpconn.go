package fakesrs

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"time"

	"srs.testbed/streaming/rtmp"
)

const (
	license    = "MIT"
	projectURL = "https://github.com/ossrs/srs"
	authors    = "https://github.com/ossrs/srs/blob/4.0release/trunk/AUTHORS.txt"
	fmsVersion = "3,5,3,888"

	// streamID is the id of the one message stream that SRS gives out on a connection.
	streamID = 1

	rtmpTimeout     = 30 * time.Second // for each read and write, also of a connection that says nothing
	pausedTimeout   = 3 * time.Minute  // after a stream was closed, for the next command
	redirectTimeout = 3 * time.Second  // for the client's answer to a redirect

	windowAckSize = 2500000
)

var (
	errRepublish   = errors.New("rtmp: republish")     // the publisher ended its stream, not its connection
	errCloseStream = errors.New("rtmp: close stream")  // a player did
	errRedirect    = errors.New("rtmp: redirected")    // the player was sent elsewhere
	errNoTCURL     = errors.New("rtmp: invalid tcUrl") // SRS wants one
)

// client is a client of RTMP.
type client struct {
	*rtmp.Conn
	conn   *conn
	server *server
	cid    string
	req    request

	hasStream bool // createStream was answered
}

// serveRTMP serves one connection until it ends.
func (s *server) serveRTMP(c *conn) {
	s.log.trace(c.cid, "RTMP client ip=%s", c.ip)
	c.timeouts(rtmpTimeout, rtmpTimeout)
	cl := &client{Conn: rtmp.NewConn(c), conn: c, server: s, cid: c.cid}
	cl.req.publishLikeFlash = true // until FCPublish says otherwise
	err := cl.serve()
	switch {
	case errors.Is(err, errRedirect):
		s.log.trace(c.cid, "client finished.")
	default:
		s.log.warn(c.cid, "client disconnect peer. %v", err)
	}
}

func (c *client) serve() error {
	if err := c.ServerHandshake(); err != nil {
		return fmt.Errorf("rtmp handshake: %w", err)
	}
	if err := c.acceptConnect(); err != nil {
		return err
	}
	for {
		err := c.command()
		switch {
		case errors.Is(err, errRepublish), errors.Is(err, errCloseStream):
			c.conn.timeouts(pausedTimeout, pausedTimeout)
			c.req.publishLikeFlash, c.hasStream = true, false
			c.server.log.trace(c.cid, "rtmp: retry for %v", err)
		case err != nil:
			return err
		}
	}
}

// acceptConnect waits for the connect command and answers it.
func (c *client) acceptConnect() error {
	s := c.server
	var connect rtmp.Command
	for connect.Name != "connect" {
		var err error
		if connect, err = c.next(); err != nil {
			return fmt.Errorf("rtmp connect tcUrl: %w", err)
		}
	}
	object := connect.Arg(0)
	c.req.ip = c.conn.ip
	c.req.tcURL, _ = rtmp.Field(object, "tcUrl").(string)
	c.req.pageURL, _ = rtmp.Field(object, "pageUrl").(string)
	c.req.swfURL, _ = rtmp.Field(object, "swfUrl").(string)
	c.req.objectEncoding, _ = rtmp.Field(object, "objectEncoding").(float64)
	if c.req.tcURL == "" {
		return errNoTCURL
	}
	c.req.discover()
	s.log.trace(c.cid, "connect app, tcUrl=%s, vhost=%s, port=%d, app=%s", c.req.tcURL, c.req.vhost, c.req.port, c.req.app)
	if version, _ := rtmp.Field(connect.Arg(1), "srs_version").(string); version != "" {
		s.log.trace(c.cid, "edge-srs ip=%v, version=%s, pid=%v, id=%v", rtmp.Field(connect.Arg(1), "srs_server_ip"),
			version, rtmp.Field(connect.Arg(1), "srs_pid"), rtmp.Field(connect.Arg(1), "srs_id"))
	}
	if err := c.WindowAckSize(windowAckSize); err != nil {
		return err
	}
	if err := c.SetPeerBandwidth(windowAckSize); err != nil {
		return err
	}
	if err := c.SetChunkSize(s.chunkSize); err != nil {
		return err
	}
	local, _, _ := net.SplitHostPort(c.conn.LocalAddr().String())
	err := c.Command(0, "_result", connect.Transaction,
		rtmp.Object{"fmsVer": "FMS/" + fmsVersion, "capabilities": 127, "mode": 1},
		rtmp.Object{
			"level": "status", "code": "NetConnection.Connect.Success",
			"description": "Connection succeeded", "objectEncoding": c.req.objectEncoding,
			"data": rtmp.ECMAArray{
				"version": fmsVersion, "srs_sig": "SRS", "srs_server": s.version.signature(),
				"srs_license": license, "srs_url": projectURL, "srs_version": s.version.String(),
				"srs_authors": authors, "srs_server_ip": local, "srs_pid": os.Getpid(),
				"srs_id": s.ids.asJSON(c.cid),
			},
		})
	if err != nil {
		return err
	}
	return c.Command(0, "onBWDone", 0, nil)
}

// next is the next command; what isn't one is dropped.
func (c *client) next() (rtmp.Command, error) {
	for {
		m, err := c.ReadMessage()
		if err != nil {
			return rtmp.Command{}, err
		}
		if m.Type == rtmp.TypeCommandAMF0 || m.Type == rtmp.TypeCommandAMF3 {
			return rtmp.ParseCommand(m)
		}
	}
}

// command deals with the commands around a stream, up to the end of the stream.
func (c *client) command() error {
	cmd, err := c.next()
	if err != nil {
		return fmt.Errorf("rtmp: identify client: %w", err)
	}
	stream, _ := cmd.Arg(1).(string)
	switch cmd.Name {
	case "createStream":
		c.hasStream = true
		return c.Command(0, "_result", cmd.Transaction, nil, streamID)
	case "releaseStream", "FCPublish":
		c.req.publishLikeFlash = false
		return c.acknowledge(cmd)
	case "publish":
		return c.publish(stream)
	case "play":
		return c.play(stream)
	}
	if cmd.Transaction > 0 && !c.hasStream {
		return c.acknowledge(cmd)
	}
	return nil // SRS answers nothing else between createStream and play
}

func (c *client) acknowledge(cmd rtmp.Command) error {
	return c.Command(0, "_result", cmd.Transaction, nil, nil)
}

func (c *client) status(command, level, code, description string) error {
	info := rtmp.Object{"code": code, "description": description, "clientid": "ASAICiss", "details": "stream"}
	if level != "" {
		info["level"] = level
	}
	return c.Command(streamID, command, 0, nil, info)
}

// identify finds the stream that the client names.
func (c *client) identify(stream, kind string) (*source, error) {
	s := c.server
	c.req.stream = stream
	c.req.discover()
	v := s.vhostFor(c.req.vhost)
	if v == nil || !v.enabled {
		return nil, fmt.Errorf("check vhost : rtmp: no vhost %s", c.req.vhost)
	}
	c.req.vhost = v.name
	s.log.trace(c.cid, "client identified, type=%s, vhost=%s, app=%s, stream=%s, param=%s", kind, c.req.vhost, c.req.app, c.req.stream, c.req.param)
	if c.req.stream == "" {
		return nil, errors.New("rtmp: empty stream")
	}
	c.conn.timeouts(rtmpTimeout, rtmpTimeout)
	s.thread.Lock()
	defer s.thread.Unlock()
	src, _ := s.source(c.req, v)
	src.idleSince = time.Now() // not to be freed before it's used
	s.stats.connected(c.conn, c.req, kind, false)
	s.log.trace(c.cid, "source url=%s, ip=%s, cache=%d, is_edge=%d, source_id=%s", src.key, c.conn.ip, bit(v.gopCache), bit(v.remote), src.id)
	return src, nil
}

func (c *client) play(stream string) error {
	src, err := c.identify(stream, c.server.playKind(false))
	if err != nil {
		return err
	}
	if err := c.startPlay(); err != nil {
		return err
	}
	s := c.server
	s.thread.Lock()
	inactive := !src.publishing
	s.thread.Unlock()
	if inactive && !src.vhost.remote && src.vhost.originCluster {
		return c.redirect(src)
	}
	return c.deliver(src)
}

// startPlay says that the stream plays, before anybody knows whether there is one.
func (c *client) startPlay() error {
	if err := c.UserControl(rtmp.EventStreamBegin, streamID); err != nil {
		return err
	}
	if err := c.status("onStatus", "status", "NetStream.Play.Reset", "Playing and resetting stream."); err != nil {
		return err
	}
	if err := c.status("onStatus", "status", "NetStream.Play.Start", "Started playing stream."); err != nil {
		return err
	}
	for _, data := range [][]any{
		{"|RtmpSampleAccess", true, true},
		{"onStatus", rtmp.Object{"code": "NetStream.Data.Start"}},
	} {
		payload, err := rtmp.EncodeAMF0(data...)
		if err != nil {
			return err
		}
		if err := c.WriteMessage(rtmp.Message{Type: rtmp.TypeDataAMF0, StreamID: streamID, Payload: payload}); err != nil {
			return err
		}
	}
	return nil
}

// redirect sends the client to the coworker that has the stream.
func (c *client) redirect(src *source) error {
	s := c.server
	host, port, err := s.elsewhere(c.req, src.vhost)
	if err != nil {
		return err
	}
	to := fmt.Sprintf("rtmp://%s:%d/%s/%s", host, port, c.req.app, c.req.streamWithQuery())
	s.log.trace(c.cid, "rtmp: redirect in cluster, from=%s:%d, target=%s:%d, rurl=%s", c.req.host, c.req.port, host, port, to)
	err = c.Command(0, "onStatus", 0, nil, rtmp.Object{
		"level": "error", "code": "NetConnection.Connect.Rejected", "description": "RTMP 302 Redirect",
		// redirect is the tcUrl, redirect2 the URL of the stream.
		"ex": rtmp.Object{"code": 302, "redirect": "rtmp:/" + path.Dir(to[len("rtmp:/"):]), "redirect2": to},
	})
	if err != nil {
		return err
	}
	// A client may answer; whether it does changes nothing.
	c.conn.timeouts(redirectTimeout, rtmpTimeout)
	c.next()
	return errRedirect
}

// deliver writes the stream to the player.
func (c *client) deliver(src *source) error {
	s := c.server
	s.thread.Lock()
	consumer := src.consume(src.vhost.mwMessages, src.vhost.mwLatency)
	s.thread.Unlock()
	defer func() {
		s.thread.Lock()
		defer s.thread.Unlock()
		src.leave(consumer)
	}()
	s.log.trace(c.cid, "start play mw_sleep=%d, mw_msgs=%d", src.vhost.mwLatency.Milliseconds(), src.vhost.mwMessages)
	c.conn.timeouts(0, rtmpTimeout) // a player need not say anything
	ended := make(chan error, 1)
	go func() { ended <- c.listen(consumer) }()
	var batch []queued
	for {
		s.thread.Lock()
		if batch = batch[:0]; consumer.due() {
			batch = consumer.take(batch)
		}
		consumer.waiting = len(batch) == 0
		s.thread.Unlock()
		if len(batch) == 0 {
			select {
			case err := <-ended:
				return fmt.Errorf("rtmp: play control message: %w", err)
			case <-consumer.ready:
			}
			continue
		}
		for _, q := range batch {
			if err := c.BufferMessage(q.message()); err != nil {
				return fmt.Errorf("rtmp: send %d messages: %w", len(batch), err)
			}
		}
		if err := c.Flush(); err != nil {
			return fmt.Errorf("rtmp: send %d messages: %w", len(batch), err)
		}
		select {
		case err := <-ended:
			return fmt.Errorf("rtmp: play control message: %w", err)
		default:
		}
	}
}

// listen takes a player's commands while it plays.
func (c *client) listen(consumer *consumer) error {
	for {
		cmd, err := c.next()
		if err != nil {
			return err
		}
		switch cmd.Name {
		case "closeStream":
			return errCloseStream
		case "pause":
			paused, _ := cmd.Arg(1).(bool)
			if err := c.pause(consumer, paused); err != nil {
				return err
			}
		default:
			if cmd.Transaction > 0 {
				if err := c.acknowledge(cmd); err != nil {
					return err
				}
			}
		}
	}
}

func (c *client) pause(consumer *consumer, paused bool) error {
	name, text := "NetStream.Unpause.Notify", "Unpaused stream."
	if paused {
		name, text = "NetStream.Pause.Notify", "Paused stream."
	}
	if err := c.status("onStatus", "status", name, text); err != nil {
		return err
	}
	c.server.thread.Lock()
	defer c.server.thread.Unlock()
	consumer.paused = paused
	return nil
}

func (c *client) publish(stream string) error {
	kind := kindFMLEPublish
	if c.req.publishLikeFlash {
		kind = kindFlashPublish
	}
	src, err := c.identify(stream, kind)
	if err != nil {
		return err
	}
	// SRS accepts before it looks whether the stream is busy; a second publisher is cut right after.
	if !c.req.publishLikeFlash {
		if err := c.status("onFCPublish", "", "NetStream.Publish.Start", "Started publishing stream."); err != nil {
			return err
		}
	}
	if err := c.status("onStatus", "status", "NetStream.Publish.Start", "Started publishing stream."); err != nil {
		return err
	}
	if src.vhost.remote {
		return c.publishThrough(src)
	}
	return c.publishHere(src)
}

// publishHere is an origin's part.
func (c *client) publishHere(src *source) error {
	s := c.server
	s.thread.Lock()
	busy := src.publishing
	if !busy {
		src.publish(c.cid)
	}
	s.thread.Unlock()
	if busy {
		return fmt.Errorf("rtmp: stream %s is busy", src.key)
	}
	defer func() {
		s.thread.Lock()
		defer s.thread.Unlock()
		src.unpublish()
	}()
	return c.receive(src, func(m rtmp.Message) error { src.message(m); return nil })
}

// publishThrough is an edge's part: everything goes on to an origin.
func (c *client) publishThrough(src *source) error {
	s := c.server
	f := &forwarder{source: src, cid: c.cid, start: -1, end: -1}
	s.thread.Lock()
	busy := src.pushing != nil
	if !busy {
		src.pushing = f
	}
	s.thread.Unlock()
	if busy {
		return fmt.Errorf("rtmp: stream %s is busy", src.key)
	}
	defer func() {
		s.thread.Lock()
		defer s.thread.Unlock()
		src.stopPush(f)
	}()
	if err := src.startPush(f); err != nil {
		s.log.trace(c.cid, "edge revert to state init (push), error %v", err)
		return fmt.Errorf("rtmp: edge start publish : %w", err)
	}
	return c.receive(src, f.proxy)
}

// receive hands a publisher's messages on, under the thread, until it ends.
func (c *client) receive(src *source, take func(rtmp.Message) error) error {
	s := c.server
	s.log.trace(c.cid, "start publish p1stpt=%d, pnt=%d", src.vhost.firstPacketTimeout.Milliseconds(), src.vhost.normalTimeout.Milliseconds())
	c.conn.timeouts(src.vhost.firstPacketTimeout, rtmpTimeout)
	for first := true; ; first = false {
		m, err := c.ReadMessage()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return fmt.Errorf("rtmp: publish timeout: %w", err)
			}
			return fmt.Errorf("rtmp: receive thread: %w", err)
		}
		if first {
			c.conn.timeouts(src.vhost.normalTimeout, rtmpTimeout)
		}
		switch m.Type {
		case rtmp.TypeCommandAMF0, rtmp.TypeCommandAMF3:
			if err := c.publisherCommand(m); err != nil {
				return err
			}
		case rtmp.TypeAudio, rtmp.TypeVideo, rtmp.TypeDataAMF0, rtmp.TypeDataAMF3:
			s.thread.Lock()
			err := take(m)
			s.thread.Unlock()
			if err != nil {
				return fmt.Errorf("rtmp: consume message: %w", err)
			}
		}
	}
}

// publisherCommand ends the stream at FCUnpublish, or at any command where the publisher behaves like Flash.
func (c *client) publisherCommand(m rtmp.Message) error {
	cmd, err := rtmp.ParseCommand(m)
	if err != nil {
		return err
	}
	switch {
	case c.req.publishLikeFlash:
		return errRepublish
	case cmd.Name != "FCUnpublish":
		return nil
	}
	if err := c.status("onFCUnpublish", "", "NetStream.Unpublish.Success", "Stop publishing stream."); err != nil {
		return err
	}
	if err := c.acknowledge(cmd); err != nil {
		return err
	}
	if err := c.status("onStatus", "status", "NetStream.Unpublish.Success", "Stream is now unpublished"); err != nil {
		return err
	}
	return errRepublish
}
