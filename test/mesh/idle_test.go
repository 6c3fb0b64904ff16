package mesh

import (
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

// idleFor is how long idle traffic is counted.
const idleFor = 60 * time.Second

// TestIdleTraffic counts what two islands that have nothing to say cost the
// link between them: at most 100 bytes a second, both ways and headers included.
func TestIdleTraffic(t *testing.T) {
	l := lab.New(t)
	a := newSite(t, l.Public("a", lab.LinkOptions{Delay: 5 * time.Millisecond}), "eu", "transports: [tcp]").up()
	b := newSite(t, l.Public("b", lab.LinkOptions{Delay: 5 * time.Millisecond}), "us", "transports: [tcp]").up()
	found(t, a, b)
	connected(t, a, b)
	wait(t, 20*time.Second) // what follows a join has been said
	before := a.node.Uplink().Counters()
	wait(t, idleFor)
	got := a.node.Uplink().Counters().Sub(before)
	perSecond := float64(got.InBytes+got.OutBytes) / idleFor.Seconds()
	t.Logf("idle: %.1f B/s, %v", perSecond, got)
	if perSecond > 100 {
		t.Errorf("an idle connection costs %.1f bytes per second, want at most 100", perSecond)
	}
}
