// Package hosttest makes libp2p hosts for tests, as islands have them: QUIC and
// TCP on 127.0.0.1, closed to all keys that the test's roster does not have.
//
// In: a test and a roster. Out: hosts that are closed when the test ends.
package hosttest

import (
	"context"
	"crypto/rand"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
)

// Roster is who may connect.
type Roster struct {
	mu  sync.Mutex
	ids map[peer.ID]bool
}

// Has reports whether the key is a member's.
func (r *Roster) Has(p peer.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ids[p]
}

// Add admits a key.
func (r *Roster) Add(p peer.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids == nil {
		r.ids = map[peer.ID]bool{}
	}
	r.ids[p] = true
}

// Remove ends a membership; connections that are open stay.
func (r *Roster) Remove(p peer.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ids, p)
}

// IDs lists all members but one.
func (r *Roster) IDs(but peer.ID) []peer.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []peer.ID
	for p := range r.ids {
		if p != but {
			out = append(out, p)
		}
	}
	return out
}

type gater struct{ r *Roster }

func (g gater) InterceptPeerDial(p peer.ID) bool                              { return g.r == nil || g.r.Has(p) }
func (gater) InterceptAddrDial(peer.ID, ma.Multiaddr) bool                    { return true }
func (gater) InterceptAccept(network.ConnMultiaddrs) bool                     { return true }
func (gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
func (g gater) InterceptSecured(_ network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return g.r == nil || g.r.Has(p)
}

// Key makes a new ed25519 key.
func Key(t testing.TB) crypto.PrivKey {
	t.Helper()
	k, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// New makes a host under a key (nil for a new one), adds it to the roster (nil
// admits everybody) and closes it when the test ends.
func New(t testing.TB, r *Roster, key crypto.PrivKey, opts ...libp2p.Option) host.Host {
	t.Helper()
	if key == nil {
		key = Key(t)
	}
	h, err := libp2p.New(append([]libp2p.Option{
		libp2p.Identity(key),
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.ConnectionGater(gater{r}),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableMetrics(),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	if r != nil {
		r.Add(h.ID())
	}
	return h
}

// Info is what others need to dial h.
func Info(h host.Host) peer.AddrInfo {
	return peer.AddrInfo{ID: h.ID(), Addrs: h.Network().ListenAddresses()}
}

// Connect has a dial b.
func Connect(t testing.TB, a, b host.Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := a.Connect(ctx, Info(b)); err != nil {
		t.Fatal(err)
	}
}

// Until polls until ok returns true, and fails the test after a generous time.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("never came: %s", what)
		}
		<-tick.C
	}
}

// Run runs something with a Run method until the test ends, or stop is called;
// an error of it fails the test.
func Run(t testing.TB, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(stop)
	return stop
}
