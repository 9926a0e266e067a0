package crashafter

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// install puts a shell script in the place of the original and returns the wrapper's path.
func install(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "srs")
	for name, text := range map[string]string{path: "", path + ".original": "#!/bin/sh\n" + script} {
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func ready(t *testing.T) string {
	server := httptest.NewServer(http.NotFoundHandler()) // any answer counts
	t.Cleanup(server.Close)
	return server.URL
}

func TestItCrashesAfterReady(t *testing.T) {
	t.Setenv(delayEnv, "0.1")
	began := time.Now()
	code, err := run([]string{install(t, "exec sleep 30")}, ready(t))
	if code != 139 || err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("exit %d, %v after %v", code, err, time.Since(began))
	}
}

func TestItDoesNotCrashBeforeReady(t *testing.T) {
	t.Setenv(delayEnv, "0")
	code, err := run([]string{install(t, "sleep 0.5; exit 7")}, "http://127.0.0.1:1/")
	if code != 7 || err != nil {
		t.Errorf("exit %d, %v: want the original's 7", code, err)
	}
}

func TestSignalsReachTheOriginal(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "up")
	path := install(t, `trap 'exit 3' TERM; : > "$1"; while :; do sleep 0.05; done`)
	go func() {
		for {
			if _, err := os.Stat(marker); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		syscall.Kill(os.Getpid(), syscall.SIGTERM)
	}()
	code, err := run([]string{path, marker}, "http://127.0.0.1:1/")
	if code != 3 || err != nil {
		t.Errorf("exit %d, %v: want the trap's 3", code, err)
	}
}

func TestAnOriginalThatIsKilledCountsAsThat(t *testing.T) {
	code, err := run([]string{install(t, "kill -9 $$")}, "http://127.0.0.1:1/")
	if code != 137 || err != nil {
		t.Errorf("exit %d, %v", code, err)
	}
}

func TestTheDelay(t *testing.T) {
	dir := t.TempDir()
	check := func(want time.Duration) {
		t.Helper()
		if got, err := delayFor(dir); got != want || err != nil {
			t.Errorf("%v, %v: want %v", got, err, want)
		}
	}
	check(defaultDelay)
	os.WriteFile(filepath.Join(dir, delayName), []byte("12\n"), 0o644)
	check(12 * time.Second)
	t.Setenv(delayEnv, "0.5")
	check(500 * time.Millisecond)
	t.Setenv(delayEnv, "soon")
	if _, err := delayFor(dir); err == nil {
		t.Error("soon was accepted")
	}
}

func TestInstalled(t *testing.T) {
	path := install(t, "")
	if !Installed(path) || Installed(path+".original") || Installed("no-such-program") {
		t.Error("only a program with an original beside it is wrapped")
	}
}
