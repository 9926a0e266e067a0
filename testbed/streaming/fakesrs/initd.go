package fakesrs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// srsHome is where the images have SRS; the control script knows no other place.
const srsHome = "/usr/local/srs"

// pidLine is what the script greps: `pid` at the beginning of a line, up to a semicolon.
var pidLine = regexp.MustCompile(`(?m)^pid\S*[ \t]+([^; \t\n]*)`)

// control is etc/init.d/srs. Of its commands grace, stop, reload, rotate and status are there.
func control(home string, args []string, out io.Writer) int {
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	pid, err := runningPid(home)
	signal := func(sig syscall.Signal, text string) int {
		if err != nil {
			fmt.Fprintln(out, "SRS not start.", err)
			return 0 // the script's own mistake: whoever asks learns nothing
		}
		fmt.Fprintf(out, "%s for SRS(pid %d)...\n", text, pid)
		syscall.Kill(pid, sig)
		return 0
	}
	switch command {
	case "grace":
		return signal(syscall.SIGQUIT, "Gracefully quit")
	case "reload":
		return signal(syscall.SIGHUP, "Reload")
	case "rotate":
		return signal(syscall.SIGUSR1, "Reopen log file")
	case "stop":
		return stop(pid, err, out)
	case "status":
		if err != nil {
			fmt.Fprintln(out, "SRS is stopped,", err)
			return 1
		}
		fmt.Fprintf(out, "SRS(pid %d) is running.\n", pid)
		return 0
	}
	fmt.Fprintln(out, "Usage: srs {stop|status|reload|rotate|grace}")
	return 1
}

// stop asks for 30 s and then kills.
func stop(pid int, err error, out io.Writer) int {
	if err != nil {
		fmt.Fprintln(out, "SRS not start.", err)
		return 0
	}
	for range 100 {
		if syscall.Kill(pid, syscall.SIGTERM) != nil {
			fmt.Fprintln(out, "SRS stopped by SIGTERM")
			return 0
		}
		time.Sleep(300 * time.Millisecond)
	}
	syscall.Kill(pid, syscall.SIGKILL)
	fmt.Fprintln(out, "SRS stopped by SIGKILL")
	return 0
}

// runningPid is the process that the pid file named in conf/srs.conf stands for.
func runningPid(home string) (int, error) {
	file := "./objs/srs.pid"
	if conf, err := os.ReadFile(filepath.Join(home, "conf", "srs.conf")); err == nil {
		if found := pidLine.FindSubmatch(conf); found != nil && len(found[1]) > 0 {
			file = string(found[1])
		}
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(home, file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("file %s does not exist", file)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("file %s holds no process number", file)
	}
	if err := syscall.Kill(pid, 0); err != nil && err != syscall.EPERM {
		return 0, fmt.Errorf("process %d does not exist", pid)
	}
	return pid, nil
}
