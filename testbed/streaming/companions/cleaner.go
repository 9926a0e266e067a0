package companions

import (
	"io/fs"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const cleanInterval = time.Minute

// What the shell has to know of the cleaner's script (model/desired/hls_cleaner.py), which is tested with real shells.
var (
	ages    = regexp.MustCompile(`-mmin \+(\d+) `) // of playlists, of segments
	segment = regexp.MustCompile(`-\d{13}-\d+\.ts$`)
)

// inMinutes is the number of -mmin.
func inMinutes(text string) time.Duration {
	n, _ := strconv.Atoi(text)
	return time.Duration(n) * time.Minute
}

// clean deletes playlists, and segments that are in none, when they are older than this; it ends with SIGTERM.
func clean(folder string, playlists, segments time.Duration) {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM)
	for {
		deleteOlder(folder, "*.m3u8", playlists, func(string) bool { return true })
		deleteOlder(folder, "*.ts", segments, func(path string) bool {
			return segment.MatchString(path) && !isListed(path)
		})
		select {
		case <-ends:
			os.Exit(0)
		case <-time.After(cleanInterval):
		}
	}
}

func deleteOlder(folder, pattern string, age time.Duration, condition func(path string) bool) {
	filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil
		}
		info, err := entry.Info()
		matches, _ := filepath.Match(pattern, entry.Name())
		if err == nil && matches && time.Since(info.ModTime()) > age && condition(path) {
			log.Printf("deleting %s: %v", path, os.Remove(path))
		}
		return nil
	})
}

// isListed: a playlist in the folder of a segment has it.
func isListed(path string) bool {
	playlists, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*.m3u8"))
	for _, playlist := range playlists {
		if text, err := os.ReadFile(playlist); err == nil && strings.Contains(string(text), filepath.Base(path)) {
			return true
		}
	}
	return false
}
