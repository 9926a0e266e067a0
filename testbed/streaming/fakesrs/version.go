package fakesrs

import (
	"fmt"
	"time"
)

// version is an SRS version: major, minor, revision.
type version [3]int

// parseVersion reads 4.0.6, of the versions that are imitated.
func parseVersion(text string) (v version, err error) {
	if n, err := fmt.Sscanf(text, "%d.%d.%d", &v[0], &v[1], &v[2]); n != len(v) {
		return v, fmt.Errorf("%q is not a version such as 4.0.6: %w", text, err)
	}
	if !v.atLeast(version{4, 0, 5}) || v[0] > 6 {
		return v, fmt.Errorf("SRS %s is not imitated, only 4.0.5 to 6.x", v)
	}
	return v, nil
}

// String is the version as SRS prints it: 4.0.6.
func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

func (v version) atLeast(other version) bool {
	for i := range v {
		if v[i] != other[i] {
			return v[i] > other[i]
		}
	}
	return true
}

// signature names the server in HTTP headers and in metadata: SRS/4.0.6(Leo).
func (v version) signature() string {
	names := map[int]string{4: "Leo", 5: "Bee", 6: "Hang"}
	return fmt.Sprintf("SRS/%s(%s)", v, names[v[0]])
}

// drains: a graceful quit lets connections finish. In all of 5.0, and in 6.0 before 6.0.132, the process ends instead
// (ossrs/srs #3805).
func (v version) drains() bool { return v[0] == 4 || v.atLeast(version{6, 0, 132}) }

// knowsStartWait: grace_start_wait is a known directive, and the graceful quit begins with it.
func (v version) knowsStartWait() bool { return v.atLeast(version{4, 0, 6}) }

// exports: it has an exporter of metrics, with a port of its own since 5.0.72.
func (v version) exports() bool { return v.atLeast(version{5, 0, 72}) }

// dropsEncoderOfDeadStream: an edge that cannot send to the origin any more closes the encoder's connection. Older
// versions do so only if the origin closed the connection.
func (v version) dropsEncoderOfDeadStream() bool {
	if v[0] == 5 {
		return v.atLeast(version{5, 0, 214})
	}
	return v.atLeast(version{6, 0, 139})
}

// disposesHLS: hls_dispose deletes the files of a stream that has ended. From 6.0.130 on it did not, until 6.0.173
// (ossrs/srs #4161).
func (v version) disposesHLS() bool {
	return !v.atLeast(version{6, 0, 130}) || v.atLeast(version{6, 0, 173})
}

// freesStream: after this time, a stream that has ended is unknown; before 6.0.130 it never is (SrsHls::cleanup_delay).
func (v version) freesStream(hlsDispose time.Duration) (after time.Duration, frees bool) {
	const cleanup, dashDispose = 3 * time.Second, 120 * time.Second // SRS_SOURCE_CLEANUP; DASH is off, but counts
	if v.disposesHLS() {
		return max(hlsDispose, dashDispose) * 11 / 10, v.atLeast(version{6, 0, 130})
	}
	return cleanup, true
}
