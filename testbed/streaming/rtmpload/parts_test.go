package rtmpload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"srs.testbed/streaming/rtmp"
)

func TestTheCommandLine(t *testing.T) {
	cfg, duration, err := parse(strings.Fields("-rtmp h:1935 -http h:8080 -publish live/a,live/b -players 4 -flv-players 2 -duration 3s"))
	if err != nil || duration != 3*time.Second || !reflect.DeepEqual(cfg.Publish, []string{"live/a", "live/b"}) ||
		!reflect.DeepEqual(cfg.Play, []string{"live/a"}) || !cfg.Reopen || cfg.ConnectTimeout != 5*time.Second {
		t.Errorf("%+v, %v, %v", cfg, duration, err)
	}
	for _, bad := range []string{
		"", "-players 1", "-rtmp h:1 -players 1", "-rtmp h -players 1 -play live/a", "-rtmp h: -players 1 -play live/a",
		"-rtmp h:1 -publish a", "-rtmp h:1 -publish live/", "-rtmp h:1 -publish live/a,live/a", "-http h:1 -rtmp h:1 -players -1",
		"-flv-players 1 -play live/a", "-rtmp h:1 -sample-rate 1 -stall 0s", "-rtmp h:1 -publish live/a -fps 0",
		"-rtmp h:1 -publish live/a -bitrate 0", "-rtmp h:1 -sample-rate 1 more", "-nonsense", "-players many",
		"-rtmp h:1 -sample-rate 1 -duration -1s",
	} {
		if _, _, err := parse(strings.Fields(bad)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestReasons(t *testing.T) {
	op := func(err error) error { return &net.OpError{Op: "read", Err: os.NewSyscallError("read", err)} }
	for _, c := range []struct {
		err  error
		want string
	}{
		{op(syscall.ECONNREFUSED), "refused"},
		{op(syscall.ECONNRESET), "reset"},
		{op(syscall.EPIPE), "reset"},
		{op(syscall.ETIMEDOUT), "timeout"},
		{op(syscall.EMFILE), "local"},
		{op(syscall.EADDRNOTAVAIL), "local"},
		{errOverload, "local"},
		{op(syscall.EHOSTUNREACH), "unreachable"},
		{&net.DNSError{IsNotFound: true}, "unreachable"},
		{context.DeadlineExceeded, "timeout"},
		{os.ErrDeadlineExceeded, "timeout"},
		{io.EOF, "eof"},
		{io.ErrUnexpectedEOF, "eof"},
		{fmt.Errorf("around: %w", &rtmp.StatusError{}), "rejected"},
		{httpStatus(503), "http 503"},
		{errors.New("nonsense"), "protocol"},
	} {
		if got := reasonFor(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

func TestVersionsOfServerHeaders(t *testing.T) {
	for header, want := range map[string]string{"SRS/4.0.6(Leo)": "4.0.6", "SRS/6.0.157": "6.0.157", "nginx": "nginx", "": ""} {
		if got := versionOf(header); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}

func TestHistogramKnowsItsValues(t *testing.T) {
	var h histogram
	if h.quantiles(0.5) != nil {
		t.Error("quantiles of nothing")
	}
	for us := range 10_000 {
		h.add(time.Duration(us+1) * time.Microsecond)
	}
	q := h.quantiles(0.5, 0.99, 1)
	for i, want := range []float64{5000, 9900, 10_000} {
		if got := float64(q[i].Microseconds()); got < want || got > want*17/16 {
			t.Errorf("quantile %d: %v us, want %v", i, got, want)
		}
	}
	if h.most.get() != 10*time.Millisecond {
		t.Errorf("max %v", h.most.get())
	}
	for us := uint64(0); us < 1<<36; us = us*3/2 + 1 {
		step := stepOf(us)
		if high := uint64(upperBound(step) / time.Microsecond); high < us || step > 0 && uint64(upperBound(step-1)/time.Microsecond) >= us {
			t.Fatalf("%d us fell into step %d, up to %d", us, step, high)
		}
	}
	h.add(-time.Second)
	h.add(1 << 62)
	if h.reset(); h.quantiles(0.5) != nil {
		t.Error("something is left after reset")
	}
}

func TestAudioTimeGoesOnForMonths(t *testing.T) {
	const frames = 365 * 24 * 3600 * audioRate / audioFrameLength
	if got := audioTime(frames); got < 364*24*time.Hour || got > 366*24*time.Hour {
		t.Errorf("%v", got)
	}
}
