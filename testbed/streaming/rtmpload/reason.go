package rtmpload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"srs.testbed/streaming/rtmp"
)

// httpStatus is an HTTP answer that isn't 200.
type httpStatus int

func (s httpStatus) Error() string { return fmt.Sprintf("http %d", int(s)) }

// errOverload is our own fault: so many samples wait for an answer that no more are started.
var errOverload = errors.New("too many samples in flight")

// reasonFor puts an error into the few words that results are counted by:
//
//	refused      nobody listens, or a firewall says so
//	reset        the peer or something between cut the connection hard
//	eof          the peer closed the connection
//	timeout      no answer in time
//	unreachable  no route, or no such name
//	rejected     the server said no (RTMP)
//	http NNN     the same (HTTP)
//	local        this machine ran out of something
//	protocol     an answer that makes no sense
func reasonFor(err error) string {
	var status httpStatus
	var refused *rtmp.StatusError
	var name *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &status):
		return status.Error()
	case errors.As(err, &refused):
		return "rejected"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EADDRNOTAVAIL),
		errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM), errors.Is(err, errOverload):
		return "local"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return "timeout"
	case errors.As(err, &name):
		return "unreachable"
	case errors.As(err, &network) && network.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "eof"
	}
	return "protocol"
}
