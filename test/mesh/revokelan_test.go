package mesh

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

// TestRevocationOnALAN ends three memberships, one after the other: the rest must
// have heard of one of them within a second. The best counts, because a machine that
// others use adds to each.
func TestRevocationOnALAN(t *testing.T) {
	lan := lab.New(t).LAN("lan")
	staying := []*site{newSite(t, lan.Node("a"), "eu"), newSite(t, lan.Node("b"), "eu"), newSite(t, lan.Node("c"), "eu")}
	all := slices.Clone(staying)
	var victims []*site
	for n := range joinTries {
		victims = append(victims, newSite(t, lan.Node(fmt.Sprintf("v%d", n)), "eu"))
	}
	all = append(all, victims...)
	allUp(all...)
	found(t, all[0], all[1:]...)
	meshed(t, all...)
	best := time.Hour
	for _, v := range victims {
		began := time.Now()
		staying[0].must("revoke", v.name)
		took := inParallel(t, staying, func(s *site) error { return s.knowsNot(v.name) }).Sub(began)
		t.Logf("all had heard of %s after %s, the command included", v.name, took.Round(time.Millisecond))
		best = min(best, took)
		eventually(t, time.Minute, v.name+" has no connection", func() error { return noneConnected(v) })
	}
	if best > time.Second {
		t.Errorf("a revocation took %s to reach every island of a LAN, want at most 1 s", best)
	}
}
