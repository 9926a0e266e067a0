package fakesrs

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// directive is one statement of srs.conf: a name, arguments, and the block behind it, if any.
type directive struct {
	name  string
	args  []string
	block []*directive
}

// arg is the first argument, or fallback where there is none. It may be called on nil, as the methods below.
func (d *directive) arg(fallback string) string {
	if d == nil || len(d.args) == 0 {
		return fallback
	}
	return d.args[0]
}

func (d *directive) on() bool { return d.arg("off") == "on" }

func (d *directive) number(fallback int) int {
	n, err := strconv.Atoi(d.arg(""))
	if err != nil {
		return fallback
	}
	return n
}

func (d *directive) milliseconds(fallback int) time.Duration {
	return time.Duration(d.number(fallback)) * time.Millisecond
}

// get is the first directive of this path of names, nil where there is none.
func (d *directive) get(path ...string) *directive {
	for _, name := range path {
		if d == nil {
			return nil
		}
		i := slices.IndexFunc(d.block, func(inner *directive) bool { return inner.name == name })
		if i < 0 {
			return nil
		}
		d = d.block[i]
	}
	return d
}

// token is a piece of srs.conf. A brace ends a block only where a word could begin: `on}` is one word.
var token = regexp.MustCompile(`#[^\n]*|"[^"]*"|'[^']*'|[;{}\n]|[^\s;{]+`)

// parseConf parses srs.conf. The grammar is nginx's, with one difference: a directive may not continue on the next
// line.
func parseConf(text string) (*directive, error) {
	blocks := []*directive{{}}
	var words []string
	line := 1
	for _, word := range token.FindAllString(text, -1) {
		block := blocks[len(blocks)-1]
		unexpected := fmt.Errorf("line %d: unexpected %q", line, word)
		switch {
		case word == "\n" && len(words) > 0:
			return nil, fmt.Errorf("line %d: unexpected end of line to parse token %s", line, words[0])
		case word == "\n":
			line++
		case word[0] == '#':
		case word == ";" || word == "{":
			if len(words) == 0 {
				return nil, unexpected
			}
			d := &directive{name: words[0], args: words[1:]}
			block.block = append(block.block, d)
			words = nil
			if word == "{" {
				blocks = append(blocks, d)
			}
		case word == "}":
			if len(words) > 0 || len(blocks) == 1 {
				return nil, unexpected
			}
			blocks = blocks[:len(blocks)-1]
		default:
			words = append(words, strings.Trim(word, `"'`))
		}
	}
	if len(words) > 0 || len(blocks) > 1 {
		return nil, fmt.Errorf(`line %d: unexpected end of file, expecting ; or "}"`, line)
	}
	return blocks[0], nil
}

// known are the directives that SRS knows, by block; other blocks are not checked. Only grace_start_wait and exporter
// depend on the version here.
var known = map[string][]string{
	"": strings.Fields(`asprocess chunk_size daemon exporter ff_log_dir ff_log_level force_grace_quit grace_final_wait
		grace_start_wait heartbeat http_api http_server listen max_connections pid pithy_print_ms rtc_server
		srs_log_file srs_log_level srs_log_tank srt_server stats stream_caster utc_time vhost work_dir`),
	"vhost": strings.Fields(`bandcheck chunk_size cluster dash dvr enabled exec forward hds hls http_hooks http_remux
		http_static in_ack_size ingest min_latency nack out_ack_size play publish refer rtc security srt tcp_nodelay
		transcode twcc`),
}

// checkConf is SRS's check of the configuration, with its messages.
func checkConf(root *directive, v version) error {
	if len(root.block) == 0 {
		return errors.New("conf is empty")
	}
	for _, d := range root.block {
		if !slices.Contains(known[""], d.name) || d.name == "grace_start_wait" && !v.knowsStartWait() ||
			d.name == "exporter" && !v.exports() {
			return fmt.Errorf("illegal directive %s", d.name)
		}
		for _, inner := range d.block {
			if names := known[d.name]; names != nil && !slices.Contains(names, inner.name) {
				return fmt.Errorf("illegal %s.%s", d.name, inner.name)
			}
		}
	}
	return nil
}

// settings is what is used of srs.conf, with SRS's defaults.
type settings struct {
	rtmp, api, http, https, exporter string // host:port to listen on; "": off

	key, cert      string // the files of https
	maxConnections int

	forceGraceQuit bool
	graceStartWait time.Duration
	graceFinalWait time.Duration

	edge          bool
	origins       []string // of an edge
	originCluster bool
	coworkers     []string // of an origin
	vhostOff      bool     // every client is rejected
	denyPublish   bool
	onPublish     string // the URL of a hook; "": none
	onPlay        string
	httpFLV       bool
	gopCache      bool
	hls           hlsSettings
}

func newSettings(root *directive, v version) settings {
	address := func(block ...string) string {
		d := root.get(block...)
		if !d.get("enabled").on() {
			return ""
		}
		return listenAddress(d.get("listen").arg("0"))
	}
	s := settings{
		rtmp:           listenAddress(root.get("listen").arg("1935")),
		api:            address("http_api"),
		http:           address("http_server"),
		exporter:       address("exporter"),
		https:          address("http_server", "https"),
		key:            root.get("http_server", "https", "key").arg(""),
		cert:           root.get("http_server", "https", "cert").arg(""),
		maxConnections: root.get("max_connections").number(1000),
		forceGraceQuit: root.get("force_grace_quit").on(),
		graceStartWait: root.get("grace_start_wait").milliseconds(2300),
		graceFinalWait: root.get("grace_final_wait").milliseconds(3200),
		vhostOff:       root.get("vhost", "enabled").arg("on") != "on",
		httpFLV:        root.get("vhost", "http_remux", "enabled").on(),
		gopCache:       root.get("vhost", "play", "gop_cache").arg("on") == "on",
		denyPublish:    root.get("vhost", "security", "deny") != nil,
		onPublish:      root.get("vhost", "http_hooks", "on_publish").arg(""),
		onPlay:         root.get("vhost", "http_hooks", "on_play").arg(""),
		hls:            newHLSSettings(root.get("vhost", "hls"), v),
	}
	cluster := root.get("vhost", "cluster")
	s.edge = cluster.get("mode").arg("local") == "remote"
	s.originCluster = cluster.get("origin_cluster").on()
	if d := cluster.get("origin"); d != nil {
		s.origins = d.args
	}
	if d := cluster.get("coworkers"); d != nil {
		s.coworkers = d.args
	}
	return s
}

// listenAddress is host:port for "port" or "host:port".
func listenAddress(text string) string {
	if strings.Contains(text, ":") {
		return text
	}
	return ":" + text
}

// withPort is host:port for "host" or "host:port".
func withPort(address, port string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(address, port)
}
