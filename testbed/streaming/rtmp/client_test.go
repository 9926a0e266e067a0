package rtmp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"testing"
	"time"

	"srs.testbed/streaming/rtmp"
	"srs.testbed/streaming/rtmp/rtmptest"
)

func dial(t *testing.T, server *rtmptest.Server) *rtmp.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, err := rtmp.Dial(ctx, server.RTMPAddr(), "live", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestConnectTellsVersionAndProcess(t *testing.T) {
	c := dial(t, rtmptest.New(t, "4.0.6"))
	if c.ServerVersion() != "4.0.6" || c.ServerID() != "127.0.0.1-1" {
		t.Errorf("version %q, id %q", c.ServerVersion(), c.ServerID())
	}
}

func TestPlayersSeeWhatAPublisherSends(t *testing.T) {
	server := rtmptest.New(t, "4.0.6")
	publisher, player := dial(t, server), dial(t, server)
	if err := publisher.Publish("a"); err != nil {
		t.Fatal(err)
	}
	if err := player.Play("a"); err != nil {
		t.Fatal(err)
	}
	sent := rtmp.Message{Type: rtmp.TypeVideo, StreamID: publisher.StreamID, Timestamp: 1 << 25, Payload: bytes.Repeat([]byte{0x27}, 100_000)}
	for server.Count("play") == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := publisher.WriteMessage(sent); err != nil {
		t.Fatal(err)
	}
	got, err := player.ReadMessage()
	if err != nil || got.Timestamp != sent.Timestamp || !bytes.Equal(got.Payload, sent.Payload) {
		t.Errorf("type %d time %d, %d bytes, %v", got.Type, got.Timestamp, len(got.Payload), err)
	}
}

func TestRefusedConnectIsAStatusError(t *testing.T) {
	server := rtmptest.New(t, "4.0.6")
	server.Reject(true)
	_, err := rtmp.Dial(t.Context(), server.RTMPAddr(), "live", "")
	var refused *rtmp.StatusError
	if !errors.As(err, &refused) || refused.Code != "NetConnection.Connect.Rejected" {
		t.Errorf("%v", err)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	server := rtmptest.New(t, "4.0.6")
	server.Mute(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := rtmp.Dial(ctx, server.RTMPAddr(), "live", "")
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestPlayEndsWithItsTimeout(t *testing.T) {
	server, client := net.Pipe()
	go func() { // answers connect and nothing else
		c := rtmp.NewConn(server)
		if c.ServerHandshake() != nil {
			return
		}
		for {
			m, err := c.ReadMessage()
			if err != nil {
				return
			}
			if command, _ := rtmp.ParseCommand(m); command.Name == "connect" {
				c.Command(0, "_result", command.Transaction, nil, rtmp.Object{})
			}
		}
	}()
	c, err := rtmp.Connect(t.Context(), client, "live", "rtmp://x/live")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Timeout = 50 * time.Millisecond
	var timeout net.Error
	if err := c.Play("a"); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("%v", err)
	}
}

// ffmpeg on both ends shows that the server side of the package speaks what encoders and players speak.
func TestFFmpegPublishesAndPlays(t *testing.T) {
	t.Parallel()
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("no ffmpeg here")
	}
	server := rtmptest.New(t, "4.0.6")
	url := fmt.Sprintf("rtmp://%s/live/x", server.RTMPAddr())
	start := func(args ...string) (*exec.Cmd, *bytes.Buffer) {
		cmd := exec.CommandContext(t.Context(), ffmpeg, append([]string{"-hide_banner", "-loglevel", "error", "-nostdin"}, args...)...)
		said := &bytes.Buffer{}
		cmd.Stderr, cmd.Stdout = said, said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, said
	}
	encoder, encoderSaid := start("-re", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=10", "-f", "lavfi", "-i", "sine",
		"-c:v", "flv1", "-g", "5", "-c:a", "aac", "-b:a", "32k", "-t", "20", "-f", "flv", url)
	defer encoder.Wait()
	defer encoder.Process.Kill()

	player := dial(t, server)
	if err := player.Play("x"); err != nil {
		t.Fatal(err)
	}
	player.NetConn().SetReadDeadline(time.Now().Add(10 * time.Second))
	var audio, video int
	for audio < 5 || video < 5 {
		m, err := player.ReadMessage()
		if err != nil {
			t.Fatalf("%v after %d audio, %d video; ffmpeg: %s", err, audio, video, encoderSaid)
		}
		switch m.Type {
		case rtmp.TypeAudio:
			audio++
		case rtmp.TypeVideo:
			video++
		}
	}
	watcher, watcherSaid := start("-analyzeduration", "500000", "-i", url, "-frames:v", "3", "-f", "null", "-")
	if err := watcher.Wait(); err != nil {
		t.Errorf("ffmpeg as player: %v: %s", err, watcherSaid)
	}
}
