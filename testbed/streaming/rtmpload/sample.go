package rtmpload

import (
	"context"
	"errors"
	"time"

	"srs.testbed/streaming/rtmp"
)

const (
	maxInFlight = 5_000 // samples that wait for an answer

	// mediaEvery: every so many samples one also plays until its first frame.
	mediaEvery = 10
)

var errOverload = errors.New("rtmp-load: too many samples in flight")

// takeSamples opens new connections at the configured rate. The times are fixed beforehand: a connection that is
// answered late does not delay the next one, or the worst moments would be sampled least.
func (l *load) takeSamples(ctx context.Context) {
	began := time.Now()
	for k := 0; ; k++ {
		due := began.Add(time.Duration(float64(k) / l.sampleRate * float64(time.Second)))
		sleep(ctx, time.Until(due))
		if ctx.Err() != nil {
			return
		}
		l.late(time.Since(due))
		stream, media := "live/none", false // an application is needed in any case
		if len(l.play) > 0 {
			stream = l.play[k/mediaEvery%len(l.play)]
			media = k%mediaEvery == mediaEvery-1
		}
		overload := false
		l.record(func() {
			if overload = l.inFlight >= maxInFlight; !overload {
				l.inFlight++
			}
		})
		if overload {
			l.failed(event{What: "sample"}, errOverload)
			continue
		}
		l.wait.Go(func() {
			l.sample(due, stream, media)
			l.record(func() { l.inFlight-- })
		})
	}
}

func (l *load) sample(due time.Time, stream string, media bool) {
	client, version, err := l.connect(stream)
	if l.ctx.Err() != nil {
		return
	}
	if err != nil {
		l.failed(event{What: "sample"}, err)
		return
	}
	l.record(func() {
		// From when it was due, not from when it began.
		l.connectTimes = append(l.connectTimes, time.Since(due))
		l.samples[version]++
		l.tickSamples[version]++
	})
	if client == nil {
		return
	}
	defer l.closeAtEnd(client)()
	if !media {
		return
	}
	_, name := splitStream(stream)
	err = client.Play(name)
	client.NetConn().SetReadDeadline(time.Now().Add(l.mediaTimeout))
	for err == nil {
		m, failed := client.ReadMessage()
		if failed == nil && isFrame(m) {
			return
		}
		err = failed
	}
	if l.ctx.Err() == nil {
		l.record(func() {
			l.out.lines <- event{stamp: stamped("nomedia"), Version: version, Detail: err.Error()}
		})
	}
}

// connect opens a new connection, and returns the version of the server. Over HTTPS it is closed then, without media:
// SRS drops a player who comes at the moment when the last one of the stream leaves.
func (l *load) connect(stream string) (client *rtmp.Client, version string, err error) {
	if l.ca != nil {
		conn, response, err := l.request("/")
		if err != nil {
			return nil, "", err
		}
		conn.Close()
		return nil, versionOf(response.Header.Get("Server")), nil
	}
	client, err = l.connectRTMP(stream)
	if err != nil {
		return nil, "", err
	}
	return client, client.ServerVersion(), nil
}
