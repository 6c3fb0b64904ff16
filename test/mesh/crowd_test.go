package mesh

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

// TestCrowdBehindOneNAT has many islands behind one address join at the same time:
// limits per address that libraries come with would let in eight.
func TestCrowdBehindOneNAT(t *testing.T) {
	size := 30
	if long() {
		size = 60
	} else {
		t.Logf("%d islands only; ATOLL_LONG=1 makes it 60", size)
	}
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 5 * time.Millisecond}
	gate := newSite(t, l.Public("gate", link), "core").up()
	gate.init()
	token := gate.invite("site", "--uses", fmt.Sprint(size))
	box := l.NAT("box", lab.PortRestricted, link)
	sites := make([]*site, size)
	for n := range sites {
		sites[n] = newSite(t, box.Node(fmt.Sprintf("s%d", n)), "site")
		sites[n].flags = []string{"--log-level", "warn"}
	}
	allUp(sites...)
	began := time.Now()
	var all sync.WaitGroup
	errs := make([]error, size)
	for n, s := range sites {
		all.Go(func() { _, errs[n] = s.atoll("join", token) })
	}
	all.Wait()
	t.Logf("%d joins at once took %s", size, time.Since(began).Round(time.Millisecond))
	for n, err := range errs {
		if err != nil {
			t.Errorf("island %d: %v", n, err)
		}
	}
	if t.Failed() {
		return
	}
	for _, s := range sites {
		eventually(t, 2*time.Minute, s.name+" knows all", func() error {
			n, err := s.network()
			if err == nil && n.Members != size+1 {
				err = fmt.Errorf("it knows %d members, want %d", n.Members, size+1)
			}
			return err
		})
		eventually(t, time.Minute, s.name+" reaches the way in", func() error {
			_, err := s.ping("gate", 5*time.Second)
			return err
		})
	}
	t.Logf("all know all and reach the one outside after %s", time.Since(began).Round(time.Millisecond))
	if refused, err := gate.metric("atoll_mesh_connections_refused_total", `reason="flood"`); err != nil || refused > 0 {
		t.Errorf("%v connections were turned away for being too many: %v", refused, err)
	}
}
