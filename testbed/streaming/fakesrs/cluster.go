package fakesrs

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// coworkerTimeout is how long a coworker may take to answer.
const coworkerTimeout = 30 * time.Second

// clusterAnswer is what an origin of a cluster answers to a coworker that searches a stream.
type clusterAnswer struct {
	Origin *location `json:"origin"`
}

// location is where a stream can be played.
type location struct {
	IP   string `json:"ip"` // also a name
	Port string `json:"port"`
}

// search asks the coworkers for a stream, this server too where it is among them.
func (s *server) search(app, stream string) (*location, error) {
	client := &http.Client{
		Timeout: coworkerTimeout,
		Transport: &http.Transport{
			// The lookup of the coworker's name blocks the whole server.
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				return s.dial(ctx, address, coworkerTimeout)
			},
			DisableKeepAlives: true,
		},
	}
	err := fmt.Errorf("no origin has %s/%s", app, stream)
	for _, coworker := range s.coworkers {
		query := url.Values{"app": {app}, "stream": {stream}, "coworker": {coworker}}
		response, failed := client.Get("http://" + coworker + "/api/v1/clusters?" + query.Encode())
		if failed != nil {
			err = failed
			continue
		}
		var answer struct{ Data clusterAnswer }
		failed = json.NewDecoder(response.Body).Decode(&answer)
		response.Body.Close()
		if failed == nil && answer.Data.Origin != nil {
			return answer.Data.Origin, nil
		}
	}
	return nil, err
}

// locate answers a coworker: nil where the stream is not published here. The host is what the coworker calls this
// server, because the address it listens on may be of no use to others.
func (s *server) locate(app, stream, coworker string) *location {
	s.thread.Lock()
	defer s.thread.Unlock()
	if src := s.sources[app+"/"+stream]; src == nil || !src.published {
		return nil
	}
	host, _, _ := net.SplitHostPort(withPort(coworker, "1985"))
	_, port, _ := net.SplitHostPort(s.listeners[0].Addr().String())
	return &location{IP: host, Port: port}
}
