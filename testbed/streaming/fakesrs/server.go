package fakesrs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is how often the main loop looks whether a signal came, and the drain whether all have gone.
const tick = time.Second

// server is one running stand-in. Fields below thread are guarded by it.
type server struct {
	*settings
	version  Version
	log      *logger
	ids      *ids
	resolver *net.Resolver
	announce func(network, address string) (net.Listener, error)
	id       any    // in the API
	service  string // this run of it, in the metrics
	started  time.Time
	argv     string

	thread    thread
	conns     map[*conn]bool
	listeners []net.Listener
	sources   map[string]*source
	stats     *stats
	fastQuit  bool // SIGINT, or SIGTERM that isn't taken for SIGQUIT
	graceQuit bool // SIGQUIT, or SIGTERM under force_grace_quit
}

func newServer(root *directive, v Version, log *logger) *server {
	s := &server{
		settings: newSettings(root),
		version:  v,
		log:      log,
		ids:      &ids{version: v},
		// The pure Go resolver follows resolv.conf; a static binary has no other.
		service:  randomName(8),
		resolver: &net.Resolver{PreferGo: true},
		announce: net.Listen,
		started:  time.Now(),
		argv:     strings.Join(os.Args, " "),
		conns:    map[*conn]bool{},
		sources:  map[string]*source{},
	}
	s.id = s.ids.thing()
	if s.serverID != "" {
		s.id = s.serverID
	}
	s.stats = newStats(s)
	return s
}

// code is an error with SRS's number, of which the process's exit code is the last byte.
type code struct {
	number int
	text   string
}

func (c *code) Error() string { return c.text }

// SRS's error numbers, as far as they become exit codes.
const (
	codeBind          = 1002 // exit code 234
	codeConfigInvalid = 1023 // exit code 255
	codePidFile       = 1034 // exit code 10
	codePidRunning    = 1035 // exit code 11
)

// run serves until a quit is complete.
func (s *server) run() error {
	if s.pidFile != "" {
		file, err := acquirePid(s.pidFile)
		if err != nil {
			return err
		}
		defer file.Close()
		s.log.trace("", "write pid=%d to %s success!", os.Getpid(), s.pidFile)
	}
	if err := s.listen(); err != nil {
		return err
	}
	s.makeHLSFolder()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for range ticker.C {
		s.thread.Lock()
		fast, grace := s.fastQuit, s.graceQuit
		if s.version.freesSources() {
			s.freeDeadSources()
		}
		s.thread.Unlock()
		if fast || grace {
			s.log.trace("", "cleanup for quit signal fast=%d, grace=%d", bit(fast), bit(grace))
			s.quit(fast, grace)
			s.log.trace("", "srs terminated")
			return nil
		}
	}
	return nil
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// quit does what is to be done before the process ends; whoever is connected then is cut.
func (s *server) quit(fast, grace bool) {
	s.log.warn("", "main cycle terminated, system quit normally.")
	if !s.version.drains() {
		return
	}
	if fast {
		s.closeListeners()
		s.log.trace("", "srs disposed")
	}
	if grace {
		s.drain()
		s.log.trace("", "srs gracefully quit")
	}
}

// drain is the graceful quit: serve on for the start wait, close all listeners, wait for the
// connections to end without any limit (a fast quit ends the waiting), wait the final wait.
func (s *server) drain() {
	if s.version.waitsBeforeDrain() {
		time.Sleep(s.graceStartWait)
		s.log.trace("", "start wait for %dms", s.graceStartWait.Milliseconds())
	}
	s.closeListeners()
	waiting := func() bool {
		s.thread.Lock()
		defer s.thread.Unlock()
		return len(s.conns) > 0 && !s.fastQuit
	}
	// SRS counts aloud more and more rarely: after 1, 3, 7, 15, 31, 63, 94 seconds, then at least
	// twice a minute.
	for step := 1; waiting(); {
		for i := 0; i < step && waiting(); i++ {
			time.Sleep(tick)
		}
		step = step * 2 % 33
		s.log.trace("", "wait for %d conns to quit", s.connections())
	}
	time.Sleep(s.graceFinalWait)
	s.log.trace("", "final wait for %dms", s.graceFinalWait.Milliseconds())
}

// signal notes a signal; the main loop acts on it at its next tick.
func (s *server) signal(sig syscall.Signal) {
	s.thread.Lock()
	defer s.thread.Unlock()
	switch sig {
	case syscall.SIGHUP:
		s.log.warn("", "stand-in: the reload by SIGHUP is not imitated, ignored")
		return
	case syscall.SIGUSR1:
		s.log.warn("", "reopen log file")
		return
	case syscall.SIGTERM:
		if s.forceGraceQuit {
			s.log.trace("", "force gracefully quit, signo=%d", sig)
			sig = syscall.SIGQUIT
		}
	}
	switch {
	case (sig == syscall.SIGINT || sig == syscall.SIGTERM) && !s.fastQuit:
		s.log.trace("", "sig=%d, user terminate program, fast quit", sig)
		s.fastQuit = true
	case sig == syscall.SIGQUIT && !s.graceQuit:
		s.log.trace("", "sig=%d, user start gracefully quit", sig)
		s.graceQuit = true
	}
}

// acquirePid writes the process number into a file and locks it for as long as the process lives.
func acquirePid(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return nil, &code{codePidFile, "acquire pid file : open pid file=" + path + " (" + err.Error() + ")"}
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK}
	if err := syscall.FcntlFlock(file.Fd(), syscall.F_SETLK, &lock); err != nil {
		file.Close()
		return nil, &code{codePidRunning, "acquire pid file : srs is already running"}
	}
	if err := file.Truncate(0); err == nil {
		_, err = file.WriteString(strconv.Itoa(os.Getpid()))
	}
	if err != nil {
		file.Close()
		return nil, &code{codePidFile, "acquire pid file : write pid file=" + path + " (" + err.Error() + ")"}
	}
	return file, nil
}

// listen opens all ports.
func (s *server) listen() error {
	for _, address := range s.listens {
		if err := s.serve("RTMP", address, s.serveRTMP); err != nil {
			return err
		}
	}
	ports := []struct {
		kind string
		listener
		handler http.Handler
	}{
		{"HTTP-API", s.api, s.apiHandler()},
		{"HTTP-Server", s.http, s.httpHandler()},
		{"Exporter-Server", s.exporter, s.exporterHandler()},
	}
	for _, p := range ports {
		if !p.enabled {
			continue
		}
		if err := s.serveHTTP(p.kind, p.listener.listen, p.handler); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) open(kind, address string) (net.Listener, error) {
	host, port := hostPort(address, 0)
	l, err := s.announce("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, &code{codeBind, fmt.Sprintf("listen : %s listen %s : bind (%v)", kind, address, err)}
	}
	s.log.trace("", "%s listen at tcp://%s", kind, l.Addr())
	s.thread.Lock()
	defer s.thread.Unlock()
	s.listeners = append(s.listeners, l)
	return &acceptor{Listener: l, server: s}, nil
}

func (s *server) serve(kind, address string, handle func(*conn)) error {
	l, err := s.open(kind, address)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c.(*conn))
			}()
		}
	}()
	return nil
}

// httpReadTimeout is how long an HTTP connection may be silent; an idle one delays a drain that long.
const httpReadTimeout = 15 * time.Second

func (s *server) serveHTTP(kind, address string, handler http.Handler) error {
	l, err := s.open(kind, address)
	if err != nil {
		return err
	}
	h := &http.Server{
		Handler:           s.withServerHeader(handler),
		ReadHeaderTimeout: httpReadTimeout,
		IdleTimeout:       httpReadTimeout,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	// It ends when the listener is closed, and leaves the connections alone.
	go h.Serve(l)
	return nil
}

// connKey is the key of the *conn in an HTTP request's context.
type connKey struct{}

// acceptor registers what it accepts as connections of the server.
type acceptor struct {
	net.Listener
	server *server
}

func (a *acceptor) Accept() (net.Conn, error) {
	for {
		raw, err := a.Listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil, err
			}
			// Out of descriptors, or the peer is gone already.
			a.server.log.warn("", "accept client failed, err is %v", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if c := a.server.register(raw); c != nil {
			return c, nil
		}
		raw.Close()
	}
}

func (s *server) register(raw net.Conn) *conn {
	ip, _, _ := net.SplitHostPort(raw.RemoteAddr().String())
	c := &conn{Conn: raw, thread: &s.thread, cid: s.ids.connection(), ip: ip}
	s.thread.Lock()
	defer s.thread.Unlock()
	if len(s.conns) >= s.maxConnections {
		s.log.warn("", "accept client failed, err is drop client, max=%d, cur=%d for exceed connection limits", s.maxConnections, len(s.conns))
		return nil
	}
	s.conns[c] = true
	c.onClose = func() {
		s.thread.Lock()
		defer s.thread.Unlock()
		delete(s.conns, c)
		s.stats.disconnected(c)
	}
	return c
}

func (s *server) connections() int {
	s.thread.Lock()
	defer s.thread.Unlock()
	return len(s.conns)
}

func (s *server) closeListeners() {
	s.thread.Lock()
	defer s.thread.Unlock()
	for _, l := range s.listeners {
		l.Close()
	}
	s.listeners = nil
}

// makeHLSFolder makes the folder that SRS would write HLS into; nothing is written there.
func (s *server) makeHLSFolder() {
	for _, v := range s.vhosts {
		if !v.hls || v.remote {
			continue
		}
		path := filepath.Clean(v.hlsPath)
		if err := os.MkdirAll(path, 0o755); err != nil {
			s.log.warn("", "hls: create dir %s failed: %v", path, err)
			continue
		}
		s.log.trace("", "stand-in: hls of vhost %s would be written to %s", v.name, path)
	}
}
