// Package standin is a small stand-in of SRS, the RTMP media server, FOR TESTS ONLY: it's put into images
// where the real ones cannot be pulled. It says so in the first line of its log. Tests that pass with it
// are meant to pass unchanged with real images, so it imitates what tests look at, by version (4.0.5 up to
// 6.x), faults included. No code of SRS is in it; what it does was read in the sources of ossrs/srs
// (revisions 4.0.5, 4.0.6, 4.0.271, 5.0.213 and 6.0.157) and measured on SRS itself.
//
// # What is imitated
//
//   - srs.conf: the whole grammar (a directive may not go on in the next line, and `on}` is a word), include,
//     the directives of SRS 1 and 2 that are moved to where they belong now, and the refusal of a directive
//     that the version doesn't know (exit code 255), with the sub-directives of all blocks. Exit codes of a
//     pid file that cannot be written (10) or is locked (11) and of a port in use (234). Without `daemon off`
//     the process ends at once with 0, unless SRS_IN_DOCKER=on and the version is 4.0.12 or younger.
//   - Signals, looked at once a second: the graceful quit on SIGQUIT, and on SIGTERM under force_grace_quit,
//     with start wait (not in 4.0.5), closing of all listeners, wait without limit for all connections, final
//     wait, and the lines `wait for 3 conns to quit`, which come after 1, 3, 7, 15, 31, 63, 94 s. A fast quit
//     by SIGINT or SIGTERM; in a drain it ends the waiting, not the final wait. 5.0, and 6.0 before 6.0.132,
//     end at once instead of draining.
//   - Connections on all ports count for max_connections and for the drain. An HTTP connection is closed when
//     it was silent for 15 s, one of RTMP that doesn't speak after 30 s, a silent publisher after 5 s.
//   - RTMP: publish (in the way of FMLE and of Flash), play, pause, publishing again on the same connection.
//     A second publisher of a stream is accepted first and cut then. The result of connect carries srs_version
//     and its like; onMetaData carries the server's own version, at an edge the edge's. A new player gets
//     metadata, sequence headers and what came since the last key frame; timestamps are smoothed; writes are
//     merged as with mw_latency (350 ms); a slow player loses its queue (queue_length).
//   - An edge pulls a stream when its first player comes, once for all players, from the origin whose turn it
//     is (for each stream from the first one on; a redirect uses up a turn), tries again 3 s after a failure
//     or a silence of 5 s, keeps its players meanwhile, and ends the pull when the last one leaves, at once.
//   - A publish to an edge goes on to the origin whose turn it is, in bursts of at most 128 messages each
//     500 ms; the edge gives an origin 150 ms to take the connection. If the origin closes the connection, the
//     encoder is cut at its next message. If only a write fails (a node that is gone without a word), the
//     forwarding ends and the encoder stays connected to a dead stream; from 5.0.214 and 6.0.139 on it is cut.
//     From 6.0.130 on the turns of a stream are forgotten 3 s after it ended, so that an encoder is sent to a
//     dead first origin again and again (ossrs/srs #4511).
//   - An origin of a cluster that doesn't have a stream asks its coworkers' HTTP API, itself included, and
//     redirects (RTMP 302); if none has it, it cuts the player.
//   - Names are looked up by a call that blocks the whole server: see thread.
//   - The HTTP API as far as probes, scrapers and the program look at it, the exporter, HTTP-FLV, and files of
//     the HTTP server's folder.
//   - 6.0.155 and younger: a stream whose first viewer at an edge is HTTP-FLV gives nothing to anybody there.
//   - etc/init.d/srs grace, stop, status, reload, rotate.
//
// # What isn't
//
// HLS (only its folder is made, and files that lie there are served), every other protocol and file format,
// HTTPS, WebRTC, SRT, transcoding, DVR, hooks, security, referer checks, bandwidth checks; ATC, mixing
// corrections and aggregate messages; the transform of virtual hosts; edge protocols other than RTMP;
// reload, by signal or when the file changes; environment variables as configuration (SRS_LISTEN); the
// bit rates in the API (always 0); the soft limit of open files (Go raises it to the hard one at start);
// running in the background. A lookup holds up reading, writing and timers, but a batch that is being written
// is written to its end.
package fakesrs
