package fakesrs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Codes in answers of the HTTP API.
const (
	codeExporterDisabled = 1090
	codeStreamNotFound   = 2048
	codeClientNotFound   = 2049
)

// garbageBytes is what 4.0 reports as bytes of a stream that has viewers over HTTP-FLV: nonsense.
const garbageBytes = 140_000_000_000_000

func (s *server) withServerHeader(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", s.version.signature())
		w.Header().Set("Connection", "Keep-Alive")
		if c, ok := r.Context().Value(connKey{}).(*conn); ok {
			s.log.trace(c.cid, "HTTP %s %s, ip=%s", r.Method, r.URL, c.ip)
		}
		next.ServeHTTP(w, r)
	})
}

// apiHandler is the HTTP API. It finds handlers as SRS does: the longest known prefix ending in a slash,
// so that any unknown path below /api/v1/ is 200.
func (s *server) apiHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.URL.Path
		switch {
		case p == "/api/v1/versions":
			s.serveVersions(w, r)
		case p == "/api/v1/summaries":
			s.answer(w, "data", s.summaries())
		case p == "/api/v1/clusters":
			s.serveClusters(w, r)
		case p == "/api/v1/clients", p == "/api/v1/streams", p == "/api/v1/vhosts", p == "/api/v1", p == "/api":
			redirectToSlash(w, r)
		case strings.HasPrefix(p, "/api/v1/clients/"):
			s.serveClients(w, r)
		case strings.HasPrefix(p, "/api/v1/streams/"):
			s.serveStreams(w, r)
		case strings.HasPrefix(p, "/api/v1/vhosts/"):
			s.answer(w, "vhosts", s.vhostList())
		case strings.HasPrefix(p, "/api/v1/"):
			s.answer(w, "urls", map[string]any{"versions": "the version of SRS", "stand-in": "a stand-in of SRS, for tests only"})
		case strings.HasPrefix(p, "/api/"):
			s.answer(w, "urls", map[string]any{"v1": "the api version 1.0"})
		case p == "/metrics" && s.version.hasExporter():
			s.serveMetrics(w, r)
		case s.version.answersRoot() && !strings.HasPrefix(p, "/console/"):
			s.answer(w, "urls", map[string]any{"api": "the api root"})
		default:
			notFound(w)
		}
	})
}

func redirectToSlash(w http.ResponseWriter, r *http.Request) {
	to := r.URL.Path + "/"
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", to)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusFound)
	fmt.Fprintf(w, "Redirect to %s", to)
}

func notFound(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusNotFound)
	fmt.Fprint(w, "Not Found")
}

// answer sends {"code":0, "server":id, name: data}.
func (s *server) answer(w http.ResponseWriter, name string, data any) {
	sendJSON(w, map[string]any{"code": 0, "server": s.id, name: data})
}

func sendJSON(w http.ResponseWriter, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

func sendCode(w http.ResponseWriter, code int) { sendJSON(w, map[string]any{"code": code}) }

func (s *server) serveVersions(w http.ResponseWriter, _ *http.Request) {
	s.answer(w, "data", map[string]any{
		"major": s.version[0], "minor": s.version[1], "revision": s.version[2], "version": s.version.String(),
	})
}

// serveClusters tells a coworker whether a stream is here.
func (s *server) serveClusters(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	get := query.Get
	sendJSON(w, map[string]any{"code": 0, "data": map[string]any{
		"query":  map[string]any{"ip": get("ip"), "vhost": get("vhost"), "app": get("app"), "stream": get("stream")},
		"origin": s.originOf(get("vhost"), get("coworker"), get("app"), get("stream")),
	}})
}

// page reads start and count; at least 10 are shown.
func page[T any](r *http.Request, all []T) []T {
	start, _ := strconv.Atoi(r.URL.Query().Get("start"))
	count, _ := strconv.Atoi(r.URL.Query().Get("count"))
	start = min(max(start, 0), len(all))
	return all[start:min(start+max(count, 10), len(all))]
}

func (s *server) serveClients(w http.ResponseWriter, r *http.Request) {
	s.thread.Lock()
	clients := s.stats.sortedClients()
	id := strings.TrimPrefix(r.URL.Path, "/api/v1/clients/")
	list, one := []any{}, (*clientStats)(nil)
	for _, c := range page(r, clients) {
		list = append(list, s.clientJSON(c))
	}
	for _, c := range clients {
		if c.conn.cid == id {
			one = c
		}
	}
	var data any
	if one != nil {
		data = s.clientJSON(one)
	}
	s.thread.Unlock()
	switch {
	case id == "":
		s.answer(w, "clients", list)
	case one == nil:
		sendCode(w, codeClientNotFound)
	case r.Method == http.MethodDelete:
		s.log.warn("", "kickoff client id=%s ok", id)
		one.conn.Close()
		sendCode(w, 0)
	default:
		s.answer(w, "client", data)
	}
}

func (s *server) clientJSON(c *clientStats) map[string]any {
	return map[string]any{
		"id": s.ids.asJSON(c.conn.cid), "vhost": s.stats.vhost(c.request.vhost), "stream": c.stream.id,
		"ip": c.conn.ip, "pageUrl": c.request.pageURL, "swfUrl": c.request.swfURL, "tcUrl": c.request.tcURL,
		"url": c.request.key(), "name": c.request.stream, "type": c.kind,
		"publish": c.kind == kindFMLEPublish || c.kind == kindFlashPublish,
		"alive":   time.Since(c.since).Seconds(),
		"kbps":    map[string]any{"recv_30s": 0, "send_30s": 0},
	}
}

func (s *server) serveStreams(w http.ResponseWriter, r *http.Request) {
	s.thread.Lock()
	id := strings.TrimPrefix(r.URL.Path, "/api/v1/streams/")
	list, one := []any{}, any(nil)
	for _, t := range page(r, s.stats.sortedStreams()) {
		list = append(list, s.streamJSON(t))
	}
	for _, t := range s.stats.streams {
		if fmt.Sprint(t.id) == id {
			one = s.streamJSON(t)
		}
	}
	s.thread.Unlock()
	switch {
	case id == "":
		s.answer(w, "streams", list)
	case one == nil:
		sendCode(w, codeStreamNotFound)
	default:
		s.answer(w, "stream", one)
	}
}

func (s *server) streamJSON(t *streamStats) map[string]any {
	sent := t.sent
	for _, c := range s.stats.clients {
		if c.stream != t {
			continue
		}
		sent += c.conn.sent.Load()
		if s.version[0] == 4 && c.overHTTP {
			sent += garbageBytes
		}
	}
	publish := map[string]any{"active": t.active}
	if t.publisher != "" {
		publish["cid"] = s.ids.asJSON(t.publisher)
	}
	return map[string]any{
		"id": t.id, "name": t.request.stream, "vhost": s.stats.vhost(t.request.vhost), "app": t.request.app,
		"live_ms": time.Now().UnixMilli(), "clients": t.clients, "frames": t.frames,
		"send_bytes": sent, "recv_bytes": t.received, "kbps": map[string]any{"recv_30s": 0, "send_30s": 0},
		"publish": publish, "video": nil, "audio": nil,
	}
}

func (s *server) vhostList() []any {
	s.thread.Lock()
	defer s.thread.Unlock()
	list := []any{}
	for name, id := range s.stats.vhosts {
		list = append(list, map[string]any{"id": id, "name": name, "enabled": true, "clients": len(s.stats.clients), "streams": len(s.stats.streams)})
	}
	return list
}

func (s *server) summaries() map[string]any {
	s.thread.Lock()
	sent, received := s.stats.bytes()
	connections := len(s.conns)
	s.thread.Unlock()
	cwd, _ := os.Getwd()
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	uptime := time.Since(s.started)
	now := time.Now().UnixMilli()
	return map[string]any{
		"ok": true, "now_ms": now,
		"self": map[string]any{
			"version": s.version.String(), "pid": os.Getpid(), "ppid": os.Getppid(), "argv": s.argv, "cwd": cwd,
			"mem_kbyte": usage.Maxrss, "mem_percent": 0, "cpu_percent": cpu.Seconds() / max(uptime.Seconds(), 1),
			"srs_uptime": int64(uptime.Seconds()),
		},
		"system": map[string]any{
			"srs_sample_time": now, "srs_recv_bytes": received, "srs_send_bytes": sent, "conn_srs": connections,
		},
	}
}

func (s *server) exporterHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			notFound(w)
			return
		}
		s.serveMetrics(w, r)
	})
}

// serveMetrics is the Prometheus exporter, with the metrics of SRS that don't need its insides.
func (s *server) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	if !s.exporter.enabled {
		sendCode(w, codeExporterDisabled)
		return
	}
	s.thread.Lock()
	sent, received := s.stats.bytes()
	clients, total, streams := len(s.stats.clients), s.stats.totalClients, s.stats.activeStreams()
	s.thread.Unlock()
	labels := fmt.Sprintf(`server="%v",service="%s",pid="%d",build_date="stand-in",major="%d",version="%s",code="%s"`,
		s.id, s.service, os.Getpid(), s.version[0], s.version, s.version.codeName())
	if s.label != "" {
		labels += fmt.Sprintf(",label=%q", s.label)
	}
	if s.tag != "" {
		labels += fmt.Sprintf(",tag=%q", s.tag)
	}
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	cpu := time.Duration(usage.Utime.Nano()+usage.Stime.Nano()).Seconds() / max(time.Since(s.started).Seconds(), 1) * 100
	metrics := []struct {
		name, kind, labels string
		value              any
	}{
		{"srs_build_info", "gauge", "{" + labels + "}", 1},
		{"srs_cpu_percent", "gauge", "", cpu},
		{"srs_memory", "gauge", "", usage.Maxrss},
		{"srs_send_bytes_total", "counter", "", sent},
		{"srs_receive_bytes_total", "counter", "", received},
		{"srs_streams", "gauge", "", streams},
		{"srs_clients", "gauge", "", clients},
		{"srs_clients_total", "counter", "", total},
		{"srs_clients_errs_total", "counter", "", 0},
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, m := range metrics {
		fmt.Fprintf(w, "# HELP %s Of a stand-in of SRS.\n# TYPE %s %s\n%s%s %v\n", m.name, m.name, m.kind, m.name, m.labels, m.value)
	}
}
