package fakesrs

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// thread is the one thread that SRS has: whoever looks at or changes the server's state holds it, and
// every read from and write to a connection passes through it. So while somebody holds it for a name
// lookup, the whole server does nothing, as with SRS, which calls getaddrinfo in its only thread
// (srs_tcp_connect). The kernel still takes connections meanwhile, until the backlog is full.
type thread struct{ sync.Mutex }

// pass waits until the thread is free.
func (t *thread) pass() {
	t.Lock()
	defer t.Unlock()
}

// conn is a connection, a client's or one that the server made, with SRS's kind of time-outs: each read
// and each write has its own, instead of one deadline for a conversation.
type conn struct {
	net.Conn
	thread *thread
	cid    string
	ip     string

	readTimeout, writeTimeout atomic.Int64 // 0: none
	received, sent            atomic.Int64

	closing sync.Once
	onClose func()
}

// timeouts sets how long one read and one write may take, 0 for ever.
func (c *conn) timeouts(read, write time.Duration) {
	c.readTimeout.Store(int64(read))
	c.writeTimeout.Store(int64(write))
	if read == 0 {
		c.SetReadDeadline(time.Time{})
	}
	if write == 0 {
		c.SetWriteDeadline(time.Time{})
	}
}

func (c *conn) Read(p []byte) (int, error) {
	if t := c.readTimeout.Load(); t > 0 {
		c.SetReadDeadline(time.Now().Add(time.Duration(t)))
	}
	n, err := c.Conn.Read(p)
	c.received.Add(int64(n))
	c.thread.pass()
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	c.thread.pass()
	if t := c.writeTimeout.Load(); t > 0 {
		c.SetWriteDeadline(time.Now().Add(time.Duration(t)))
	}
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.closing.Do(func() {
		if c.onClose != nil {
			c.onClose()
		}
	})
	return err
}

// lookup resolves a name while it holds the thread. Like SRS it takes the first address and no other.
// The time-outs and attempts are the resolver's, from resolv.conf; nothing else ends it earlier.
func (s *server) lookup(host string) (string, error) {
	if net.ParseIP(host) != nil {
		return host, nil
	}
	s.thread.Lock()
	defer s.thread.Unlock()
	addresses, err := s.resolver.LookupHost(context.Background(), host)
	if err != nil {
		return "", err
	}
	return addresses[0], nil
}

// dial looks the name up and connects.
func (s *server) dial(ctx context.Context, host, port string, timeout time.Duration) (*conn, error) {
	ip, err := s.lookup(host)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: timeout}
	c, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(ip, port))
	if err != nil {
		return nil, err
	}
	s.thread.pass()
	return &conn{Conn: c, thread: &s.thread}, nil
}
