// Package companions stands in for the other images of the dev stack where none can be pulled: nginx, which serves
// HLS files, and the encoder, which publishes a stream. For the embedded cluster only.
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

// Nginx serves the files of nginx's folder on its unprivileged port, until it is ended.
func Nginx() {
	log.Printf("stand-in for nginx: serving %s on %s", nginxFolder, nginxAddress)
	log.Fatal(http.ListenAndServe(nginxAddress, http.FileServer(http.Dir(nginxFolder))))
}

var target = regexp.MustCompile(`rtmp://([^/\s]+)/(\S+?)[;\s]`)

// Encoder is the shell of the encoder's image: whatever it is told to run, it publishes a synthetic stream to the
// first RTMP URL in there, again and again.
func Encoder() {
	found := target.FindStringSubmatch(strings.Join(os.Args[1:], " ") + " ")
	if found == nil {
		fmt.Fprintln(os.Stderr, "stand-in for the encoder: no rtmp:// URL to publish to in", os.Args[1:])
		os.Exit(2)
	}
	log.Printf("stand-in for the encoder: publishing a synthetic stream to rtmp://%s/%s", found[1], found[2])
	publish := exec.Command("/proc/self/exe", "-rtmp="+found[1], "-publish="+found[2], "-players=0", "-sample-rate=0")
	publish.Args[0] = "rtmp-load"
	publish.Stdout, publish.Stderr = os.Stdout, os.Stderr
	// The publisher ends with its standard input, so it is given one that stays.
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
		os.Exit(0) // the first process of a container takes the others with it
	}()
	log.Fatal(publish.Wait())
}
