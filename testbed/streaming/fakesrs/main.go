package fakesrs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// notice is the first line of every run's log.
const notice = "STAND-IN of SRS %s, FOR TESTS ONLY: it imitates SRS and is none"

// Main is the program: the server, or the control script where it's started as etc/init.d/srs.
func Main() {
	if filepath.Base(filepath.Dir(os.Args[0])) == "init.d" {
		os.Exit(control(srsHome, os.Args[1:], os.Stdout))
	}
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}

// options are the arguments of SRS.
type options struct {
	conf                           string
	help, test, version, signature bool
}

// parseOptions reads the arguments as SRS does: letters may stand together, -c takes a file.
func parseOptions(args []string) (options, error) {
	o := options{help: true}
	for i := 0; i < len(args); i++ {
		letters, isOption := cutDash(args[i])
		if !isOption {
			o.help = true
			continue
		}
		for at := 0; at < len(letters); at++ {
			switch letter := letters[at]; letter {
			case 'h', '?':
				o.help = true
			case 't':
				o.help, o.test = false, true
			case 'v', 'V':
				o.help, o.version = false, true
			case 'g', 'G':
				o.help, o.signature = false, true
			case 'c':
				o.help = false
				switch rest := letters[at+1:]; {
				case rest != "":
					o.conf, at = rest, len(letters)
				case i+1 < len(args):
					i++
					o.conf = args[i]
				default:
					return o, errors.New("-c requires params")
				}
			default:
				return o, fmt.Errorf("invalid option: %q", letter)
			}
		}
	}
	return o, nil
}

func cutDash(arg string) (string, bool) {
	if len(arg) > 0 && arg[0] == '-' {
		return arg[1:], true
	}
	return "", false
}

const usage = `SRS stand-in %s, FOR TESTS ONLY

Usage: %s <-h?vVgG>|<[-t] -c filename>
Options:
   -?, -h              : Show this help and exit.
   -v, -V              : Show version and exit.
   -g, -G              : Show server signature and exit.
   -t                  : Test configuration file, exit(error_code).
   -c filename         : Use configuration file to start server.
`

// run is the whole server; it returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	v, err := imageVersion()
	if err != nil {
		fmt.Fprintf(stderr, "stand-in: %v\n", err)
		return 1
	}
	log := &logger{version: v, out: stdout, console: true, main: (&ids{version: v}).connection()}
	err = start(args, v, log, stdout, stderr)
	if err == nil {
		return 0
	}
	number, name := codeConfigInvalid, "(ConfigInvalid)(Configuration is invalid)"
	var numbered *code
	if errors.As(err, &numbered) {
		number, name = numbered.number, ""
	}
	if !v.atLeast(Version{5, 0, 0}) {
		name = ""
	}
	log.error("", "Failed, code=%d%s : %v", number, name, err)
	return number & 0xff // as the kernel cuts what main returns
}

func start(args []string, v Version, log *logger, stdout, stderr io.Writer) error {
	o, err := parseOptions(args[1:])
	switch {
	case err != nil:
		return fmt.Errorf("config parse options : %w", err)
	case o.help:
		fmt.Fprintf(stdout, usage, v, args[0])
		return nil
	case o.version:
		fmt.Fprintln(stderr, v)
		return nil
	case o.signature:
		fmt.Fprintln(stderr, v.signature())
		return nil
	}
	log.trace("", notice, v)
	log.trace("", "XCORE-%s", v.signature())
	if o.conf == "" {
		return errors.New("config parse options : no config, read help: " + args[0] + " -h")
	}
	root, err := loadConf(o.conf)
	if err != nil {
		return fmt.Errorf("config parse options : parse file : %w", err)
	}
	s := newServer(root, v, log)
	if o.test {
		if err := checkConf(root, s.settings, v); err != nil {
			return fmt.Errorf("invalid config, %w", err)
		}
		log.trace("", "config file is ok")
		return nil
	}
	if s.workDir != "" {
		if err := os.Chdir(s.workDir); err != nil {
			return fmt.Errorf("chdir to %s: %w", s.workDir, err)
		}
	}
	if s.logFile != "" {
		log.trace("", "write log to file %s", s.logFile)
		log.trace("", "you can: tailf %s", s.logFile)
		log.toFile(s.logFile)
	} else {
		log.trace("", "write log to console")
	}
	log.trace("", "%s, %s", v.signature(), license)
	if err := checkConf(root, s.settings, v); err != nil {
		return fmt.Errorf("check config : %w", err)
	}
	if s.daemon && !s.keptInForeground(root, v) {
		// SRS forks and goes on in the background. In a container that is its end, which is all there is
		// to imitate.
		log.trace("", "start daemon mode...")
		log.trace("", "father process exit")
		return nil
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGINT, syscall.SIGUSR1)
	defer signal.Stop(signals)
	go func() {
		for sig := range signals {
			s.signal(sig.(syscall.Signal))
		}
	}()
	if err := s.run(); err != nil {
		return fmt.Errorf("run : %w", err)
	}
	return nil
}

// keptInForeground: SRS finds out that it runs in a container, and then doesn't become a daemon. It looks
// at its cgroup too, which tells it of Docker only; that isn't imitated.
func (s *settings) keptInForeground(root *directive, v Version) bool {
	return v.staysInContainers() && root.get("disable_daemon_for_docker").unlessOff() &&
		(os.Getenv("SRS_IN_DOCKER") == "on" || root.get("in_docker").ifOn())
}
