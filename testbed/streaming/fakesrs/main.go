// Package fakesrs is a test double of SRS, the RTMP media server, for images where the real ones cannot be pulled.
// Tests that pass with it are meant to pass unchanged with real images, so it imitates what they depend on, by version
// (4.0.5 to 6.x), defects included. It contains no code of SRS; its behaviour was read in the sources of ossrs/srs
// (revisions 4.0.5, 4.0.6, 4.0.271, 5.0.213 and 6.0.157) and measured on SRS.
//
//   - srs.conf: the grammar, and the rejection of a directive that the version does not know (exit code 255).
//   - Signals, checked once a second: the graceful quit on SIGQUIT, and on SIGTERM with force_grace_quit, with start
//     wait (not in 4.0.5), closing of all listeners, a wait without limit for all connections, final wait, and the
//     lines `wait for 3 conns to quit`. A fast quit on SIGINT or SIGTERM, also in a drain. 5.0, and 6.0 before
//     6.0.132, drop all connections instead of draining.
//   - Connections on all ports count for max_connections and for the drain. A silent connection is closed: HTTP after
//     15 s, RTMP after 30 s, a publisher after 5 s.
//   - RTMP publish and play, HTTP-FLV and HTTPS-FLV. Publishers are rejected by a rule of `security` that denies, and by
//     the hook on_publish. The result of connect contains srs_version, srs_id, srs_pid and
//     srs_server_ip, onMetaData the server's own version. A new player gets metadata, sequence headers and,
//     with gop_cache, the pictures since the last key frame first.
//   - An edge pulls a stream when its first player comes, once for all players, from its origins in turn (each stream
//     begins at the first one; a redirect uses up a turn), retries 3 s after a failure or a silence of 5 s, and keeps
//     its players meanwhile.
//   - An edge forwards what is published to it to its origins in turn, in bursts. It drops the encoder when the origin
//     closes the connection. If only a write fails (a node that vanished), the encoder stays connected to a dead stream;
//     from 5.0.214 and 6.0.139 on it is dropped.
//   - An origin of a cluster that does not have a stream asks its coworkers' HTTP API and redirects (RTMP 302).
//   - HLS of H.264 and AAC: playlists and segments, their numbers, and when they are deleted, which is by version.
//   - The exporter, from 5.0.72 on, with the metrics that alert rules and dashboards use.
//   - A name lookup blocks the whole server: see thread.
//
// Everything else is missing: static files, reload, the rest of the HTTP API, virtual hosts other than
// __defaultVhost__, other statistics.
package fakesrs

import (
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
)

// Main is the program, `srs -c srs.conf`. FAKESRS_VERSION is the SRS version that it imitates.
func Main() {
	logger := log.New(os.Stdout, "", log.LstdFlags|log.Lmicroseconds)
	if err := run(os.Args[1:], os.Getenv("FAKESRS_VERSION"), logger); err != nil {
		logger.Printf("Failed, code=1023 : %v", err)
		os.Exit(255) // 1023 & 0xff
	}
}

func run(arguments []string, versionText string, logger *log.Logger) error {
	v, err := parseVersion(versionText)
	if err != nil {
		return fmt.Errorf("FAKESRS_VERSION: %w", err)
	}
	logger.Printf("fakesrs: a test double of %s, FOR TESTS ONLY", v.signature())
	if len(arguments) != 2 || arguments[0] != "-c" {
		return fmt.Errorf("usage: srs -c <file>; got %q", arguments)
	}
	text, err := os.ReadFile(arguments[1])
	if err != nil {
		return err
	}
	root, err := parseConf(string(text))
	if err != nil {
		return fmt.Errorf("config parse options : parse file : %w", err)
	}
	if err := checkConf(root, v); err != nil {
		return fmt.Errorf("check config : check normal : %w", err)
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGINT)
	return newServer(newSettings(root, v), v, logger).run(signals)
}
