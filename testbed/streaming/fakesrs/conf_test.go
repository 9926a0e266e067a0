package fakesrs

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestConfGrammar(t *testing.T) {
	root, err := parseConf(`
# a comment; { not a block
listen 1935 "127.0.0.1:1936";	daemon off; # several on a line, and a comment behind
work_dir '/a b;{}#';
vhost __defaultVhost__ {
    cluster { mode remote; origin a b:1936; }
    play {
        gop_cache off;
    }
}
`)
	if err != nil {
		t.Fatal(err)
	}
	if got := root.get("listen").args; !reflect.DeepEqual(got, []string{"1935", "127.0.0.1:1936"}) {
		t.Errorf("listen is %q", got)
	}
	if got := root.get("work_dir").arg(0); got != "/a b;{}#" {
		t.Errorf("work_dir is %q", got)
	}
	if got := root.get("vhost", "cluster", "origin").args; !reflect.DeepEqual(got, []string{"a", "b:1936"}) {
		t.Errorf("origin is %q", got)
	}
	if got := root.get("vhost", "play", "gop_cache").arg(0); got != "off" {
		t.Errorf("gop_cache is %q", got)
	}
	if got := root.get("vhost", "no", "such").arg(0); got != "" {
		t.Errorf("what isn't there is %q", got)
	}
}

func TestConfErrors(t *testing.T) {
	for text, want := range map[string]string{
		"listen 1935\n;":             "unexpected end of line to parse token listen",
		"vhost x\n{ }":               "unexpected end of line to parse token vhost",
		"listen 1935":                "unexpected end of file",
		"vhost x { play { }":         `expecting "}"`,
		"daemon off; }":              `unexpected "}"`,
		"; ":                         "unexpected ';'",
		"{ }":                        "unexpected '{'",
		`pid "/tmp/x`:                "unexpected end of file",
		`pid "/tmp/x"y;`:             "unexpected 'y'",
		"http_api { enabled on}":     "unexpected end of file", // `on}` is a word
		"vhost x { mode }":           "unexpected '}'",
		"listen 1935 # the port\n;":  "unexpected end of line",
		"listen 1935;\nvhost x {;\n": "line 2: unexpected ';'",
	} {
		if _, err := parseConf(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestConfIncludes(t *testing.T) {
	dir := t.TempDir()
	inner := filepath.Join(dir, "inner.conf")
	outer := filepath.Join(dir, "outer.conf")
	write(t, inner, "daemon off;")
	write(t, outer, "listen 1935; include "+inner+"; pid /tmp/x;")
	root, err := loadConf(outer)
	if err != nil {
		t.Fatal(err)
	}
	if root.get("daemon").arg(0) != "off" || root.get("pid").arg(0) != "/tmp/x" {
		t.Errorf("included: %v", root.block)
	}
	write(t, inner, "include "+outer+";")
	if _, err := loadConf(outer); err == nil {
		t.Error("a file that includes itself is taken")
	}
}

func TestDirectivesOfOldVersionsMove(t *testing.T) {
	root, err := parseConf(`vhost v { gop_cache off; mode remote; origin a; play { mw_latency 100; } queue_length 5; publish_normal_timeout 7000; }`)
	if err != nil {
		t.Fatal(err)
	}
	v := newVhost(root.get("vhost"))
	if v.gopCache || !v.remote || len(v.origins) != 1 || v.mwLatency != 100*time.Millisecond || v.queueLength != 5*time.Second || v.normalTimeout != 7*time.Second {
		t.Errorf("%+v", v)
	}
}

const edgeConf = `listen 1935;
max_connections 1000;
daemon off;
pid /tmp/srs.pid;
srs_log_tank console;
grace_start_wait 700;
grace_final_wait 800;
force_grace_quit on;
http_api {
    enabled on;
    listen 1985;
}
http_server {
    enabled on;
    listen 8080;
}
vhost __defaultVhost__ {
    cluster {
        mode remote;
        origin srs-origin-0.socs srs-origin-1.socs;
    }
    http_remux {
        enabled on;
    }
}
`

func TestDirectivesAreRefusedByVersion(t *testing.T) {
	withoutStartWait := strings.Replace(edgeConf, "grace_start_wait 700;\n", "", 1)
	in := func(text string) string { return withoutStartWait + text }
	inVhost := func(text string) string {
		return strings.Replace(withoutStartWait, "http_remux {", text+"\n    http_remux {", 1)
	}
	for _, c := range []struct {
		name, version, conf, want string
	}{
		{"edge", "4.0.5", edgeConf, "illegal directive grace_start_wait"},
		{"edge", "4.0.6", edgeConf, ""},
		{"edge", "4.0.271", edgeConf, ""},
		{"edge", "5.0.213", edgeConf, ""},
		{"edge", "6.0.157", edgeConf, ""},
		{"edge", "4.0.5", withoutStartWait, ""},
		{"unknown", "6.0.157", in("gop_cashe on;"), "illegal directive gop_cashe"},
		{"misspelt in a block", "4.0.6", in("heartbeat { enable on; }"), "illegal heartbeat.enable"},
		{"http_server by its old name", "4.0.6", strings.Replace(withoutStartWait, "http_server {", "http_server { port 1;", 1), "illegal http_stream.port"},
		{"vhost", "4.0.6", inVhost("cache on;"), "illegal vhost.cache"},
		{"in a vhost's block", "4.0.6", inVhost("play { gop on; }"), "illegal vhost.play.gop of __defaultVhost__"},
		{"exporter", "4.0.271", in("exporter { enabled on; }"), "illegal directive exporter"},
		{"exporter", "5.0.66", in("exporter { enabled on; }"), "illegal directive exporter"},
		{"exporter", "5.0.67", in("exporter { enabled on; }"), ""},
		{"exporter", "6.0.0", in("exporter { enabled on; listen 9972; label a; tag b; }"), ""},
		{"in two branches", "5.0.151", in("http_api { auth { enabled on; } }"), "illegal http_api.auth"},
		{"in two branches", "5.0.152", in("http_api { auth { enabled on; } }"), ""},
		{"in two branches", "6.0.39", in("http_api { auth { enabled on; } }"), "illegal http_api.auth"},
		{"in two branches", "6.0.40", in("http_api { auth { enabled on; } }"), ""},
		{"gone", "5.0.47", inVhost("bandcheck { key x; }"), ""},
		{"gone", "5.0.213", inVhost("bandcheck { key x; }"), ""}, // the block isn't looked into any more
		{"renamed", "4.0.6", in("srt_server { latencies 1; }"), "illegal srt_stream.latencies"},
		{"renamed", "6.0.157", in("srt_server { latencies 1; }"), "illegal srt_server.latencies"},
		{"4.0.6 has no rtc_server", "4.0.6", in("rtc_server { enabled off; }"), "illegal directive rtc_server"},
		{"what operators use", "4.0.5", inVhost("tcp_nodelay on; min_latency on; gop_cache on; play { mw_latency 100; queue_length 10; }"), ""},
		{"what operators use", "6.0.157", in("stats { network 0; } heartbeat { enabled off; }"), ""},
	} {
		t.Run(c.name+" "+c.version, func(t *testing.T) {
			root, err := parseConf(c.conf)
			if err != nil {
				t.Fatal(err)
			}
			if got := illegalDirective(root, mustVersion(c.version)); got != c.want {
				t.Errorf("says %q, want %q", got, c.want)
			}
		})
	}
}

// The table is text, so every entry is read once, for every version.
func TestTableOfDirectivesIsWellFormed(t *testing.T) {
	for scope := range known {
		for _, v := range []string{"4.0.5", "4.0.271", "5.0.0", "5.0.216", "6.0.0", "6.0.157"} {
			directivesOf(scope, mustVersion(v)) // panics on a version that isn't one
		}
	}
}

func TestConfCheck(t *testing.T) {
	for conf, want := range map[string]string{
		"":                                      "conf is empty",
		"daemon off;":                           "listen requires params",
		"listen x;":                             "listen.port=x is invalid",
		"listen 1; max_connections 0;":          "max_connections=0 is invalid",
		"listen 1; max_connections 1e9;":        "", // atoi reads 1
		"listen 1; max_connections 2000000000;": "exceed max open files",
	} {
		root, err := parseConf(conf)
		if err != nil {
			t.Fatal(err)
		}
		err = checkConf(root, newSettings(root), Version{4, 0, 6})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", conf, err, want)
		}
	}
}

func TestSettingsDefaults(t *testing.T) {
	root, err := parseConf("listen 1935; vhost v { }")
	if err != nil {
		t.Fatal(err)
	}
	s := newSettings(root)
	if !s.daemon || s.forceGraceQuit || s.api.enabled || s.http.enabled || s.pidFile != "./objs/srs.pid" || s.logFile == "" {
		t.Errorf("%+v", s)
	}
	if s.graceStartWait != 2300*time.Millisecond || s.graceFinalWait != 3200*time.Millisecond || s.maxConnections != 1000 {
		t.Errorf("%+v", s)
	}
	v := s.vhostFor("v")
	if v == nil || v.remote || v.remux || !v.gopCache || v.mwLatency != 350*time.Millisecond || v.queueLength != 30*time.Second {
		t.Errorf("%+v", v)
	}
	if s.vhostFor("other") != nil {
		t.Error("a vhost that isn't there is found")
	}
}

func TestVersionsDiffer(t *testing.T) {
	for _, c := range []struct {
		version string
		ask     func(Version) bool
		want    bool
	}{
		{"4.0.5", Version.drains, true},
		{"4.0.271", Version.drains, true},
		{"5.0.0", Version.drains, false},
		{"5.0.216", Version.drains, false},
		{"6.0.131", Version.drains, false},
		{"6.0.132", Version.drains, true},
		{"6.0.157", Version.drains, true},
		{"4.0.5", Version.waitsBeforeDrain, false},
		{"4.0.6", Version.waitsBeforeDrain, true},
		{"4.0.11", Version.staysInContainers, false},
		{"4.0.12", Version.staysInContainers, true},
		{"6.0.156", Version.flvFirstIsDeaf, true},
		{"5.0.213", Version.flvFirstIsDeaf, false},
		{"5.0.213", Version.forwarderReports, false},
		{"5.0.214", Version.forwarderReports, true},
		{"6.0.138", Version.forwarderReports, false},
	} {
		if got := c.ask(mustVersion(c.version)); got != c.want {
			t.Errorf("%s: %v", c.version, got)
		}
	}
	for _, bad := range []string{"", "4.0", "4.0.x", "4.0.5.1", "-1.0.0", "latest"} {
		if _, err := ParseVersion(bad); err == nil {
			t.Errorf("%q is taken for a version", bad)
		}
	}
	if v := mustVersion("v6.0.157"); v.signature() != "SRS/6.0.157(Hang)" {
		t.Error(v.signature())
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
