package fakesrs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// coworkerTimeout is how long a coworker may take to answer.
const coworkerTimeout = 30 * time.Second

// elsewhere finds the coworker that has the stream and gives its host and port. All are asked, this
// server too where it's among them: it knows the stream as little as before.
func (s *server) elsewhere(r request, v *vhost) (host string, port int, err error) {
	client := &http.Client{
		Timeout: coworkerTimeout,
		Transport: &http.Transport{
			// The dialing looks the name up, which holds up the whole server.
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				host, port, err := net.SplitHostPort(address)
				if err != nil {
					return nil, err
				}
				return s.dial(ctx, host, port, coworkerTimeout)
			},
			DisableKeepAlives: true,
		},
	}
	for i, coworker := range v.coworkers {
		host, port, err = s.askCoworker(client, coworker, r)
		if err == nil && host != "" && port != 0 {
			return host, port, nil
		}
		if err != nil && i == len(v.coworkers)-1 {
			return "", 0, fmt.Errorf("discover coworkers: %w", err)
		}
	}
	return "", 0, fmt.Errorf("no origin")
}

func (s *server) askCoworker(client *http.Client, coworker string, r request) (host string, port int, err error) {
	query := url.Values{"vhost": {r.vhost}, "ip": {r.host}, "app": {r.app}, "stream": {r.stream}, "coworker": {coworker}}
	from := "http://" + coworker + "/api/v1/clusters?" + query.Encode()
	response, err := client.Post(from, "application/json", strings.NewReader(""))
	if err != nil {
		return "", 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return "", 0, err
	}
	var answer struct {
		Code *int
		Data struct {
			Origin *struct {
				IP   string
				Port int
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil || response.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("coworker %s: status %d, %s", coworker, response.StatusCode, body)
	}
	if answer.Code == nil || *answer.Code != 0 || answer.Data.Origin == nil {
		return "", 0, fmt.Errorf("parse data %s", body)
	}
	s.log.trace("", "http: cluster redirect %s:%d ok, url=%s", answer.Data.Origin.IP, answer.Data.Origin.Port, from)
	return answer.Data.Origin.IP, answer.Data.Origin.Port, nil
}

// originOf answers a coworker's question: where this server's stream is to be had, or nil. The host is
// what the coworker calls us, since our own idea of our address may be of no use to others.
func (s *server) originOf(vhostName, coworker, app, stream string) any {
	v := s.vhostFor(vhostName)
	if v == nil {
		return nil
	}
	r := request{vhost: v.name, app: app, stream: stream}
	s.thread.Lock()
	src := s.sources[r.key()]
	here := src != nil && src.publishing
	s.thread.Unlock()
	if !here {
		return nil
	}
	host, port := hostPort(s.listens[0], 1935)
	if host == "" || host == "localhost" || host == "127.0.0.1" || host == "::1" {
		host, _ = hostPort(coworker, 1985)
	}
	api := s.api.listen
	if !strings.Contains(api, ":") {
		api = host + ":" + api
	}
	s.log.trace("", "Redirect vhost=%s, path=%s/%s to ip=%s, port=%d, api=%s", vhostName, app, stream, host, port, api)
	return map[string]any{"ip": host, "port": port, "vhost": v.name, "api": api, "routers": []string{api}}
}
