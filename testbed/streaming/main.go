// Command streaming is every program of the embedded cluster that concerns streams, in one binary: it runs the one
// under whose name it was started (by a link of that name).
package main

import (
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"srs.testbed/streaming/companions"
	"srs.testbed/streaming/fakesrs"
	"srs.testbed/streaming/rtmpload"
)

// programs are the names that this binary can be started under.
var programs = map[string]func(){
	"pause":     pause,
	"rtmp-load": rtmpload.Main,

	// The images of the dev stack; srs is objs/srs in those of SRS.
	"srs":     fakesrs.Main,
	"fakesrs": fakesrs.Main,
	"bash":    fakesrs.Bash,
	"nginx":   companions.Nginx,
	"sh":      companions.Shell,
	"kill":    kill,

	"streaming": func() { fmt.Println("streaming", version) },
}

// version is checked by the testbed before it uses the binary.
const version = "v1.0.0"

func main() {
	name := filepath.Base(os.Args[0])
	run, known := programs[name]
	if !known {
		names := strings.Join(slices.Sorted(maps.Keys(programs)), ", ")
		fmt.Fprintf(os.Stderr, "%s: unknown program; the names are %s\n", name, names)
		os.Exit(2)
	}
	run()
}

// kill sends a signal to a process, `kill -INT 1`: `rollout cut` ends a draining SRS with it.
func kill() {
	signals := map[string]syscall.Signal{"-INT": syscall.SIGINT, "-TERM": syscall.SIGTERM, "-QUIT": syscall.SIGQUIT}
	if len(os.Args) == 3 {
		signal, known := signals[os.Args[1]]
		if pid, err := strconv.Atoi(os.Args[2]); err == nil && known {
			if err := syscall.Kill(pid, signal); err != nil {
				fmt.Fprintf(os.Stderr, "kill: (%d) - %v\n", pid, err)
				os.Exit(1)
			}
			return
		}
	}
	fmt.Fprintln(os.Stderr, "usage: kill -INT|-TERM|-QUIT <pid>")
	os.Exit(2)
}

// pause is the process that keeps a pod's namespaces: it waits to be ended, and as process 1 it reaps the orphans of
// its pod.
func pause() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		// One signal can be for several children.
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 && err != syscall.EINTR {
				break
			}
		}
	}
}
