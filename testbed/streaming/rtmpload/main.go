package rtmpload

import (
	"context"
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

// Main is the program: it runs until -duration is over, its standard input is closed, its parent dies,
// or a SIGTERM or SIGINT comes. The exit code is 2 for a wrong command line and else 0.
func Main() {
	cfg, duration, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rtmp-load:", err)
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	if duration > 0 {
		ctx, cancel = context.WithTimeout(ctx, duration)
		defer cancel()
	}
	ctx, cancel = context.WithCancel(ctx)
	go endWithInput(cancel)
	go endWithParent(cancel)
	Run(ctx, cfg, os.Stdout)
}

// endWithInput ends when standard input does, if somebody holds it: /dev/null or a file says nothing.
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
func parse(args []string) (cfg Config, duration time.Duration, err error) {
	flags := flag.NewFlagSet("rtmp-load", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	cfg.tickEvery = time.Second
	var publish, play string
	flags.StringVar(&cfg.RTMPAddr, "rtmp", "", "`host:port` for RTMP")
	flags.StringVar(&cfg.HTTPAddr, "http", "", "`host:port` for HTTP-FLV")
	flags.StringVar(&publish, "publish", "", "`streams` to publish, as in live/a,live/b, each over a connection of its own")
	flags.StringVar(&play, "play", "", "`streams` that the players are spread over (default: the published ones' first)")
	flags.IntVar(&cfg.Players, "players", 0, "number of RTMP players")
	flags.IntVar(&cfg.FLVPlayers, "flv-players", 0, "number of HTTP-FLV players; they start after the RTMP players")
	flags.Float64Var(&cfg.StartRate, "start-rate", 50, "players opened per second at the start; 0: all at once")
	flags.Float64Var(&cfg.SampleRate, "sample-rate", 0, "new connections per second (TCP, handshake, connect, close)")
	flags.IntVar(&cfg.SampleMediaEvery, "sample-media-every", 10, "every k-th sample also waits for its first frame; 0: none")
	flags.DurationVar(&cfg.MediaTimeout, "media-timeout", 5*time.Second, "time for a sample's first frame")
	flags.DurationVar(&cfg.ConnectTimeout, "connect-timeout", 5*time.Second, "time for a connection to be answered")
	flags.IntVar(&cfg.Bitrate, "bitrate", 100, "kbit/s of a published stream, video and audio")
	flags.IntVar(&cfg.FPS, "fps", 25, "frames per second of a published stream")
	flags.DurationVar(&cfg.GOP, "gop", time.Second, "time between its key frames")
	flags.BoolVar(&cfg.Reopen, "reopen", true, "players and publishers that lose their connection come back")
	flags.DurationVar(&cfg.Stall, "stall", time.Second, "a longer silence of a player is a stall")
	flags.DurationVar(&duration, "duration", 0, "how long; 0: until standard input is closed or SIGTERM or SIGINT")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(os.Stdout)
			flags.Usage()
		}
		return cfg, 0, err
	}
	cfg.Publish, cfg.Play = list(publish), list(play)
	if len(cfg.Play) == 0 && len(cfg.Publish) > 0 {
		cfg.Play = cfg.Publish[:1]
	}
	if flags.NArg() > 0 {
		return cfg, 0, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return cfg, duration, cfg.check(duration)
}

func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
}

// check finds what can't be run.
func (cfg *Config) check(duration time.Duration) error {
	needsRTMP := cfg.Players > 0 || cfg.SampleRate > 0 || len(cfg.Publish) > 0
	switch {
	case cfg.Players < 0 || cfg.FLVPlayers < 0 || cfg.SampleRate < 0 || cfg.StartRate < 0 || cfg.SampleMediaEvery < 0 || duration < 0:
		return errors.New("numbers must not be negative")
	case !needsRTMP && cfg.FLVPlayers == 0:
		return errors.New("nothing to do: give -publish, -players, -flv-players or -sample-rate")
	case needsRTMP && cfg.RTMPAddr == "":
		return errors.New("-rtmp is missing")
	case cfg.FLVPlayers > 0 && cfg.HTTPAddr == "":
		return errors.New("-flv-players need -http")
	case cfg.Players+cfg.FLVPlayers > 0 && len(cfg.Play) == 0:
		return errors.New("players need -play or -publish")
	case cfg.ConnectTimeout <= 0 || cfg.MediaTimeout <= 0 || cfg.Stall <= 0 || cfg.GOP <= 0:
		return errors.New("times must be positive")
	case cfg.Bitrate < 1 || cfg.Bitrate > 100_000 || cfg.FPS < 1 || cfg.FPS > 240:
		return errors.New("-bitrate must be 1 to 100000 kbit/s and -fps 1 to 240")
	}
	for _, addr := range []string{cfg.RTMPAddr, cfg.HTTPAddr} {
		if addr == "" {
			continue
		}
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
			return fmt.Errorf("%q isn't host:port", addr)
		}
	}
	seen := map[string]bool{}
	for _, stream := range cfg.Publish {
		if seen[stream] {
			return fmt.Errorf("%s is published twice", stream)
		}
		seen[stream] = true
	}
	for _, stream := range append(append([]string{}, cfg.Publish...), cfg.Play...) {
		if app, name := splitStream(stream); app == "" || name == "" {
			return fmt.Errorf("%q isn't application/stream", stream)
		}
	}
	return nil
}
