package fakesrs

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	drainPoll = time.Second
	// drainRefused is how many times in a row the API may refuse the connection: SRS does not run then.
	drainRefused = 15
)

// What bash has to know of the scripts of preStop (model/desired/pre_stop.py).
var (
	deregisterOf = regexp.MustCompile(`(?m)^sleep (\d+)$`)
	timeoutOf    = regexp.MustCompile(`SECONDS \+ (\d+)`)
)

// Bash is the bash of SRS's images, as far as the hooks need it: `bash -c` with the script that waits for the last client,
// or publisher. It does nothing for any other script.
func Bash() { runScript("http://127.0.0.1:1985", os.Args[1:]) }

// runScript runs the script of `-c script` against the SRS with this API.
func runScript(api string, arguments []string) {
	if script := arguments[len(arguments)-1]; strings.Contains(script, "/dev/tcp/") {
		clients := strings.Contains(script, `\"clients\":`)
		waitForLast(api, clients, secondsIn(deregisterOf, script), secondsIn(timeoutOf, script))
	}
}

func secondsIn(pattern *regexp.Regexp, script string) time.Duration {
	found := pattern.FindStringSubmatch(script)
	if found == nil {
		return 0
	}
	n, _ := strconv.Atoi(found[1])
	return time.Duration(n) * time.Second
}

// waitForLast waits until the SRS with this API has no publisher, and with clients no player either, at most for timeout
// after deregister.
func waitForLast(api string, clients bool, deregister, timeout time.Duration) {
	time.Sleep(deregister)
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	end := time.Now().Add(timeout)
	for refused := 0; refused < drainRefused && time.Now().Before(end); time.Sleep(drainPoll) {
		response, err := client.Get(api + "/api/v1/streams/?count=10000")
		if err != nil {
			if strings.Contains(err.Error(), "refused") {
				refused++
			}
			continue
		}
		refused = 0
		var answer struct {
			Streams []struct {
				Clients int
				Publish struct{ Active bool }
			}
		}
		err = json.NewDecoder(response.Body).Decode(&answer)
		response.Body.Close()
		active := false
		for _, stream := range answer.Streams {
			active = active || stream.Publish.Active || clients && stream.Clients > 0
		}
		if err == nil && !active {
			return
		}
	}
}
