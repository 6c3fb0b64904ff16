package mesh

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/control"
)

// TestBlackHole swallows every packet between two islands that are connected
// directly: they must be talking again, through a relay, within ten seconds.
func TestBlackHole(t *testing.T) {
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 10 * time.Millisecond}
	relay := newSite(t, l.Public("relay", link), "core").up()
	a := newSite(t, l.NAT("box-a", lab.PortRestricted, link).Node("a"), "eu").up()
	b := newSite(t, l.NAT("box-b", lab.PortRestricted, link).Node("b"), "us").up()
	found(t, relay, a, b)
	onPath(t, 40*time.Second, a, b, "direct")

	hole := a.node.Uplink().Block(lab.Filter{Remote: netip.PrefixFrom(b.node.SeenFrom(), 32)})
	began := time.Now()
	// Somebody is in the middle of a call all the while.
	eventually(t, 20*time.Second, "a call gets through again", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, err := control.Act[control.PingRequest, control.PingResult](ctx, a.client(), "ping", control.PingRequest{Name: "b"})
		return err
	})
	took := time.Since(began)
	t.Logf("talking again after %s", took)
	if took > 10*time.Second {
		t.Errorf("it took %s to get around the hole, want at most 10 s", took)
	}
	onPath(t, 20*time.Second, a, b, "relayed")
	hole()
}

func connected(t *testing.T, from, to *site) {
	t.Helper()
	onPath(t, 30*time.Second, from, to, "")
}

// onPath waits until from is connected to another site by the path, "" for any.
func onPath(t *testing.T, within time.Duration, from, to *site, path string) {
	t.Helper()
	eventually(t, within, fmt.Sprintf("%s is connected to %s %s", from.name, to.name, path), func() error {
		peers, err := from.peers()
		if err != nil {
			return err
		}
		p := peers[to.name]
		if p.State != mesh.StateConnected || path != "" && p.Path != path {
			return fmt.Errorf("%s", show(p))
		}
		return nil
	})
}

// wait lets real time pass: processes keep it, not this test.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}
