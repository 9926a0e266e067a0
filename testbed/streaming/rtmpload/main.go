package rtmpload

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Main is the program: it runs until its standard input is closed, its parent ends, or SIGTERM or SIGINT comes. The
// exit code is 2 for a wrong command line and else 0.
func Main() {
	cfg, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "rtmp-load:", err)
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	go endWithInput(cancel)
	go endWithParent(cancel)
	run(ctx, cfg, os.Stdout)
}

// endWithInput ends when standard input does, if it is a pipe: /dev/null ends at once.
func endWithInput(end func()) {
	info, err := os.Stdin.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return
	}
	io.Copy(io.Discard, os.Stdin)
	end()
}

// endWithParent polls: the kernel's death signal would come when the parent's thread ends, not the parent.
func endWithParent(end func()) {
	parent := os.Getppid()
	for os.Getppid() == parent {
		time.Sleep(500 * time.Millisecond)
	}
	end()
}

// parse reads the command line. Its errors are one line.
func parse(args []string) (config, error) {
	cfg := config{answerTimeout: 5 * time.Second, stall: time.Second, tick: time.Second}
	flags := flag.NewFlagSet("rtmp-load", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var publish, play, ca string
	flags.StringVar(&cfg.rtmp, "rtmp", "", "`host:port` for RTMP")
	flags.StringVar(&cfg.http, "http", "", "`host:port` for HTTP-FLV")
	flags.StringVar(&publish, "publish", "", "`streams` to publish, as in live/a,live/b, each over a connection of its own")
	flags.StringVar(&play, "play", "", "`streams` that the players are spread over")
	flags.IntVar(&cfg.players, "players", 0, "number of RTMP players")
	flags.IntVar(&cfg.flvPlayers, "flv-players", 0, "number of HTTP-FLV players")
	flags.Float64Var(&cfg.startRate, "start-rate", 50, "players opened per second at the start")
	flags.Float64Var(&cfg.sampleRate, "sample-rate", 0, "new connections per second (TCP, handshake, connect, close; with -ca TLS and an answer)")
	flags.DurationVar(&cfg.mediaTimeout, "media-timeout", 5*time.Second, "how long a new connection waits for its first frame")
	flags.StringVar(&ca, "ca", "", "`file` with the authority of the servers' certificates: HTTP-FLV and new connections use HTTPS")
	flags.BoolVar(&cfg.reopen, "reopen", true, "players and publishers that lose their connection reconnect")
	if err := flags.Parse(args); err != nil {
		return cfg, err
	}
	if flags.NArg() > 0 {
		return cfg, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	cfg.publish, cfg.play = list(publish), list(play)
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return cfg, err
		}
		cfg.ca = x509.NewCertPool()
		if !cfg.ca.AppendCertsFromPEM(pem) {
			return cfg, fmt.Errorf("-ca: %s has no certificate", ca)
		}
	}
	return cfg, cfg.check()
}

func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
}

func (cfg *config) check() error {
	needsRTMP := cfg.players > 0 || cfg.sampleRate > 0 || len(cfg.publish) > 0
	switch {
	case cfg.players < 0 || cfg.flvPlayers < 0 || cfg.sampleRate < 0 || cfg.startRate <= 0:
		return errors.New("numbers must not be negative")
	case !needsRTMP && cfg.flvPlayers == 0:
		return errors.New("nothing to do: give -publish, -players, -flv-players or -sample-rate")
	case cfg.players+cfg.flvPlayers > 0 && len(cfg.play) == 0:
		return errors.New("players need -play")
	}
	if _, _, err := net.SplitHostPort(cfg.rtmp); needsRTMP && err != nil {
		return fmt.Errorf("-rtmp: %w", err)
	}
	if _, _, err := net.SplitHostPort(cfg.http); (cfg.flvPlayers > 0 || cfg.ca != nil) && err != nil {
		return fmt.Errorf("-http: %w", err)
	}
	for _, stream := range append(cfg.publish, cfg.play...) {
		if app, name := splitStream(stream); app == "" || name == "" {
			return fmt.Errorf("%q is not application/stream", stream)
		}
	}
	return nil
}

// splitStream splits live/a into application and stream.
func splitStream(stream string) (app, name string) {
	at := strings.LastIndexByte(stream, '/')
	return stream[:max(0, at)], stream[at+1:]
}
