package fakesrs

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Version is an SRS version: major, minor, revision.
type Version [3]int

// ParseVersion reads "4.0.6" or "v4.0.6".
func ParseVersion(text string) (Version, error) {
	var v Version
	parts := strings.Split(strings.TrimPrefix(strings.TrimSpace(text), "v"), ".")
	if len(parts) != len(v) {
		return v, fmt.Errorf("%q is no version like 4.0.6", text)
	}
	for i, part := range parts {
		number, err := strconv.ParseUint(part, 10, 16)
		if err != nil {
			return v, fmt.Errorf("%q is no version like 4.0.6", text)
		}
		v[i] = int(number)
	}
	return v, nil
}

// String is the version as SRS prints it: 4.0.6.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

// atLeast reports whether v is other or younger.
func (v Version) atLeast(other Version) bool {
	for i := range v {
		if v[i] != other[i] {
			return v[i] > other[i]
		}
	}
	return true
}

// codeName is the name in brackets behind the version.
func (v Version) codeName() string {
	switch {
	case v[0] <= 4:
		return "Leo"
	case v[0] == 5:
		return "Bee"
	default:
		return "Hang"
	}
}

// signature names the server in HTTP headers and in metadata: SRS/4.0.6(Leo).
func (v Version) signature() string { return "SRS/" + v.String() + "(" + v.codeName() + ")" }

// What an SRS version does differently. The revisions are those whose source shows the change.

// drains: a graceful quit lets connections finish. In all of 5.0, and in 6.0 before 6.0.132, it is
// the process that ends instead (ossrs/srs #3805).
func (v Version) drains() bool {
	return !v.atLeast(Version{5, 0, 0}) || v.atLeast(Version{6, 0, 132})
}

// waitsBeforeDrain: the graceful quit begins with grace_start_wait.
func (v Version) waitsBeforeDrain() bool { return v.atLeast(Version{4, 0, 6}) }

// staysInContainers: `daemon on` counts for nothing where SRS knows that it runs in a container.
func (v Version) staysInContainers() bool { return v.atLeast(Version{4, 0, 12}) }

// stringIDs: connections are named by 8 letters and digits instead of a number.
func (v Version) stringIDs() bool { return v.atLeast(Version{4, 0, 34}) }

// stringStatIDs: the same for vhosts, streams and the server in the HTTP API.
func (v Version) stringStatIDs() bool { return v.atLeast(Version{4, 0, 108}) }

// answersRoot: `/` of the HTTP API is 200 instead of 404.
func (v Version) answersRoot() bool { return v.atLeast(Version{4, 0, 25}) }

// hasExporter: there is a Prometheus exporter, and the HTTP API has /metrics too.
func (v Version) hasExporter() bool { return v.atLeast(Version{5, 0, 67}) }

// log4jLevels: log lines say INFO instead of Trace.
func (v Version) log4jLevels() bool { return v.atLeast(Version{5, 0, 83}) }

// freesSources: a stream without publisher and players is forgotten after some seconds, and with it
// whose turn it is among the origins (ossrs/srs #4511). Older versions forget nothing.
func (v Version) freesSources() bool { return v.atLeast(Version{6, 0, 130}) }

// forwarderReports: when an edge cannot send to the origin any more, it cuts the encoder. Older
// versions do so only if the origin closed the connection, and else keep a stream that is dead.
func (v Version) forwarderReports() bool {
	if v[0] == 5 {
		return v.atLeast(Version{5, 0, 214})
	}
	return v.atLeast(Version{6, 0, 139})
}

// flvFirstIsDeaf: a stream whose first viewer at an edge is HTTP-FLV gives nothing to anybody there
// (near ossrs/srs #4215; seen in 6.0.157, and the source changed so in 6.0.155).
func (v Version) flvFirstIsDeaf() bool { return v.atLeast(Version{6, 0, 155}) }

// oldestKnown is the first version with a graceful quit; what older ones do was never looked at.
var oldestKnown = Version{4, 0, 5}

// imageVersion is the version that this image pretends to have: from the environment, else from the
// file VERSION beside the folder of the binary.
func imageVersion() (Version, error) {
	text := os.Getenv("SRS_STAND_IN_VERSION")
	if text == "" {
		var err error
		if text, err = readVersionFile(); err != nil {
			return Version{}, err
		}
	}
	v, err := ParseVersion(text)
	if err == nil && (!v.atLeast(oldestKnown) || v[0] > 6) {
		err = fmt.Errorf("SRS %s is not imitated, only %s up to 6.x", v, oldestKnown)
	}
	return v, err
}

func readVersionFile() (string, error) {
	var tried []string
	places := []string{filepath.Join(filepath.Dir(os.Args[0]), "..", "VERSION")}
	// Started through a link, the binary itself may lie elsewhere.
	if binary, err := os.Executable(); err == nil {
		places = append(places, filepath.Join(filepath.Dir(binary), "..", "VERSION"))
	}
	for _, place := range append(places, "/usr/local/srs/VERSION") {
		text, err := os.ReadFile(place)
		if err == nil {
			return string(text), nil
		}
		tried = append(tried, err.Error())
	}
	return "", fmt.Errorf("which SRS to be? Set SRS_STAND_IN_VERSION or write a VERSION file (%s)", strings.Join(tried, "; "))
}
