// Package companions are test doubles of the dev stack's other images, where none can be pulled: nginx, which serves HLS
// files, and the encoder, which publishes a stream.
package companions

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
)

const (
	nginxAddress = ":8080"
	nginxFolder  = "/usr/share/nginx/html"
)

// Nginx serves the files of nginx's folder on its unprivileged port.
func Nginx() {
	log.Printf("test double of nginx: serving %s on %s", nginxFolder, nginxAddress)
	log.Fatal(http.ListenAndServe(nginxAddress, http.FileServer(http.Dir(nginxFolder))))
}

var target = regexp.MustCompile(`rtmp://([^/\s]+)/(\S+?)[;\s]`)

// Shell is the shell of both images: it deletes HLS files as the cleaner in nginx's pods does, or publishes a stream to
// the first RTMP URL in its arguments, whatever they are.
func Shell() {
	script := strings.Join(os.Args[1:], " ") + " "
	if minutes := ages.FindAllStringSubmatch(script, -1); len(minutes) == 2 {
		clean(nginxFolder, inMinutes(minutes[0][1]), inMinutes(minutes[1][1]))
	}
	found := target.FindStringSubmatch(script)
	if found == nil {
		fmt.Fprintln(os.Stderr, "test double of the shell: no rtmp:// URL to publish to in", os.Args[1:])
		os.Exit(2)
	}
	log.Printf("test double of the encoder: publishing to rtmp://%s/%s", found[1], found[2])
	publish := exec.Command("/proc/self/exe", "-rtmp="+found[1], "-publish="+found[2])
	publish.Args[0] = "rtmp-load"
	publish.Stdout, publish.Stderr = os.Stdout, os.Stderr
	// The publisher ends with its standard input, so it gets one that stays open.
	if _, err := publish.StdinPipe(); err != nil {
		log.Fatal(err)
	}
	if err := publish.Start(); err != nil {
		log.Fatal(err)
	}
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-ends
		os.Exit(0) // the other processes of a container end with its first one
	}()
	log.Fatal(publish.Wait())
}
