package engine

import (
	"fmt"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// What series that have gone leave behind does not grow with how many there were:
// records, index and sources go back to what those need that are there.
func TestChurnLeavesLittle(t *testing.T) {
	const fleet, pod = 5000, 2
	r := newRig(t, "rules:\n- {interval: 1m, without: [instance, path], outputs: [total], max_lag: 1m, max_age: 10m, staleness_interval: 2m, forget_after: 10m}\n",
		func(o *Options) { o.Shards = 1 })
	first, now := 0, 0.0
	minutes := func(n, replaced int) {
		for range n {
			first += replaced
			b := r.e.Begin(1)
			for i := first; i < first+fleet; i++ {
				b.Append(0, labels.FromStrings("__name__", "c", "instance", fmt.Sprint(i/pod), "job", "j", "path", fmt.Sprint(i)), 0, at(now), now)
			}
			b.Commit(at(now))
			now += 60
			r.tick(now)
		}
	}
	s := r.e.shards[0]
	chunks := func() (n int) {
		for _, c := range *s.chunks.Load() {
			if c != nil {
				n++
			}
		}
		return n
	}
	minutes(14, 0)
	index, records, sources := s.places.bytes(), chunks(), r.e.src.all.bytes()
	minutes(50, fleet/5)
	if n := s.places.bytes(); n < index*3/2 {
		t.Fatalf("the index takes %d bytes while three times as many series are known, before %d: the churn is none", n, index)
	}
	minutes(14, 0)
	if n := s.places.bytes(); n > index*11/10 {
		t.Errorf("the index takes %d bytes after the churn, before %d", n, index)
	}
	if n := chunks(); n > records+2 {
		t.Errorf("%d chunks of records after the churn, before %d", n, records)
	}
	if n := r.e.src.all.bytes(); n > sources*3/2 {
		t.Errorf("sources take %d bytes after the churn, before %d", n, sources)
	}
	if s.count.series != fleet {
		t.Errorf("%d series are known, want %d", s.count.series, fleet)
	}
}
