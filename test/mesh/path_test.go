package mesh

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

// punchPatience covers a first attempt at a hole that failed, and the next one a
// minute later.
const punchPatience = 100 * time.Second

// TestBlackHole swallows every packet between two islands that are connected
// directly, in the middle of calls: they must be talking again, through a relay,
// within ten seconds, and no call may hang.
func TestBlackHole(t *testing.T) {
	t.Run("punched", func(t *testing.T) {
		t.Parallel()
		l := lab.New(t)
		link := lab.LinkOptions{Delay: 10 * time.Millisecond}
		blackHole(t, l.Public("relay", link), l.NAT("box-a", lab.PortRestricted, link).Node("a"), l.NAT("box-b", lab.PortRestricted, link).Node("b"))
	})
	t.Run("public", func(t *testing.T) {
		t.Parallel()
		l := lab.New(t)
		link := lab.LinkOptions{Delay: 10 * time.Millisecond}
		blackHole(t, l.Public("relay", link), l.Public("a", link), l.Public("b", link))
	})
}

func blackHole(t *testing.T, relayNode, nodeA, nodeB *lab.Node) {
	relay, a, b := newSite(t, relayNode, "core"), newSite(t, nodeA, "eu"), newSite(t, nodeB, "us")
	allUp(relay, a, b)
	found(t, relay, a, b)
	onPath(t, punchPatience, a, b, "direct")
	onPath(t, punchPatience, b, a, "direct")

	var calls calling
	calls.start(a, b)
	wait(t, 2*time.Second)
	if calls.answered.Load() == 0 {
		t.Fatal("no call was answered before the hole")
	}
	unblock := a.node.Uplink().Block(lab.Filter{Remote: netip.PrefixFrom(b.node.SeenFrom(), 32)})
	began := time.Now()
	var took time.Duration
	for took == 0 {
		// One that was sent now and answered went around the hole.
		if _, err := a.ping("b", 5*time.Second); err == nil {
			took = time.Since(began)
		} else if time.Since(began) > 30*time.Second {
			t.Fatalf("no call got through for 30 s: %v", err)
		}
	}
	t.Logf("talking again after %s", took.Round(time.Millisecond))
	if took > 10*time.Second {
		t.Errorf("it took %s to get around the hole, want at most 10 s", took)
	}
	onPath(t, 20*time.Second, a, b, "relayed")
	calls.stop()
	t.Logf("calls all the while: %d answered, %d failed, the longest took %s; last error: %v",
		calls.answered.Load(), calls.failed.Load(), time.Duration(calls.longest.Load()).Round(time.Millisecond), calls.last)
	if longest := time.Duration(calls.longest.Load()); longest > 15*time.Second {
		t.Errorf("a call hung for %s", longest)
	}
	unblock()
}

// calling calls all the while, several at a time, so that some call is always
// under way.
type calling struct {
	answered, failed atomic.Int64
	longest          atomic.Int64
	mu               sync.Mutex
	last             error
	ended            atomic.Bool
	wg               sync.WaitGroup
}

func (c *calling) start(from, to *site) {
	for range 4 {
		c.wg.Go(func() {
			for !c.ended.Load() {
				c.call(from, to)
				wait(from.t, 10*time.Millisecond)
			}
		})
	}
}

func (c *calling) call(from, to *site) {
	begin := time.Now()
	_, err := from.ping(to.name, time.Minute)
	for took := int64(time.Since(begin)); ; {
		if before := c.longest.Load(); took <= before || c.longest.CompareAndSwap(before, took) {
			break
		}
	}
	if err == nil {
		c.answered.Add(1)
		return
	}
	c.failed.Add(1)
	c.mu.Lock()
	c.last = err
	c.mu.Unlock()
}

func (c *calling) stop() {
	c.ended.Store(true)
	c.wg.Wait()
}
