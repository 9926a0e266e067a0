package rtmpload

import (
	"context"
	"time"

	"srs.testbed/streaming/rtmp"
)

// sampleForever opens new connections at the set rate. The times are fixed beforehand: a connection
// that is answered late doesn't move the next one, or the worst moments would be sampled least.
func (l *load) sampleForever(ctx context.Context) {
	began := time.Now()
	for k := 0; ; k++ {
		due := began.Add(time.Duration(float64(k) / l.cfg.SampleRate * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			sleep(ctx, wait)
		}
		if ctx.Err() != nil {
			return
		}
		l.late(time.Since(due))
		if l.inFlight.Load() >= maxInFlight {
			l.failed(failedEvent{What: "sample"}, errOverload)
			continue
		}
		media := l.cfg.SampleMediaEvery > 0 && len(l.cfg.Play) > 0 && k%l.cfg.SampleMediaEvery == l.cfg.SampleMediaEvery-1
		l.inFlight.Add(1)
		l.wait.Go(func() { l.sample(due, l.streamOf(k), media) })
	}
}

// streamOf spreads samples over the streams. Without one there is still an application to connect to.
func (l *load) streamOf(k int) string {
	if len(l.cfg.Play) == 0 {
		return "live/"
	}
	return l.cfg.Play[k/max(1, l.cfg.SampleMediaEvery)%len(l.cfg.Play)]
}

func (l *load) sample(due time.Time, stream string, media bool) {
	inFlight := true
	landed := func() {
		if inFlight {
			inFlight = false
			l.inFlight.Add(-1)
		}
	}
	defer landed()

	client, err := l.connectRTMP(l.ctx, stream)
	if l.ctx.Err() != nil {
		return
	}
	if err != nil {
		l.failed(failedEvent{What: "sample"}, err)
		return
	}
	defer closeWith(l.ctx, client)()
	// From when it was due, not from when we got around to it.
	l.connect.add(time.Since(due))
	version := client.ServerVersion()
	l.counting(func() {
		l.samples[version]++
		l.tickSamples[version]++
	})
	if !media {
		return
	}
	landed() // it's answered
	err = l.awaitMedia(client, stream)
	if l.ctx.Err() != nil {
		return
	}
	l.counting(func() {
		l.mediaSamples++
		if err != nil {
			l.noMedia++
			l.tickNoMedia++
			l.out.emit(failedEvent{
				stamp: stamped("nomedia"), What: "sample", Reason: reasonFor(err), Detail: err.Error(), Version: version,
			})
		}
	})
}

// awaitMedia plays until the first frame.
func (l *load) awaitMedia(client *rtmp.Client, stream string) error {
	deadline := time.Now().Add(l.cfg.MediaTimeout)
	client.Timeout = l.cfg.MediaTimeout
	client.ReuseBuffers(true)
	_, name := splitStream(stream)
	if err := client.Play(name); err != nil {
		return err
	}
	client.NetConn().SetReadDeadline(deadline)
	for {
		m, err := client.ReadMessage()
		if err != nil {
			return err
		}
		if isFrame(m.Type, m.Payload) {
			l.bytes.Add(int64(client.BytesReceived()))
			return nil
		}
	}
}
