package demo

import (
	"math"
	"time"
)

// schedule says when the shop is busy and when it is broken. Both are functions
// of the time since the begin alone.
type schedule struct {
	every, length time.Duration
	first         time.Duration // from the begin to the first burst, at most every
	day           time.Duration
	began         time.Time
}

// burst reports whether errors are due at t, and how long it takes until that
// changes.
func (s schedule) burst(t time.Time) (on bool, change time.Duration) {
	since := t.Sub(s.began)
	if since < s.first {
		return false, s.first - since
	}
	at := (since - s.first) % s.every
	if at < s.length {
		return true, s.length - at
	}
	return false, s.every - at
}

// Requests a second that visitors send at the quietest and the busiest moment.
const (
	quietRate = 6.0
	busyRate  = 34.0
)

// rate is requests a second at t: a day with a hump before noon, a higher one in
// the evening and a quiet night, compressed to s.day.
func (s schedule) rate(t time.Time) float64 {
	hour := 24 * math.Mod(t.Sub(s.began).Seconds()/s.day.Seconds()+8.0/24, 1) // it begins at eight
	hump := func(peak, width, height float64) float64 {
		// The distance on the clock's circle: the evening runs on past midnight.
		d := math.Abs(hour - peak)
		d = math.Min(d, 24-d)
		return height * math.Exp(-d*d/(2*width*width))
	}
	return quietRate + (busyRate-quietRate)*math.Min(1, hump(11, 2.2, 0.7)+hump(20, 2.6, 1))
}
