package global

import (
	"fmt"
	"sync"

	"github.com/prometheus/prometheus/promql"
)

// meter counts what is sent or received against limits.
type meter struct {
	limits Limits
	own    Limits // of this island, beside the query's
	mu     sync.Mutex
	spent  Stats
}

// add counts. Its error is a *Fault: of kind FaultLimit, or FaultIsland if it is
// the island's own limit that is reached.
func (m *meter) add(series, samples, bytes int64) error {
	m.count(series, samples, bytes)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.limits.check(m.spent); err != nil {
		return fault(FaultLimit, "query would %v", err)
	}
	if err := m.own.check(m.spent); err != nil {
		return fault(FaultIsland, "the island will not %v", err)
	}
	return nil
}

func (m *meter) count(series, samples, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spent.Series += series
	m.spent.Samples += samples
	m.spent.Bytes += bytes
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
			return fmt.Errorf("move more than %d %s between islands: %s, or raise the limit", c.at, c.what, c.narrowWith)
		}
	}
	return nil
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
