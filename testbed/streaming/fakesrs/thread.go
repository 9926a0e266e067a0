package fakesrs

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// thread is the one thread that SRS has: whoever reads or changes the server's state locks it, and every read from and
// write to a connection passes through it. While it is locked for a name lookup, the whole server does nothing, as SRS,
// which calls getaddrinfo in its only thread (srs_tcp_connect). The kernel still accepts connections meanwhile.
type thread struct{ sync.Mutex }

// pass waits until the thread is free.
func (t *thread) pass() {
	t.Lock()
	t.Unlock() //nolint:staticcheck // an empty critical section is the purpose
}

// conn is a connection, of a client or to another server, with SRS's kind of timeouts: for each read and each write.
type conn struct {
	net.Conn
	server *server

	readTimeout, writeTimeout atomic.Int64 // time.Duration; 0: none

	closing sync.Once
	onClose func()
}

// timeouts sets how long one read and one write may take, 0 for ever.
func (c *conn) timeouts(read, write time.Duration) {
	c.readTimeout.Store(int64(read))
	c.writeTimeout.Store(int64(write))
	c.SetDeadline(time.Time{})
}

func (c *conn) Read(p []byte) (int, error) {
	if timeout := c.readTimeout.Load(); timeout > 0 {
		c.SetReadDeadline(time.Now().Add(time.Duration(timeout)))
	}
	n, err := c.Conn.Read(p)
	c.server.received.Add(int64(n))
	c.server.thread.pass()
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	c.server.thread.pass()
	if timeout := c.writeTimeout.Load(); timeout > 0 {
		c.SetWriteDeadline(time.Now().Add(time.Duration(timeout)))
	}
	n, err := c.Conn.Write(p)
	c.server.sent.Add(int64(n))
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

// lookup resolves a name with the thread locked. Like SRS it uses the first address only. Timeouts and attempts are
// those of resolv.conf.
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

// dial looks the name in host:port up and connects; its errors are those of SRS (srs_tcp_connect).
func (s *server) dial(ctx context.Context, address string, timeout time.Duration) (*conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ip, err := s.lookup(host)
	if err != nil {
		return nil, fmt.Errorf("tcp: connect %s to=%dms : get address info", address, timeout.Milliseconds())
	}
	dialer := net.Dialer{Timeout: timeout}
	c, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(ip, port))
	if err != nil {
		return nil, fmt.Errorf("tcp: connect %s to=%dms : connect to %s", address, timeout.Milliseconds(), address)
	}
	s.thread.pass()
	return &conn{Conn: c, server: s}, nil
}
