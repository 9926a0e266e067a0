package fakesrs

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// logger writes lines as SRS does: [time][level][pid][connection] text. Warnings and errors carry the
// errno, which is always 0 here, and are coloured on the console.
type logger struct {
	version Version
	main    string // id of lines that belong to no connection

	mu      sync.Mutex
	out     io.Writer
	console bool
}

const (
	levelTrace = iota
	levelWarn
	levelError
)

var (
	oldLevels = []string{"Trace", "Warn", "Error"}
	newLevels = []string{"INFO", "WARN", "ERROR"}
	colours   = []string{"", "\x1b[33m", "\x1b[31m"}
)

// toFile makes the log go to a file from now on. Without the right to write it there is no log at all,
// as with SRS.
func (l *logger) toFile(path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.console = false
	l.out = io.Discard
	if file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644); err == nil {
		l.out = file
	}
}

func (l *logger) trace(cid, format string, args ...any) { l.print(levelTrace, cid, format, args) }
func (l *logger) warn(cid, format string, args ...any)  { l.print(levelWarn, cid, format, args) }
func (l *logger) error(cid, format string, args ...any) { l.print(levelError, cid, format, args) }

func (l *logger) print(level int, cid, format string, args []any) {
	if cid == "" {
		cid = l.main
	}
	names := oldLevels
	if l.version.log4jLevels() {
		names = newLevels
	}
	var line strings.Builder
	fmt.Fprintf(&line, "[%s][%s][%d][%s]", time.Now().Format("2006-01-02 15:04:05.000"), names[level], os.Getpid(), cid)
	if level > levelTrace {
		line.WriteString("[0]")
	}
	line.WriteByte(' ')
	fmt.Fprintf(&line, format, args...)

	l.mu.Lock()
	defer l.mu.Unlock()
	text := line.String()
	if l.console && level > levelTrace {
		text = colours[level] + text + "\x1b[0m"
	}
	io.WriteString(l.out, text+"\n")
}

// ids gives out the names of connections and of the things in the API.
type ids struct {
	version Version

	mu          sync.Mutex
	connections int
	things      int
}

// connection is a number in old versions, 8 letters and digits in new ones.
func (i *ids) connection() string {
	if i.version.stringIDs() {
		return randomName(8)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.connections == 0 {
		i.connections = 100 + rand.IntN(1000)
	}
	i.connections++
	return strconv.Itoa(i.connections)
}

// thing is the id of the server, a vhost or a stream, as it goes into JSON.
func (i *ids) thing() any {
	if i.version.stringStatIDs() {
		return "vid-" + randomName(7)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.things++
	return os.Getpid()*1000 + i.things
}

// asJSON is a connection's id as the API and the connect result show it.
func (i *ids) asJSON(cid string) any {
	if i.version.stringIDs() {
		return cid
	}
	n, _ := strconv.Atoi(cid)
	return n
}

func randomName(n int) string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyz"
	name := make([]byte, n)
	for i := range name {
		name[i] = letters[rand.IntN(len(letters))]
	}
	return string(name)
}
