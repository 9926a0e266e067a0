package fakesrs

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// tick is how often the main loop checks for signals, and the drain for the end of all connections.
	tick = time.Second

	// httpIdle is how long an HTTP connection may be silent; an idle one delays a drain that long.
	httpIdle = 15 * time.Second
)

// server is one running fake SRS. The fields below thread are guarded by it.
type server struct {
	settings
	version  version
	log      *log.Logger
	resolver *net.Resolver

	sent, received atomic.Int64 // bytes, of all connections

	thread      thread
	listeners   []net.Listener
	conns       map[*conn]bool
	connections int // so far
	sources     map[string]*source
	clients     int  // players and publishers so far
	errors      int  // of those, the ones that have ended: before 6.0.191 every end is an error
	fastQuit    bool // SIGINT, or SIGTERM without force_grace_quit
	graceQuit   bool // SIGQUIT, or SIGTERM with force_grace_quit
}

func newServer(settings settings, v version, logger *log.Logger) *server {
	return &server{
		settings: settings, version: v, log: logger,
		// It follows resolv.conf; a static binary has no other.
		resolver: &net.Resolver{PreferGo: true},
		conns:    map[*conn]bool{},
		sources:  map[string]*source{},
	}
}

// run serves until a quit is complete.
func (s *server) run(signals <-chan os.Signal) error {
	if err := s.listen(); err != nil {
		return fmt.Errorf("run : %w", err)
	}
	go func() {
		for received := range signals {
			s.signal(received)
		}
	}()
	for range time.Tick(tick) {
		s.thread.Lock()
		fast, grace := s.fastQuit, s.graceQuit
		for _, src := range s.sources {
			src.hls.cycle()
		}
		s.thread.Unlock()
		if grace && s.version.drains() {
			s.drain()
		}
		if fast || grace {
			break
		}
	}
	s.thread.Lock() // for good
	for _, src := range s.sources {
		src.hls.quit()
	}
	s.log.Print("srs terminated")
	return nil
}

// signal notes a signal; the main loop acts on it at its next tick.
func (s *server) signal(received os.Signal) {
	s.thread.Lock()
	defer s.thread.Unlock()
	s.log.Printf("signal %v", received)
	if received == syscall.SIGQUIT || received == syscall.SIGTERM && s.forceGraceQuit {
		s.graceQuit = true
	} else {
		s.fastQuit = true
	}
}

// drain is the graceful quit: serve on for the start wait, close all listeners, wait for the connections to end
// without any limit (a fast quit ends the waiting), wait the final wait.
func (s *server) drain() {
	if s.version.knowsStartWait() {
		time.Sleep(s.graceStartWait)
		s.log.Printf("start wait for %dms", s.graceStartWait.Milliseconds())
	}
	s.thread.Lock()
	for _, listener := range s.listeners {
		listener.Close()
	}
	s.thread.Unlock()
	waiting := func() bool {
		s.thread.Lock()
		defer s.thread.Unlock()
		return len(s.conns) > 0 && !s.fastQuit
	}
	// SRS reports less and less often: after 1, 3, 7, 15, 31, 63, 94 seconds, then at least twice a minute.
	for step := 1; waiting(); {
		for i := 0; i < step && waiting(); i++ {
			time.Sleep(tick)
		}
		step = step * 2 % 33
		s.log.Printf("wait for %d conns to quit", s.open())
	}
	time.Sleep(s.graceFinalWait)
	s.log.Printf("final wait for %dms", s.graceFinalWait.Milliseconds())
}

// open is the number of open connections, on all ports.
func (s *server) open() int {
	s.thread.Lock()
	defer s.thread.Unlock()
	return len(s.conns)
}

// listen opens all ports and serves them.
func (s *server) listen() error {
	serve := func(address string, serve func(net.Listener)) error {
		if address == "" {
			return nil
		}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		s.log.Printf("listen at tcp://%s", listener.Addr())
		s.listeners = append(s.listeners, listener)
		go serve(&acceptor{listener, s})
		return nil
	}
	return errors.Join(
		serve(s.rtmp, s.acceptRTMP),
		serve(s.api, s.serveHTTP(s.apiHandler())),
		serve(s.http, s.serveHTTP(http.HandlerFunc(s.serveFLV))),
		serve(s.exporter, s.serveHTTP(http.HandlerFunc(s.serveMetrics))),
		serve(s.https, s.secured(s.serveHTTP(http.HandlerFunc(s.serveFLV)))),
	)
}

func (s *server) acceptRTMP(listener net.Listener) {
	for {
		accepted, err := listener.Accept()
		if err != nil {
			return
		}
		go s.serveRTMP(accepted.(*conn))
	}
}

func (s *server) serveHTTP(handler http.Handler) func(net.Listener) {
	h := &http.Server{
		ReadHeaderTimeout: httpIdle,
		IdleTimeout:       httpIdle,
		ErrorLog:          log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Server", s.version.signature())
			handler.ServeHTTP(w, r)
		}),
	}
	// Serve ends when the listener is closed, and leaves the connections open.
	return func(listener net.Listener) { h.Serve(listener) }
}

// secured serves with TLS. SRS reads the files for each handshake.
func (s *server) secured(serve func(net.Listener)) func(net.Listener) {
	config := &tls.Config{
		MaxVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(s.cert, s.key)
			return &pair, err
		},
	}
	return func(listener net.Listener) { serve(tls.NewListener(listener, config)) }
}

// acceptor limits and registers the connections of a port.
type acceptor struct {
	net.Listener
	server *server
}

func (a *acceptor) Accept() (net.Conn, error) {
	for {
		accepted, err := a.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		if err != nil { // out of descriptors, or the peer closed it already
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if c := a.server.register(accepted); c != nil {
			return c, nil
		}
		accepted.Close()
	}
}

// register is nil where max_connections is reached: the limit counts connections on all ports.
func (s *server) register(accepted net.Conn) *conn {
	c := &conn{Conn: accepted, server: s}
	c.onClose = func() {
		s.thread.Lock()
		defer s.thread.Unlock()
		delete(s.conns, c)
	}
	s.thread.Lock()
	defer s.thread.Unlock()
	if len(s.conns) >= s.maxConnections {
		s.log.Printf("drop client, max=%d, cur=%d for exceed connection limits", s.maxConnections, len(s.conns))
		return nil
	}
	s.conns[c] = true
	s.connections++
	return c
}

// apiHandler is the HTTP API: the probes' version, the number of open connections, and what coworkers ask.
func (s *server) apiHandler() http.Handler {
	api := http.NewServeMux()
	api.HandleFunc("/api/v1/versions", func(w http.ResponseWriter, _ *http.Request) {
		v := s.version
		answer(w, map[string]any{"major": v[0], "minor": v[1], "revision": v[2], "version": v.String()})
	})
	api.HandleFunc("/api/v1/summaries", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"ok": true, "system": map[string]any{"conn_srs": s.open()}})
	})
	api.HandleFunc("/api/v1/streams/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"code": 0, "streams": s.streams()})
	})
	api.HandleFunc("/api/v1/clusters", func(w http.ResponseWriter, r *http.Request) {
		answer(w, clusterAnswer{s.locate(r.FormValue("app"), r.FormValue("stream"), r.FormValue("coworker"))})
	})
	return api
}

// serveMetrics is the exporter: the metrics that alert rules and dashboards use (SrsGoApiMetrics::serve_http).
func (s *server) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	s.thread.Lock()
	defer s.thread.Unlock()
	streams, clients := 0, 0
	for _, src := range s.sources {
		if now := src.clients(); now > 0 {
			streams++
			clients += now
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "# TYPE srs_build_info gauge\nsrs_build_info{version=%q} 1\n", s.version)
	for _, metric := range []struct {
		name, kind string
		value      int64
	}{
		{"srs_send_bytes_total", "counter", s.sent.Load()},
		{"srs_receive_bytes_total", "counter", s.received.Load()},
		{"srs_streams", "gauge", int64(streams)},
		{"srs_clients", "gauge", int64(clients)},
		{"srs_clients_total", "counter", int64(s.clients)},
		{"srs_clients_errs_total", "counter", int64(s.errors)},
	} {
		fmt.Fprintf(w, "# TYPE %s %s\n%s %d\n", metric.name, metric.kind, metric.name, metric.value)
	}
}

func answer(w http.ResponseWriter, data any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"code": 0, "data": data})
}

// streams is what the API says of them.
func (s *server) streams() []map[string]any {
	s.thread.Lock()
	defer s.thread.Unlock()
	streams := []map[string]any{}
	for _, src := range s.sources {
		publish := map[string]any{"active": src.published}
		streams = append(streams, map[string]any{"app": src.app, "name": src.name, "clients": src.clients(), "publish": publish})
	}
	return streams
}
