package rtmp

import (
	"crypto/rand"
	"fmt"
	"io"
)

const (
	protocolVersion = 3
	handshakeSize   = 1536
)

// ClientHandshake is the simple handshake, which SRS, nginx-rtmp and ffmpeg accept: the digests of the
// undocumented one matter to Flash players only.
func (c *Conn) ClientHandshake() error {
	c0c1, err := hello()
	if err != nil {
		return err
	}
	if _, err := c.conn.Write(c0c1); err != nil {
		return err
	}
	s0s1 := make([]byte, 1+handshakeSize)
	if err := c.readHello(s0s1); err != nil {
		return err
	}
	if _, err := c.conn.Write(s0s1[1:]); err != nil { // C2 is the echo of S1
		return err
	}
	// S2 should echo C1, but servers that answer in the complex form send something else: it's not compared.
	_, err = io.CopyN(io.Discard, c.in, handshakeSize)
	return unexpected(err)
}

// ServerHandshake answers a client's handshake in the simple form.
func (c *Conn) ServerHandshake() error {
	c0c1 := make([]byte, 1+handshakeSize)
	if err := c.readHello(c0c1); err != nil {
		return err
	}
	s0s1, err := hello()
	if err != nil {
		return err
	}
	if _, err := c.conn.Write(append(s0s1, c0c1[1:]...)); err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, c.in, handshakeSize)
	return unexpected(err)
}

// hello is C0 and C1, or S0 and S1: the version, a time of 0, four bytes of 0 (which say "simple"),
// and random bytes.
func hello() ([]byte, error) {
	b := make([]byte, 1+handshakeSize, 1+2*handshakeSize)
	b[0] = protocolVersion
	_, err := rand.Read(b[9:])
	return b, err
}

// readHello checks the version first: whoever speaks another protocol may never send 1537 bytes.
func (c *Conn) readHello(b []byte) error {
	first, err := c.in.ReadByte()
	if err != nil {
		return err
	}
	if first != protocolVersion {
		return fmt.Errorf("rtmp: handshake of version %d", first)
	}
	b[0] = first
	_, err = io.ReadFull(c.in, b[1:])
	return unexpected(err)
}
