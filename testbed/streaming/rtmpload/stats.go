package rtmpload

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// Histogram sizes: 16 steps for every doubling from 16 microseconds up, so that a value is known to
// 1/16, and below that one step a microsecond.
const (
	stepBits = 4
	steps    = 1 << stepBits
	octaves  = 36
)

// histogram counts durations in bounded memory, from any number of goroutines.
type histogram struct {
	counts [octaves * steps]atomic.Uint32
	most   highest
}

func (h *histogram) add(d time.Duration) {
	d = max(0, d)
	h.most.raise(d)
	h.counts[stepOf(uint64(d/time.Microsecond))].Add(1)
}

func stepOf(us uint64) int {
	if us < steps {
		return int(us)
	}
	shift := bits.Len64(us) - stepBits - 1
	return min((shift+1)<<stepBits+int(us>>shift)&(steps-1), octaves*steps-1)
}

// upperBound is the largest value of a step.
func upperBound(step int) time.Duration {
	if step < steps {
		return time.Duration(step) * time.Microsecond
	}
	shift := step>>stepBits - 1
	return time.Duration((uint64(steps+step&(steps-1))+1)<<shift-1) * time.Microsecond
}

// quantiles are the durations that these parts of the values don't exceed; nil without values.
func (h *histogram) quantiles(parts ...float64) []time.Duration {
	var counts [octaves * steps]uint32
	total := uint64(0)
	for i := range h.counts {
		counts[i] = h.counts[i].Load()
		total += uint64(counts[i])
	}
	if total == 0 {
		return nil
	}
	found := make([]time.Duration, len(parts))
	for i, part := range parts {
		rank := max(1, uint64(math.Ceil(part*float64(total))))
		for step, n := range counts {
			if rank <= uint64(n) {
				found[i] = min(upperBound(step), h.most.get())
				break
			}
			rank -= uint64(n)
		}
	}
	return found
}

// reset forgets everything. Values that come in meanwhile may count on either side.
func (h *histogram) reset() {
	for i := range h.counts {
		h.counts[i].Store(0)
	}
	h.most.take()
}

// highest keeps the largest duration that it was shown.
type highest struct{ ns atomic.Int64 }

func (h *highest) raise(d time.Duration) {
	for {
		have := h.ns.Load()
		if int64(d) <= have || h.ns.CompareAndSwap(have, int64(d)) {
			return
		}
	}
}

func (h *highest) get() time.Duration { return time.Duration(h.ns.Load()) }

// take is get, and begins again at 0.
func (h *highest) take() time.Duration { return time.Duration(h.ns.Swap(0)) }

// seconds and milliseconds are what results are written in, with three decimals.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1e3) / 1e3 }

func milliseconds(d time.Duration) float64 { return math.Round(d.Seconds()*1e6) / 1e3 }
