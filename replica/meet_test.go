package replica

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/atoll-mesh/atoll/trust"
)

// TestMeet has two islands meet that tell each other their roots: they compare
// where these differ, and where one was away for too long.
func TestMeet(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(a, b *isle)
		spared  bool
	}{
		{"equal", func(_, _ *isle) {}, true},
		{"different", func(a, _ *isle) { a.set("rules/a", "x") }, false},
		{"away too long", func(_, _ *isle) { time.Sleep(200 * day) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 2)
				a, b := f.nodes[0], f.nodes[1]
				for _, x := range f.nodes {
					x.o.RootOf = func(k trust.Key) []byte { return f.node(k).Root() }
				}
				f.settle()
				time.Sleep(time.Minute)
				c.prepare(a, b)
				before := met(a, b)
				f.interval(365 * day)
				stop := f.run()
				defer stop()
				a.Connected(b.key.Public())
				b.Connected(a.key.Public())
				time.Sleep(yieldDelay + time.Second)
				if got := met(a, b).Equal(before); got != c.spared {
					t.Errorf("no comparison: %v, want %v", got, c.spared)
				}
				if !f.agreed() {
					t.Error("they do not hold the same")
				}
				for _, x := range f.nodes {
					if since := time.Since(x.Status().Peers[0].Agreed); since > yieldDelay+time.Second {
						t.Errorf("%s: agreed %v ago", x.name, since)
					}
				}
			})
		})
	}
}

// met is when either island last started a comparison with the other.
func met(a, b *isle) time.Time {
	x, y := a.Status().Peers[0].Tried, b.Status().Peers[0].Tried
	if x.After(y) {
		return x
	}
	return y
}
