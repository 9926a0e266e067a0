package fakesrs

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// TestBashWaitsForTheLast: the drain of an origin ends with the last publisher, that of an edge with the last player, or
// with its timeout.
func TestBashWaitsForTheLast(t *testing.T) {
	var active atomic.Bool
	active.Store(true)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if active.Load() {
			w.Write([]byte(`{"code":0,"streams":[{"publish":{"active":false}},{"publish":{"active":true}}]}`))
		} else {
			w.Write([]byte(`{"code":0,"streams":[{"clients":3,"publish":{"active":false}}]}`))
		}
	}))
	defer api.Close()
	started := time.Now()
	waitForLast(api.URL, false, 0, 2*time.Second)
	if waited := time.Since(started); waited < 2*time.Second {
		t.Errorf("with a publisher it waited %v, not until its timeout", waited)
	}
	active.Store(false)
	started = time.Now()
	if waitForLast(api.URL, true, 0, 2*time.Second); time.Since(started) < 2*time.Second {
		t.Error("with a player an edge did not wait until its timeout")
	}
	active.Store(true)
	time.AfterFunc(time.Second, func() { active.Store(false) })
	started = time.Now()
	waitForLast(api.URL, false, 0, time.Hour)
	if waited := time.Since(started); waited < time.Second || waited > 5*time.Second {
		t.Errorf("it waited %v for a publisher that left after 1 s", waited)
	}
}

// TestBashServesUntilItIsDeregistered: without a client, too, or load balancers would still send clients to a server that
// has ended.
func TestBashServesUntilItIsDeregistered(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"code":0,"streams":[]}`))
	}))
	defer api.Close()
	script := "sleep 2\nend=$((SECONDS + 43200)) refused=0\nwhile ((SECONDS < end)); do\n  exec 3<>/dev/tcp/127.0.0.1/1985\n  sleep 1\ndone"
	started := time.Now()
	runScript(api.URL, []string{"-c", script})
	if waited := time.Since(started); waited < 2*time.Second || waited > 4*time.Second {
		t.Errorf("it waited %v", waited)
	}
	if d := secondsIn(timeoutOf, script); d != 12*time.Hour {
		t.Errorf("timeout %v", d)
	}
}
