package probe

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// lookup is a host name and the family of the addresses that are wanted of it.
type lookup struct{ host, network string }

// follower follows the addresses of host names.
type follower struct {
	resolver protocol.Resolver
	changed  func()

	mu    sync.Mutex
	known map[lookup]*answer
	asked chan struct{}
}

type answer struct {
	addrs []netip.Addr
	at    time.Time // of the last attempt
}

const (
	// namesAge is for how long an answer is good.
	namesAge = 30 * time.Second
	// namesAtOnce and namesTimeout bound what is asked of name servers.
	namesAtOnce  = 16
	namesTimeout = 5 * time.Second
	// mostAddresses bounds what a name server can make of one target.
	mostAddresses = 64
)

func newFollower(r protocol.Resolver, changed func()) *follower {
	return &follower{resolver: r, changed: changed, known: map[lookup]*answer{}, asked: make(chan struct{}, 1)}
}

// want replaces the names that are followed.
func (n *follower) want(hosts map[lookup]bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for l := range n.known {
		if !hosts[l] {
			delete(n.known, l)
		}
	}
	for l := range hosts {
		if n.known[l] == nil {
			n.known[l] = &answer{}
			select {
			case n.asked <- struct{}{}:
			default: // it is asked for already
			}
		}
	}
}

// addresses are those known of a name, in order.
func (n *follower) addresses(l lookup) []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a := n.known[l]; a != nil {
		return a.addrs
	}
	return nil
}

func (n *follower) run(ctx context.Context) error {
	const pace = 5 * time.Second
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		if n.refresh(ctx) {
			n.changed()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-n.asked:
		}
	}
}

// refresh asks for what is old, and reports whether something is new.
func (n *follower) refresh(ctx context.Context) bool {
	var old []lookup
	n.mu.Lock()
	for l, a := range n.known {
		if time.Since(a.at) >= namesAge {
			old = append(old, l)
		}
	}
	n.mu.Unlock()
	var g errgroup.Group
	g.SetLimit(namesAtOnce)
	changes := make([]bool, len(old))
	for i, l := range old {
		g.Go(func() error {
			changes[i] = n.ask(ctx, l)
			return nil
		})
	}
	_ = g.Wait() // none returns an error
	return slices.Contains(changes, true)
}

// ask looks one name up. A name server that fails changes nothing: the addresses
// known so far are probed on.
func (n *follower) ask(ctx context.Context, l lookup) (changed bool) {
	ctx, cancel := context.WithTimeout(ctx, namesTimeout)
	defer cancel()
	addrs, err := n.resolver.LookupNetIP(ctx, l.network, l.host)
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	addrs = addrs[:min(len(addrs), mostAddresses)]
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.known[l]
	if a == nil {
		return false // nobody wants it any more
	}
	a.at = time.Now()
	if err != nil || len(addrs) == 0 || slices.Equal(a.addrs, addrs) {
		return false
	}
	a.addrs = addrs
	return true
}
