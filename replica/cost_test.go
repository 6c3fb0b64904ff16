package replica

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// ruleText is 2 KB of YAML as people write it: repetitive, but never the same.
func ruleText(n, version int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), uint64(version)))
	var b strings.Builder
	for i := 0; b.Len() < 2000; i++ {
		fmt.Fprintf(&b, "- alert: Rule%dOf%d\n  expr: sum by (instance) (rate(metric_%x_total[5m])) > %d\n  for: %dm\n  labels: {severity: page, team: t%x}\n",
			i, n, r.Uint64(), r.IntN(1000), r.IntN(60), r.Uint32())
	}
	return []byte(b.String()[:2000])
}

func (f *fleet) rule(by *isle, n, version int, at uint64) *replicapb.Document {
	return f.sign(by.key, fmt.Sprintf("rules/group-%05d", n), ruleText(n, version), at)
}

// TestCostOfSync holds comparisons to bytes in proportion to what changed, and to a
// few round trips. Time is virtual, so that over 100 ms it tells the round trips.
func TestCostOfSync(t *testing.T) {
	const documents, rtt = 10_000, 100 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2)
		a, b := f.nodes[0], f.nodes[1]
		at := past()
		var docs []*replicapb.Document
		for n := range documents {
			docs = append(docs, f.rule(a, n, 0, at))
		}
		f.must(a.Put(t.Context(), docs...))
		f.delay = rtt / 2
		if res := b.sync(a); res.Pulled != documents {
			t.Fatalf("pulled %d documents at first, want %d", res.Pulled, documents)
		}
		for version, tc := range []struct {
			changed, rounds int
			seconds         float64
			bytes           int64
		}{
			{0, 1, 0.11, 600},
			{1, 4, 0.51, 8_000},
			{100, 5, 0.71, 100_000},
			{1_000, 5, 1.1, 700_000},
			{10_000, 6, 3, 6_000_000},
		} {
			docs = docs[:0]
			for _, n := range rand.New(rand.NewPCG(1, 2)).Perm(documents)[:tc.changed] {
				docs = append(docs, f.rule(a, n, version, at+uint64(version)))
			}
			f.must(a.Put(t.Context(), docs...))
			f.traffic.up.Store(0)
			f.traffic.down.Store(0)
			begun := time.Now()
			res := b.sync(a)
			took := time.Since(begun)
			if !f.agreed() {
				t.Fatalf("roots differ after %+v", res)
			}
			bytes := f.traffic.up.Load() + f.traffic.down.Load()
			t.Logf("%d of %d documents changed: %d bytes up, %d down on the wire, %d rounds, %.2f s at %v", tc.changed, documents,
				f.traffic.up.Load(), f.traffic.down.Load(), res.Rounds, took.Seconds(), rtt)
			if res.Rounds > tc.rounds || bytes > tc.bytes || took.Seconds() > tc.seconds {
				t.Errorf("%d rounds, %d bytes, %.2f s; at most %d, %d and %.2f s", res.Rounds, bytes, took.Seconds(), tc.rounds, tc.bytes, tc.seconds)
			}
		}
	})
}
