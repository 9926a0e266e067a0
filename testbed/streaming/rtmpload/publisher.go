package rtmpload

import (
	"bytes"
	_ "embed"
	"time"

	"srs.testbed/streaming/rtmp"
)

// loopFLV is 1.024 s of H.264 (64x36, a key frame first) and AAC, 32 frames of 32 ms each of both. Made with FFmpeg 5.1:
//
//	ffmpeg -f lavfi -i testsrc=size=64x36:rate=125/4 -f lavfi -i sine=sample_rate=32000 \
//	    -c:v libx264 -preset veryslow -tune zerolatency -profile:v baseline -pix_fmt yuv420p -g 32 -crf 51 -frames:v 32 \
//	    -bsf:v filter_units=remove_types=6 -c:a aac -b:a 16k -frames:a 32 \
//	    -flvflags no_duration_filesize+no_sequence_end -fflags +bitexact -map_metadata -1 loop.flv
//
// SRS takes a frame whose first NAL unit has 256 to 511 bytes (00 00 01 xx) for Annex B, hence the low quality and the
// filter for SEI messages.
//
//go:embed loop.flv
var loopFLV []byte

const (
	loopPeriod = 1024 * time.Millisecond

	publishChunk = 60_000 // as SRS sends

	// writeTimeout ends a publisher whose server accepts no more data, like an encoder's.
	writeTimeout = 10 * time.Second

	// goodbye bounds the last commands at the end.
	goodbye = 200 * time.Millisecond
)

// loopTags are the messages of loopFLV: headers (metadata, decoders' configurations) and frames.
func loopTags() (headers, frames []rtmp.Message) {
	r := bytes.NewReader(loopFLV)
	if err := readFLVHeader(r); err != nil {
		panic(err)
	}
	for r.Len() > 0 {
		m, err := readTag(r)
		switch {
		case err != nil:
			panic(err)
		case m.IsMedia() && !m.IsSequenceHeader():
			frames = append(frames, m)
		case !m.IsMedia():
			setDataFrame := []byte("\x02\x00\x0d@setDataFrame") // an AMF0 string
			m.Payload = append(setDataFrame, m.Payload...)
			fallthrough
		default:
			headers = append(headers, m)
		}
	}
	return headers, frames
}

// publisher sends loopFLV again and again as one stream.
type publisher struct {
	load   *load
	stream string
	began  time.Time // timestamps continue over all connections; zero: never accepted
}

func (p *publisher) publish(s *session) error {
	l := p.load
	client, err := l.connectRTMP(p.stream)
	if err != nil {
		return err
	}
	defer client.Close()
	_, name := splitStream(p.stream)
	if err := client.Publish(name); err != nil {
		return err
	}
	if err := client.SetChunkSize(publishChunk); err != nil {
		return err
	}
	s.opened(client.ServerVersion(), client.ServerID())
	if p.began.IsZero() {
		p.began = time.Now()
		l.published.decrement()
	}
	// Reading answers pings, and notices the end first.
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := client.ReadMessage(); err != nil {
				ended <- err
				return
			}
		}
	}()
	err = p.send(client, ended)
	if l.ctx.Err() != nil {
		client.NetConn().SetDeadline(time.Now().Add(goodbye))
		client.Command(0, "FCUnpublish", 6.0, nil, name)
		client.Command(0, "deleteStream", 7.0, nil, float64(client.StreamID))
	}
	return err
}

// send sends frames when they are due, until the connection or the run ends. When it is late it catches up: the
// stream's own time goes on.
func (p *publisher) send(client *rtmp.Client, ended <-chan error) error {
	buffer := func(m rtmp.Message, at time.Duration) error {
		client.NetConn().SetWriteDeadline(time.Now().Add(writeTimeout)) // it may write
		m.StreamID, m.Timestamp = client.StreamID, uint32(at.Milliseconds())
		return client.BufferMessage(m)
	}
	headers, frames := loopTags()
	start := time.Since(p.began)
	for _, m := range headers {
		if err := buffer(m, start); err != nil {
			return err
		}
	}
	for ; ; start += loopPeriod {
		for _, m := range frames {
			at := start + time.Duration(m.Timestamp)*time.Millisecond
			if wait := at - time.Since(p.began); wait > 0 {
				if err := client.Flush(); err != nil {
					return err
				}
				select {
				case <-p.load.ctx.Done():
					return p.load.ctx.Err()
				case err := <-ended:
					return err
				case <-time.After(wait):
				}
			}
			if err := buffer(m, at); err != nil {
				return err
			}
		}
	}
}
