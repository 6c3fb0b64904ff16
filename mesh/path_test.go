package mesh

import (
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/atoll-mesh/atoll/mesh/carrier"
	"github.com/atoll-mesh/atoll/mesh/rpc"
)

// TestBulkTakesTCP connects over QUIC alone and then asks for a bulk stream.
func TestBulkTakesTCP(t *testing.T) {
	w := newWorld(t)
	w.admit("anegada", "bonaire")
	a, b := w.run(w.prepare("anegada", nil)), w.prepare("bonaire", nil)
	w.run(b)
	for _, i := range []*island{a, b} {
		other := map[*island]*island{a: b, b: a}[i]
		i.host.Peerstore().ClearAddrs(other.host.ID())
		i.swarm.ClosePeer(other.host.ID())
	}
	a.host.Peerstore().AddAddrs(b.host.ID(), b.addrsOver("quic"), peerstore.PermanentAddrTTL)
	w.connect(a, b)
	for _, i := range []*island{a, b} {
		for _, c := range i.swarm.Conns() {
			if isTCP(c.RemoteMultiaddr()) {
				_ = c.Close()
			}
		}
	}
	eventually(t, "QUIC alone connects them", func() bool { return a.status(t, "bonaire").Transport == "quic" })
	a.host.Peerstore().AddAddrs(b.host.ID(), b.addrsOver("tcp"), peerstore.PermanentAddrTTL)

	normal, err := a.dialStream(t.Context(), b.key(), rpc.Normal)
	if err != nil {
		t.Fatal(err)
	}
	defer normal.Close()
	if isTCP(normal.(*carrier.Conn).Over().RemoteMultiaddr()) {
		t.Error("a normal call made a second connection")
	}
	bulk, err := a.dialStream(t.Context(), b.key(), rpc.Bulk)
	if err != nil {
		t.Fatal(err)
	}
	defer bulk.Close()
	if over := bulk.(*carrier.Conn).Over().RemoteMultiaddr(); !isTCP(over) {
		t.Errorf("a bulk call goes over %s", over)
	}
	eventually(t, "TCP is what the status shows", func() bool {
		return a.status(t, "bonaire").Transport == "tcp" && a.status(t, "bonaire").Security == "noise"
	})
}

func TestRestartFindsOthersByTheAddressBook(t *testing.T) {
	w := newWorld(t)
	w.admit("anegada", "bonaire")
	dir := t.TempDir()
	keepDir := func(o *Options) { o.Dir = dir }
	a, b := w.run(w.prepare("anegada", keepDir)), w.island("bonaire")
	w.connect(a, b)
	a.stop()
	w.all = nil // nobody introduces it again
	again := w.run(w.prepare("anegada", keepDir))
	eventually(t, "the restarted island finds the other", func() bool { return again.inReach(b) })
}

// hole passes TCP on until it swallows everything, as a firewall that forgot.
type hole struct {
	net.Listener
	target string
	shut   atomic.Bool
	wg     sync.WaitGroup
	mu     sync.Mutex
	conns  []net.Conn
}

func newHole(t *testing.T, target ma.Multiaddr) *hole {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, addr, err := manet.DialArgs(target)
	if err != nil {
		t.Fatal(err)
	}
	h := &hole{Listener: l, target: addr}
	h.wg.Go(h.run)
	t.Cleanup(h.end)
	return h
}

func (h *hole) run() {
	for {
		c, err := h.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", h.target)
		if err != nil {
			_ = c.Close()
			continue
		}
		h.mu.Lock()
		h.conns = append(h.conns, c, out)
		h.mu.Unlock()
		h.wg.Go(func() { h.pass(c, out) })
		h.wg.Go(func() { h.pass(out, c) })
	}
}

func (h *hole) pass(from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			if !h.shut.Load() {
				_ = to.Close()
			}
			return
		}
		if !h.shut.Load() {
			_, _ = to.Write(buf[:n])
		}
	}
}

func (h *hole) end() {
	_ = h.Close()
	h.mu.Lock()
	for _, c := range h.conns {
		_ = c.Close()
	}
	h.mu.Unlock()
	h.wg.Wait()
}

// TestBlackHole swallows what a connection carries while calls are made: they go
// on over another path.
func TestBlackHole(t *testing.T) {
	w := newWorld(t)
	w.admit("anegada", "bonaire")
	b := w.serving("bonaire")
	h := newHole(t, b.addrsOver("tcp")[0])
	through, err := manet.FromNetAddr(h.Addr())
	if err != nil {
		t.Fatal(err)
	}
	w.all = nil // nobody introduces them
	a := w.island("anegada")
	a.host.Peerstore().AddAddrs(b.host.ID(), []ma.Multiaddr{through}, peerstore.PermanentAddrTTL)
	if _, err := a.renew(t, b); err != nil {
		t.Fatal(err)
	}
	// identify told the real addresses: those are the other path.
	a.host.Peerstore().AddAddrs(b.host.ID(), b.addrsOver("quic"), peerstore.PermanentAddrTTL)
	h.shut.Store(true)
	begin := time.Now()
	eventually(t, "calls go on over another path", func() bool {
		_, err := a.renew(t, b)
		return err == nil
	})
	t.Logf("a call worked again after %s", time.Since(begin).Round(time.Millisecond))
	if a.metric(t, "atoll_mesh_probes_total", "outcome", "dead") == 0 {
		t.Error("no probe found the connection dead")
	}
}

func TestRankPrefersTCP(t *testing.T) {
	var addrs []ma.Multiaddr
	for _, text := range []string{
		"/ip4/11.0.0.9/tcp/1/p2p/12D3KooWJScjcmnwm27si7XEVvQNbDAEVVsgYPS3eEMqEijK47yD/p2p-circuit",
		"/ip4/11.0.0.1/udp/1/quic-v1", "/ip4/10.0.0.1/udp/1/quic-v1", "/ip4/11.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.2/tcp/1",
	} {
		addrs = append(addrs, ma.StringCast(text))
	}
	nobody := func(peer.ID) bool { return false }
	var got []string
	for _, d := range rank(addrs, nobody) {
		text, _, _ := strings.Cut(d.Addr.String(), "/p2p/")
		got = append(got, text+" "+d.Delay.String())
	}
	want := []string{
		"/ip4/11.0.0.1/tcp/1 0s", "/ip4/10.0.0.1/tcp/1 0s", "/ip4/10.0.0.2/tcp/1 50ms",
		"/ip4/10.0.0.1/udp/1/quic-v1 100ms", "/ip4/11.0.0.1/udp/1/quic-v1 600ms", "/ip4/11.0.0.9/tcp/1 900ms",
	}
	if !slices.Equal(got, want) {
		t.Errorf("ranked\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, d := range rank(addrs[1:2], nobody) {
		if d.Delay != 0 {
			t.Errorf("QUIC alone waits %s", d.Delay)
		}
	}
}

// TestRankTriesRelaysInTurn has those first that are near, and each next one while the
// one before is waited for.
func TestRankTriesRelaysInTurn(t *testing.T) {
	const far, near = "12D3KooWJScjcmnwm27si7XEVvQNbDAEVVsgYPS3eEMqEijK47yD", "12D3KooWEp9ChTsdHN2gT9KcpzGnakXFUc4w8MhMaqeXxMesQiYF"
	var addrs []ma.Multiaddr
	for _, text := range []string{
		"/ip4/11.0.0.8/tcp/1/p2p/" + far, "/ip4/11.0.0.8/udp/1/quic-v1/p2p/" + far,
		"/ip4/11.0.0.9/tcp/1/p2p/" + near, "/ip4/11.0.0.9/tcp/2/p2p/" + near,
	} {
		addrs = append(addrs, ma.StringCast(text+"/p2p-circuit"))
	}
	var got []string
	for _, d := range rank(addrs, func(relay peer.ID) bool { return relay.String() == near }) {
		text, _, _ := strings.Cut(d.Addr.String(), "/p2p/")
		got = append(got, text+" "+d.Delay.String())
	}
	want := []string{"/ip4/11.0.0.9/tcp/1 0s", "/ip4/11.0.0.9/tcp/2 50ms", "/ip4/11.0.0.8/tcp/1 1s", "/ip4/11.0.0.8/udp/1/quic-v1 1s"}
	if !slices.Equal(got, want) {
		t.Errorf("ranked\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
