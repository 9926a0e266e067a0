package main

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the tests start this binary as one of the programs.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_PROGRAM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func program(t *testing.T, name string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	stderr := &bytes.Buffer{}
	return &exec.Cmd{Path: self, Args: []string{name}, Env: append(os.Environ(), "RUN_PROGRAM=1"), Stderr: stderr}, stderr
}

func TestWrongNamesAndWrongUsePrintOneLine(t *testing.T) {
	for name, want := range map[string]string{"/bin/nonsense": "the names are bash, fakesrs, kill, ", "/bin/rtmp-load": "nothing to do", "/bin/kill": "usage: kill"} {
		cmd, stderr := program(t, name)
		cmd.Run()
		if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(stderr.String(), want) || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%s: exit %d, %q", name, cmd.ProcessState.ExitCode(), stderr)
		}
	}
}

func TestPauseWaitsForASignal(t *testing.T) {
	cmd, stderr := program(t, "/pause")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	time.Sleep(300 * time.Millisecond) // until it listens to signals
	cmd.Process.Signal(syscall.SIGCHLD)
	select {
	case err := <-exited:
		t.Fatalf("it did not wait: %v, %s", err, stderr)
	case <-time.After(100 * time.Millisecond):
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := <-exited; err != nil {
		t.Errorf("%v, %s", err, stderr)
	}
}

func TestKillSendsTheSignal(t *testing.T) {
	sleep := exec.Command("sleep", "30")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, stderr := program(t, "/bin/kill")
	cmd.Args = append(cmd.Args, "-INT", strconv.Itoa(sleep.Process.Pid))
	if err := cmd.Run(); err != nil {
		t.Errorf("%v, %s", err, stderr)
	}
	if sleep.Wait(); sleep.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGINT {
		t.Errorf("ended by %v", sleep.ProcessState)
	}
}
