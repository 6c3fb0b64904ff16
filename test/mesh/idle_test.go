package mesh

import (
	"fmt"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

// idleFor is how long idle traffic is counted: twice the period of what islands
// compare by themselves.
const idleFor = 60 * time.Second

// TestIdleTraffic counts what islands that have nothing to say, each connected to
// three others over TCP, cost their links: at most 100 bytes a second and
// connection, both ways and headers included.
func TestIdleTraffic(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	var sites []*site
	for n := range 4 {
		node := l.Public(fmt.Sprintf("i%d", n), lab.LinkOptions{Delay: 5 * time.Millisecond})
		sites = append(sites, newSite(t, node, []string{"eu", "us"}[n%2], "transports: [tcp]"))
	}
	allUp(sites...)
	found(t, sites[0], sites[1:]...)
	meshed(t, sites...)
	alike(t, time.Minute, sites...)
	wait(t, 40*time.Second) // what follows a join has been said, doubled connections are closed
	before := make([]lab.Counters, len(sites))
	for n, s := range sites {
		before[n] = s.node.Uplink().Counters()
	}
	wait(t, idleFor)
	sum := 0.0
	for n, s := range sites {
		got := s.node.Uplink().Counters().Sub(before[n])
		conns, err := s.metric("atoll_mesh_connections")
		if err != nil {
			t.Fatal(err)
		}
		if int(conns) != len(sites)-1 {
			t.Errorf("%s has %v connections, want %d", s.name, conns, len(sites)-1)
		}
		perSecond := float64(got.InBytes+got.OutBytes) / idleFor.Seconds() / float64(len(sites)-1)
		t.Logf("%s: %.1f B/s and connection, %v", s.name, perSecond, got)
		sum += perSecond
	}
	if mean := sum / float64(len(sites)); mean > 100 {
		t.Errorf("an idle connection costs %.1f bytes per second, want at most 100", mean)
	}
}
