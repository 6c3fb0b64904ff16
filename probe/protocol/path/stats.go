package path

import (
	"math"
	"time"
)

// stats sum up round trips.
type stats struct{ min, mean, max, deviation, jitter time.Duration }

// summarize takes round trips in the order of sending. The jitter is RFC 3550's (6.4.1),
// of what the round trips differ from one to the next.
func summarize(rtts []time.Duration) stats {
	if len(rtts) == 0 {
		return stats{}
	}
	st := stats{min: rtts[0], max: rtts[0]}
	var sum, jitter float64
	for i, d := range rtts {
		st.min, st.max = min(st.min, d), max(st.max, d)
		sum += float64(d)
		if i > 0 {
			jitter += (math.Abs(float64(d-rtts[i-1])) - jitter) / 16
		}
	}
	mean := sum / float64(len(rtts))
	var squares float64
	for _, d := range rtts {
		squares += (float64(d) - mean) * (float64(d) - mean)
	}
	st.mean, st.jitter = time.Duration(mean), time.Duration(jitter)
	st.deviation = time.Duration(math.Sqrt(squares / float64(len(rtts))))
	return st
}
