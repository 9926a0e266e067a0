package fakesrs

import (
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
}
`)
	if err != nil {
		t.Fatal(err)
	}
	if got := root.get("listen").args; !reflect.DeepEqual(got, []string{"1935", "127.0.0.1:1936"}) {
		t.Errorf("listen is %q", got)
	}
	if got := root.get("work_dir").arg(""); got != "/a b;{}#" {
		t.Errorf("work_dir is %q", got)
	}
	if got := root.get("vhost", "cluster", "origin").args; !reflect.DeepEqual(got, []string{"a", "b:1936"}) {
		t.Errorf("origin is %q", got)
	}
	if got := root.get("vhost", "no", "such").arg("default"); got != "default" {
		t.Errorf("an absent directive is %q", got)
	}
}

func TestConfErrors(t *testing.T) {
	for text, want := range map[string]string{
		"listen 1935\n;":             "unexpected end of line to parse token listen",
		"vhost x\n{ }":               "unexpected end of line to parse token vhost",
		"listen 1935 # the port\n;":  "unexpected end of line",
		"listen 1935":                "unexpected end of file",
		"vhost x { play { }":         `expecting ; or "}"`,
		"http_api { enabled on}":     "unexpected end of file", // `on}` is a word
		"daemon off; }":              `unexpected "}"`,
		"vhost x { mode }":           `unexpected "}"`,
		"{ }":                        `unexpected "{"`,
		"listen 1935;\nvhost x {;\n": `line 2: unexpected ";"`,
	} {
		if _, err := parseConf(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

const edgeConf = `listen 1935;
max_connections 500;
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

const originConf = `listen 1935;
vhost __defaultVhost__ {
    cluster {
        origin_cluster on;
        coworkers srs-origin-0.socs:1985;
    }
    hls {
        enabled on;
    }
}
`

func TestUnknownDirectivesAreRejectedByVersion(t *testing.T) {
	for _, c := range []struct {
		version version
		conf    string
		want    string
	}{
		{version{4, 0, 5}, edgeConf, "illegal directive grace_start_wait"},
		{version{4, 0, 5}, strings.Replace(edgeConf, "grace_start_wait 700;\n", "", 1), ""},
		{version{4, 0, 6}, edgeConf, ""},
		{version{6, 0, 157}, edgeConf, ""},
		{version{4, 0, 6}, originConf, ""},
		{version{4, 0, 6}, edgeConf + "no_such_directive on;", "illegal directive no_such_directive"},
		{version{4, 0, 6}, "vhost __defaultVhost__ { cache on; }", "illegal vhost.cache"},
		{version{4, 0, 6}, "vhost __defaultVhost__ { tcp_nodelay on; play { gop_cache off; } }", ""},
		{version{4, 0, 6}, "exporter { enabled on; }", "illegal directive exporter"},
		{version{5, 0, 213}, "exporter { enabled on; listen 9972; }", ""},
		{version{4, 0, 6}, "", "conf is empty"},
	} {
		root, err := parseConf(c.conf)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := checkConf(root, c.version); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.version, got, c.want)
		}
	}
}

func TestSettings(t *testing.T) {
	for text, want := range map[string]settings{
		edgeConf: {
			rtmp: ":1935", api: ":1985", http: ":8080", maxConnections: 500, forceGraceQuit: true,
			graceStartWait: 700 * time.Millisecond, graceFinalWait: 800 * time.Millisecond,
			edge: true, origins: []string{"srs-origin-0.socs", "srs-origin-1.socs"}, httpFLV: true, gopCache: true,
		},
		originConf: {
			rtmp: ":1935", maxConnections: 1000,
			graceStartWait: 2300 * time.Millisecond, graceFinalWait: 3200 * time.Millisecond,
			originCluster: true, coworkers: []string{"srs-origin-0.socs:1985"}, gopCache: true,
			hls: hlsSettings{
				enabled: true, folder: "./objs/nginx/html", playlist: "[app]/[stream].m3u8", file: "[app]/[stream]-[seq].ts",
				fragment: 10 * time.Second, target: 15 * time.Second, window: time.Minute,
			},
		},
	} {
		root, err := parseConf(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := newSettings(root, v406); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		text                                string
		drains, startWait, dropsDeadStreams bool
	}{
		{"4.0.5", true, false, false},
		{"4.0.6", true, true, false},
		{"4.0.271", true, true, false},
		{"5.0.213", false, true, false},
		{"5.0.214", false, true, true},
		{"6.0.131", false, true, false},
		{"6.0.132", true, true, false},
		{"6.0.157", true, true, true},
	} {
		v, err := parseVersion(c.text)
		if err != nil || v.String() != c.text {
			t.Errorf("%s is parsed as %s, %v", c.text, v, err)
		}
		if v.drains() != c.drains || v.knowsStartWait() != c.startWait || v.dropsEncoderOfDeadStream() != c.dropsDeadStreams {
			t.Errorf("%s: %v, %v, %v", v, v.drains(), v.knowsStartWait(), v.dropsEncoderOfDeadStream())
		}
	}
	for _, bad := range []string{"", "4.0", "4.0.x", "latest", "3.0.0", "4.0.4", "7.0.0"} {
		if v, err := parseVersion(bad); err == nil {
			t.Errorf("%q is parsed as %s", bad, v)
		}
	}
	if got := (version{6, 0, 157}).signature(); got != "SRS/6.0.157(Hang)" {
		t.Error(got)
	}
}
