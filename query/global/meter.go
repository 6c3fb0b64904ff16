package global

import (
	"sync"

	"github.com/prometheus/prometheus/promql"
)

// meter counts what is sent or received against limits.
type meter struct {
	limits Limits
	mu     sync.Mutex
	spent  Stats
}

// add counts; its error is a *Fault of kind FaultLimit.
func (m *meter) add(series, samples, bytes int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spent.Series += series
	m.spent.Samples += samples
	m.spent.Bytes += bytes
	return m.limits.check(m.spent)
}

func (m *meter) stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.spent
}

func (l Limits) check(s Stats) error {
	for _, c := range []struct {
		what       string
		is, at     int64
		narrowWith string
	}{
		{"series", s.Series, l.Series, "aggregate, or select fewer"},
		{"samples", s.Samples, l.Samples, "ask for a coarser step or a shorter time, or aggregate"},
		{"bytes of raw samples", s.Bytes, l.Bytes, "ask for a shorter time, or aggregate"},
	} {
		if c.at > 0 && c.is > c.at {
			return fault(FaultLimit, "query would move more than %d %s between islands: %s, or raise the limit", c.at, c.what, c.narrowWith)
		}
	}
	return nil
}

// tighter is the lower of each limit.
func (l Limits) tighter(o Limits) Limits {
	low := func(a, b int64) int64 {
		if a == 0 || b != 0 && b < a {
			return b
		}
		return a
	}
	return Limits{Series: low(l.Series, o.Series), Samples: low(l.Samples, o.Samples), Bytes: low(l.Bytes, o.Bytes)}
}

// samples is the size of a row: one for each float, one for each 16 bytes of a
// histogram.
func samples(s *promql.Series) int64 {
	n := int64(len(s.Floats))
	for _, h := range s.Histograms {
		if h.H != nil {
			n += int64(h.H.Size()+8) / 16
		}
	}
	return n
}
