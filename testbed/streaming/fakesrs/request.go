package fakesrs

import (
	"net/url"
	"strconv"
	"strings"
)

// request is what a client wants, as far as it said so.
type request struct {
	tcURL            string
	host             string // in tcURL
	port             int
	vhost            string // from the URL, later the name of the configured one
	app, stream      string
	param            string // what came behind the stream's or the app's name: "?key=value"
	ip               string
	pageURL, swfURL  string
	objectEncoding   float64
	publishLikeFlash bool // any command ends its stream
}

// discover takes tcURL and the stream's name apart.
func (r *request) discover() {
	rest := r.tcURL
	if _, after, found := strings.Cut(rest, "://"); found {
		rest = after
	}
	address, app, _ := strings.Cut(rest, "/")
	r.host, r.port = address, 1935
	if host, port, found := strings.Cut(address, ":"); found {
		r.host = host
		r.port, _ = strconv.Atoi(port)
	}
	if app == "" {
		app = "__defaultApp__"
	}
	r.vhost = r.host
	r.app = r.resolve(app)
	r.stream = r.resolve(r.stream)
	if r.param == "?vhost="+defaultVhost {
		r.param = ""
	}
}

// resolve strips the query off a name. The virtual host can be named in the query of either name.
func (r *request) resolve(name string) string {
	if i := strings.IndexByte(name, '?'); i >= 0 {
		r.param = name[i:]
	}
	if i := strings.IndexAny(name, "?&=,"); i >= 0 {
		if query, err := url.ParseQuery(name[i+1:]); err == nil && query.Get("vhost") != "" {
			r.vhost = query.Get("vhost")
		}
		name = name[:i]
	}
	return strings.Trim(strings.TrimSpace(name), "/")
}

// key names the stream within the server: /live/name, with the virtual host before it unless it's the
// default one.
func (r *request) key() string {
	if r.vhost == defaultVhost {
		return "/" + r.app + "/" + r.stream
	}
	return r.vhost + "/" + r.app + "/" + r.stream
}

// streamWithQuery is the stream's name for the next server, which has to find the same virtual host.
func (r *request) streamWithQuery() string {
	query := strings.TrimPrefix(r.param, "?")
	if !strings.Contains(query, "vhost=") {
		switch {
		case r.vhost != defaultVhost:
			query += "&vhost=" + r.vhost
		case !isIPv4(r.host):
			query += "&vhost=" + r.host
		}
	}
	if query = strings.TrimPrefix(query, "&"); query == "" {
		return r.stream
	}
	return r.stream + "?" + query
}

func isIPv4(host string) bool {
	return strings.IndexFunc(host, func(c rune) bool { return c != '.' && (c < '0' || c > '9') }) < 0
}
