package fakesrs

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// ffmpeg runs a program of ffmpeg and returns what it says.
func ffmpeg(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, append([]string{"-hide_banner", "-loglevel", "error"}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// ffmpeg publishes to the second origin, and through an edge; ffmpeg plays through an edge that asks the
// first origin, over RTMP and over HTTP-FLV.
func TestFFmpeg(t *testing.T) {
	for _, program := range []string{"ffmpeg", "ffprobe"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program, " is missing")
		}
	}
	t.Parallel()
	origins := startOrigins(t, "4.0.5", 2)
	edge := startEdge(t, "4.0.6", origins...)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	publishing, stop := context.WithCancel(ctx)
	type result struct {
		out string
		err error
	}
	ended := make(chan result, 2)
	for _, to := range []string{origins[1].rtmpAddr() + "/live/direct", edge.rtmpAddr() + "/live/through?key=1"} {
		go func() {
			out, err := ffmpeg(publishing, "ffmpeg", "-re", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=15",
				"-f", "lavfi", "-i", "sine", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "15", "-threads", "1",
				"-c:a", "aac", "-f", "flv", "rtmp://"+to)
			ended <- result{out, err}
		}()
	}
	await(t, 10*time.Second, "streams at the origins", func() bool {
		there := 0
		for _, o := range origins {
			o.thread.Lock()
			for _, src := range o.sources {
				if src.publishing && len(src.gop) > 0 {
					there++
				}
			}
			o.thread.Unlock()
		}
		return there == 2
	})
	var watching sync.WaitGroup
	for _, url := range []string{
		"rtmp://" + edge.rtmpAddr() + "/live/direct",
		edge.httpURL("/live/direct.flv"),
		"rtmp://" + edge.rtmpAddr() + "/live/through",
	} {
		watching.Go(func() {
			out, err := ffmpeg(ctx, "ffprobe", "-analyzeduration", "1M", "-show_entries", "stream=codec_name,width:format_tags=server_version", "-of", "csv=p=0", url)
			if err != nil {
				t.Errorf("%s: %v, %s", url, err, out)
			}
			for _, want := range []string{"h264,64", "aac", "4.0.6"} {
				if !strings.Contains(out, want) {
					t.Errorf("%s: no %s in %q", url, want, out)
				}
			}
			// Every frame can be decoded, from the first one on.
			if out, err := ffmpeg(ctx, "ffmpeg", "-xerror", "-analyzeduration", "1M", "-i", url, "-t", "0.5", "-f", "null", "-"); err != nil || out != "" {
				t.Errorf("%s: %v, %s", url, err, out)
			}
		})
	}
	watching.Wait()
	select {
	case r := <-ended:
		t.Errorf("an encoder ended: %v, %s", r.err, r.out)
	default:
	}
	stop()
	<-ended
	<-ended
}
