package fakesrs

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const defaultVhost = "__defaultVhost__"

// settings is what the stand-in uses of srs.conf, with SRS's defaults.
type settings struct {
	listens        []string
	chunkSize      uint32
	maxConnections int
	daemon         bool
	workDir        string
	pidFile        string
	logFile        string // "": console
	serverID       string

	forceGraceQuit bool
	graceStartWait time.Duration
	graceFinalWait time.Duration

	api, http, exporter listener
	httpDir             string
	label, tag          string // of the exporter

	vhosts map[string]*vhost
}

// listener is an HTTP port that may be off.
type listener struct {
	enabled bool
	listen  string
}

// vhost is a virtual host.
type vhost struct {
	name    string
	enabled bool

	remote        bool // an edge
	origins       []string
	originCluster bool
	coworkers     []string

	remux bool   // HTTP-FLV
	mount string // its path, with [vhost], [app] and [stream]

	hls     bool
	hlsPath string

	gopCache    bool
	jitter      jitterRule
	queueLength time.Duration // more than that is dropped for a slow player
	mwLatency   time.Duration // a player is written to when that much waits for it...
	mwMessages  int           // ...and more messages than this

	firstPacketTimeout time.Duration
	normalTimeout      time.Duration
}

// newSettings reads the tree; it is checked by check, not here.
func newSettings(root *directive) *settings {
	s := &settings{
		listens:        root.get("listen").all(),
		chunkSize:      uint32(root.get("chunk_size").number(60000)),
		maxConnections: root.get("max_connections").number(1000),
		daemon:         root.get("daemon").unlessOff(),
		workDir:        root.get("work_dir").text(""),
		pidFile:        root.get("pid").text("./objs/srs.pid"),
		serverID:       root.get("server_id").text(""),
		forceGraceQuit: root.get("force_grace_quit").ifOn(),
		graceStartWait: root.get("grace_start_wait").milliseconds(2300),
		graceFinalWait: root.get("grace_final_wait").milliseconds(3200),
		api: listener{
			enabled: root.get("http_api", "enabled").ifOn(),
			listen:  root.get("http_api", "listen").text("1985"),
		},
		http: listener{
			enabled: root.get("http_server", "enabled").ifOn(),
			listen:  root.get("http_server", "listen").text("8080"),
		},
		httpDir: root.get("http_server", "dir").text("./objs/nginx/html"),
		exporter: listener{
			enabled: root.get("exporter", "enabled").ifOn(),
			listen:  root.get("exporter", "listen").text("9972"),
		},
		label:  root.get("exporter", "label").text(""),
		tag:    root.get("exporter", "tag").text(""),
		vhosts: map[string]*vhost{},
	}
	if root.get("srs_log_tank").text("file") != "console" {
		s.logFile = root.get("srs_log_file").text("./objs/srs.log")
	}
	for _, d := range root.block {
		if d.name == "vhost" && s.vhosts[d.arg(0)] == nil {
			s.vhosts[d.arg(0)] = newVhost(d)
		}
	}
	return s
}

func newVhost(d *directive) *vhost {
	play, publish, cluster, remux, hls := d.get("play"), d.get("publish"), d.get("cluster"), d.get("http_remux"), d.get("hls")
	// min_latency writes each message at once.
	latency, messages := 350, 8
	if d.get("min_latency").ifOn() {
		latency, messages = 0, 0
	}
	return &vhost{
		name:               d.arg(0),
		enabled:            d.get("enabled").unlessOff(),
		remote:             cluster.get("mode").text("local") == "remote",
		origins:            cluster.get("origin").all(),
		originCluster:      cluster.get("origin_cluster").ifOn(),
		coworkers:          cluster.get("coworkers").all(),
		remux:              remux.get("enabled").ifOn(),
		mount:              remux.get("mount").text("[vhost]/[app]/[stream].flv"),
		hls:                hls.get("enabled").ifOn(),
		hlsPath:            hls.get("hls_path").text("./objs/nginx/html"),
		gopCache:           play.get("gop_cache").unlessOff(),
		jitter:             jitterRule(play.get("time_jitter").text(string(jitterFull))),
		queueLength:        play.get("queue_length").seconds(30),
		mwLatency:          play.get("mw_latency").milliseconds(latency),
		mwMessages:         play.get("mw_msgs").number(messages),
		firstPacketTimeout: publish.get("firstpkt_timeout").milliseconds(20000),
		normalTimeout:      publish.get("normal_timeout").milliseconds(5000),
	}
}

// vhostFor is the virtual host of that name, else the default one, else nil.
func (s *settings) vhostFor(name string) *vhost {
	if v := s.vhosts[name]; v != nil {
		return v
	}
	return s.vhosts[defaultVhost]
}

// rtmpPort is the port of the first listen.
func (s *settings) rtmpPort() int {
	_, port := hostPort(s.listens[0], 1935)
	return port
}

// checkConf is SRS's check of the configuration: the complaint, with the way to it as SRS prints it, or nil.
func checkConf(root *directive, s *settings, v Version) error {
	normal := func(format string, args ...any) error {
		return fmt.Errorf("check normal : "+format, args...)
	}
	if len(root.block) == 0 {
		return normal("conf is empty")
	}
	if text := illegalDirective(root, v); text != "" {
		return normal("%s", text)
	}
	if len(s.listens) == 0 {
		return normal("listen requires params")
	}
	for _, listen := range s.listens {
		if _, port := hostPort(listen, 0); port <= 0 {
			return normal("listen.port=%s is invalid", listen)
		}
	}
	if s.maxConnections <= 0 {
		return fmt.Errorf("check connections : max_connections=%d is invalid", s.maxConnections)
	}
	total, limit := s.descriptors(v), openFiles()
	if total >= limit {
		return fmt.Errorf("check connections : %d exceed max open files=%d", total, limit)
	}
	return nil
}

// descriptors is how many open files SRS reckons with.
func (s *settings) descriptors(v Version) int {
	if v.atLeast(Version{5, 0, 0}) {
		return s.maxConnections + 128
	}
	total := s.maxConnections + len(s.listens) + 2 + 3 // two HTTP ports; stdin, stdout, stderr
	if s.logFile != "" {
		total++
	}
	return total
}

// openFiles is the limit of open files. Go raises the soft limit to the hard one at start, so this is
// the hard one, while SRS looks at the soft one.
func openFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<30 {
		return 1 << 30
	}
	return int(limit.Cur)
}

// hostPort splits "host:port", "port" (for listen) or "host" (for origin).
func hostPort(text string, port int) (string, int) {
	if host, p, err := net.SplitHostPort(text); err == nil {
		if n, err := strconv.Atoi(p); err == nil {
			return host, n
		}
	}
	if n, err := strconv.Atoi(text); err == nil {
		return "", n
	}
	return text, port
}

// The readers of a directive's first argument; each may be asked of nil, for the default.

func (d *directive) text(fallback string) string {
	if t := d.arg(0); t != "" {
		return t
	}
	return fallback
}

func (d *directive) all() []string {
	if d == nil {
		return nil
	}
	return d.args
}

// number reads as C's atoi does: what is no number is 0.
func (d *directive) number(fallback int) int {
	if d.arg(0) == "" {
		return fallback
	}
	digits := strings.TrimLeft(d.arg(0), " ")
	end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		digits = digits[:end]
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}

func (d *directive) milliseconds(fallback int) time.Duration {
	return time.Duration(d.number(fallback)) * time.Millisecond
}

// seconds may have a fraction.
func (d *directive) seconds(fallback float64) time.Duration {
	n, err := strconv.ParseFloat(d.text(""), 64)
	if err != nil {
		n = fallback
	}
	return time.Duration(n * float64(time.Second))
}

// ifOn is for what is off unless it says on, unlessOff for the contrary.
func (d *directive) ifOn() bool      { return d.arg(0) == "on" }
func (d *directive) unlessOff() bool { return d.arg(0) != "off" }
