// Package crashafter makes a program crash a while after it became ready, which no probe foresees.
//
// It's installed in the place of a program, say objs/srs, whose original is objs/srs.original beside it.
package crashafter

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	delayName    = "crash-after" // a file beside the program, which holds seconds
	delayEnv     = "CRASH_AFTER" // the same; it goes before the file
	defaultDelay = 5 * time.Second

	// readyURL is what says that SRS is ready, as its readiness probe does.
	readyURL     = "http://127.0.0.1:1985/api/v1/versions"
	pollInterval = 100 * time.Millisecond

	exitCode = 128 + int(syscall.SIGSEGV)
)

// Installed reports whether argv0 is a program whose original lies beside it: then it's Main's turn.
func Installed(argv0 string) bool {
	original, err := originalOf(argv0)
	if err != nil {
		return false
	}
	_, err = os.Stat(original)
	return err == nil
}

// Main runs the original with the same arguments, in the same directory and with the same output, and
// forwards signals to it. Some seconds after it became ready it's killed, and the process exits with 139.
// An original that ends by itself before is followed with its own exit code.
func Main() {
	code, err := run(os.Args, readyURL)
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash-after:", err)
	}
	os.Exit(code)
}

func run(argv []string, readyURL string) (code int, err error) {
	original, err := originalOf(argv[0])
	if err != nil {
		return 1, err
	}
	delay, err := delayFor(filepath.Dir(original))
	if err != nil {
		return 1, err
	}

	// The child dies with the thread that started it, so this goroutine keeps its thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	// argv[0] is the original's own name: a multi-call binary under it must not end up here again.
	child := &exec.Cmd{
		Path: original, Args: append([]string{original}, argv[1:]...),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	}
	if err := child.Start(); err != nil {
		return 1, err
	}
	exited := make(chan struct{})
	go func() {
		child.Wait()
		close(exited)
	}()
	crash := make(chan struct{})
	go func() {
		if awaitReady(readyURL, exited) {
			time.Sleep(delay)
			close(crash)
		}
	}()
	for {
		select {
		case s := <-signals:
			child.Process.Signal(s)
		case <-exited:
			return exitCodeOf(child.ProcessState), nil
		case <-crash:
			fmt.Fprintf(os.Stderr, "srs: signal 11 (crash on purpose, %g s after ready)\n", delay.Seconds())
			child.Process.Kill()
			<-exited
			return exitCode, nil
		}
	}
}

func originalOf(argv0 string) (string, error) {
	path, err := exec.LookPath(argv0)
	return path + ".original", err
}

func delayFor(dir string) (time.Duration, error) {
	text := os.Getenv(delayEnv)
	if text == "" {
		data, err := os.ReadFile(filepath.Join(dir, delayName))
		if os.IsNotExist(err) {
			return defaultDelay, nil
		}
		if err != nil {
			return 0, err
		}
		text = string(data)
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || seconds < 0 {
		return 0, fmt.Errorf("%s says %q; want seconds", delayName, text)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// awaitReady polls until the URL answers, in any way, or the program has exited.
func awaitReady(url string, exited <-chan struct{}) bool {
	// No kept-alive connection: an idle one would hold up SRS's graceful quit by 15 s.
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		if response, err := client.Get(url); err == nil {
			response.Body.Close()
			return true
		}
		select {
		case <-exited:
			return false
		case <-time.After(pollInterval):
		}
	}
}

func exitCodeOf(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}
