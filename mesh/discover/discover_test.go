package discover

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/mesh/hosttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// simulated makes n members of the given number of regions.
func simulated(n, regions int) []Member {
	out := make([]Member, n)
	for i := range out {
		out[i] = Member{ID: peer.ID(fmt.Sprintf("member-%04d", i)), Region: fmt.Sprintf("region-%d", i%regions)}
	}
	return out
}

// choices lets everybody choose among everybody.
func choices(all []Member, n int, seeds map[peer.ID]maphash.Seed) map[peer.ID][]peer.ID {
	out := map[peer.ID][]peer.ID{}
	for _, m := range all {
		others := make([]Member, 0, len(all)-1)
		for _, o := range all {
			if o.ID != m.ID {
				others = append(others, o)
			}
		}
		if _, ok := seeds[m.ID]; !ok {
			seeds[m.ID] = maphash.MakeSeed()
		}
		out[m.ID] = choose(m.ID, m.Region, slices.Values(others), n, seeds[m.ID])
	}
	return out
}

// islands counts the parts that a graph falls into without the dead.
func islands(all []Member, edges map[peer.ID][]peer.ID, dead map[peer.ID]bool) int {
	near := map[peer.ID][]peer.ID{}
	for a, list := range edges {
		for _, b := range list {
			if !dead[a] && !dead[b] {
				near[a] = append(near[a], b)
				near[b] = append(near[b], a)
			}
		}
	}
	seen := map[peer.ID]bool{}
	parts := 0
	for _, m := range all {
		if dead[m.ID] || seen[m.ID] {
			continue
		}
		parts++
		stack := []peer.ID{m.ID}
		for len(stack) > 0 {
			p := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if !seen[p] {
				seen[p] = true
				stack = append(stack, near[p]...)
			}
		}
	}
	return parts
}

func TestChoiceOf1000(t *testing.T) {
	const n = 4 // what Neighbours: 8 makes each island choose
	all := simulated(1000, 7)
	seeds := map[peer.ID]maphash.Seed{}
	edges := choices(all, n, seeds)
	if parts := islands(all, edges, nil); parts != 1 {
		t.Fatalf("the graph falls into %d parts", parts)
	}
	degree := map[peer.ID]int{}
	region := map[peer.ID]string{}
	for _, m := range all {
		region[m.ID] = m.Region
	}
	abroad := 0
	for a, list := range edges {
		if len(list) != n {
			t.Fatalf("%s chose %d, want %d", a, len(list), n)
		}
		away := false
		for _, b := range list {
			degree[a]++
			degree[b]++
			away = away || region[a] != region[b]
		}
		if away {
			abroad++
		}
	}
	worst := 0
	for _, d := range degree {
		worst = max(worst, d)
	}
	if worst > 6*n {
		t.Errorf("one island has %d connections, want at most %d", worst, 6*n)
	}
	if abroad < len(all)*9/10 {
		t.Errorf("only %d of %d chose another region", abroad, len(all))
	}

	// A third goes down at once; before anybody chooses anew the rest hangs together,
	// but for a few that lost all they knew.
	dead := map[peer.ID]bool{}
	for i := 0; i < len(all); i += 3 {
		dead[all[i].ID] = true
	}
	if parts := islands(all, edges, dead); parts > 3 {
		t.Errorf("without a third of the islands the graph falls into %d parts", parts)
	}

	// One joins.
	more := append(all[:len(all):len(all)], Member{ID: "the new one", Region: "region-3"})
	after := choices(more, n, seeds)
	changed := 0
	for _, m := range all {
		had := map[peer.ID]bool{}
		for _, p := range edges[m.ID] {
			had[p] = true
		}
		lost := 0
		for _, p := range after[m.ID] {
			if !had[p] {
				lost++
			}
		}
		if lost > 1 {
			t.Errorf("%s changed %d of its choices because of one that joined", m.ID, lost)
		}
		changed += lost
	}
	if changed > 30 {
		t.Errorf("one that joined changed %d choices of 4000", changed)
	}
	if changed == 0 {
		t.Error("nobody chose the one that joined")
	}
}

func TestSmallNetworkIsWhole(t *testing.T) {
	all := simulated(AllUpTo-1, 3)
	h := hosttest.New(t, nil, nil)
	d, err := New(Options{Config: Default(), Host: h, Network: "n", Members: func() []Member { return all }})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(d.Neighbours()); got != len(all) {
		t.Errorf("%d of %d are wanted", got, len(all))
	}
	all = simulated(200, 3)
	d.readMembers()
	if got := len(d.Neighbours()); got != 4 {
		t.Errorf("of 200 members %d are wanted, want 4", got)
	}
}

type island struct {
	host.Host
	*Discover
	stop func()
}

type town struct {
	hosttest.Roster
	mu    sync.Mutex
	names map[peer.ID]string
	addrs map[peer.ID][]ma.Multiaddr
	all   []*island
}

func (w *town) list(self peer.ID) []Member {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Member
	for _, p := range w.IDs(self) {
		out = append(out, Member{ID: p, Name: w.names[p]})
	}
	return out
}

func (w *town) where(p peer.ID) []ma.Multiaddr {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.addrs[p]
}

// tell makes a member's name and addresses known by its document.
func (w *town) tell(p peer.ID, name string, addrs []ma.Multiaddr) {
	w.mu.Lock()
	if w.names == nil {
		w.names, w.addrs = map[peer.ID]string{}, map[peer.ID][]ma.Multiaddr{}
	}
	w.names[p], w.addrs[p] = name, addrs
	w.mu.Unlock()
	for _, i := range w.all {
		i.MembersChanged()
	}
}

func (w *town) island(t *testing.T, tweak func(*Options), opts ...libp2p.Option) *island {
	t.Helper()
	i := &island{Host: hosttest.New(t, &w.Roster, nil, opts...)}
	cfg := Default()
	cfg.MDNS, cfg.DHT = false, false
	o := Options{Config: cfg, Host: i.Host, Network: "abcdefghij", Members: func() []Member { return w.list(i.ID()) }, Addrs: w.where}
	if tweak != nil {
		tweak(&o)
	}
	var err error
	if i.Discover, err = New(o); err != nil {
		t.Fatal(err)
	}
	w.all = append(w.all, i)
	for _, other := range w.all {
		other.MembersChanged()
	}
	i.stop = hosttest.Run(t, i.Run)
	return i
}

func addrsOf(h host.Host) []ma.Multiaddr { return h.Network().ListenAddresses() }

func TestKeeperConnectsAndReconnects(t *testing.T) {
	var w town
	a, b := w.island(t, nil), w.island(t, nil)
	w.tell(b.ID(), "berlin", addrsOf(b.Host))
	up := func() bool { return connected(a.Host, b.ID()) }
	hosttest.Until(t, "the connection", up)
	first := a.Network().ConnsToPeer(b.ID())[0]
	first.Close()
	hosttest.Until(t, "a new connection", func() bool { return up() && !a.Network().ConnsToPeer(b.ID())[0].IsClosed() })
}

func TestKeeperBacksOffAndIsRoused(t *testing.T) {
	var w town
	a := w.island(t, nil)
	gone := hosttest.New(t, &w.Roster, nil)
	nobody := addrsOf(gone)
	gone.Close()
	w.tell(gone.ID(), "gone", nobody)
	hosttest.Until(t, "two failures", func() bool { return a.Status(gone.ID()).Failures >= 2 })
	s := a.Status(gone.ID())
	if !s.Chosen || s.Last == "" || s.Next.IsZero() {
		t.Errorf("status %+v, want chosen with the last error and the next try", s)
	}
	a.NetworkChanged()
	hosttest.Until(t, "the waits to begin anew", func() bool { return a.Status(gone.ID()).Failures <= 1 })
}

func TestOnDemand(t *testing.T) {
	var w town
	a, b := w.island(t, nil), w.island(t, nil)
	for i := range 2 * AllUpTo { // a network so large that not everybody is chosen
		w.Add(peer.ID(fmt.Sprintf("absent-%d", i)))
	}
	w.tell(b.ID(), "", addrsOf(b.Host))
	if err := a.Dial(t.Context(), "a stranger"); !errors.Is(err, ErrNoMember) {
		t.Errorf("dialling a stranger: %v, want ErrNoMember", err)
	}
	if err := a.Dial(t.Context(), b.ID()); err != nil {
		t.Fatal(err)
	}
	if !connected(a.Host, b.ID()) {
		t.Error("Dial returned without a connection")
	}
}

// In a network so large that it is not chosen, the only member whose address is
// known is dialled all the same, to be asked for the others.
func TestAsksWhomItKnows(t *testing.T) {
	var w town
	for i := range 2 * AllUpTo {
		w.Add(peer.ID(fmt.Sprintf("absent-%d", i)))
	}
	b := w.island(t, nil)
	w.tell(b.ID(), "", addrsOf(b.Host))
	a := w.island(t, func(o *Options) { o.Config.DHT, o.Server = true, true })
	hosttest.Until(t, "the connection", func() bool { return connected(a.Host, b.ID()) })
	for _, p := range a.Neighbours() {
		if s := a.Status(p); p != b.ID() && s.Failures > 0 && !a.find.knowsWay() {
			t.Errorf("%s counts %d failures although nobody could be asked for it", p, s.Failures)
		}
	}
}

// The network may change while the finder starts.
func TestNetworkChangedAtStart(t *testing.T) {
	var w town
	for range 4 {
		h := hosttest.New(t, &w.Roster, nil)
		cfg := Default()
		cfg.MDNS, cfg.DHT = false, false
		d, err := New(Options{Config: cfg, Host: h, Network: "abcdefghij", Members: func() []Member { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		changed := make(chan struct{})
		go func() { defer close(changed); d.NetworkChanged() }()
		hosttest.Run(t, d.Run)
		<-changed
		hosttest.Until(t, "the finder to notice", func() bool {
			d.find.mu.Lock()
			defer d.find.mu.Unlock()
			return !d.find.again
		})
	}
}

func TestSurplusIsClosed(t *testing.T) {
	var w town
	idle := func(o *Options) { o.Config.IdleFor = model.Duration(50 * time.Millisecond) }
	a, b, kept := w.island(t, idle), w.island(t, nil), w.island(t, nil)
	a.stop()
	for _, i := range []*island{b, kept} {
		hosttest.Connect(t, a.Host, i.Host)
	}
	hosttest.Connect(t, b.Host, kept.Host)
	a.opts.Keep = func(p peer.ID) bool { return p == kept.ID() }
	a.mu.Lock()
	clear(a.wanted)
	a.mu.Unlock()
	k := &keeper{d: a.Discover}
	a.Used(b.ID())
	k.closeSurplus(time.Now())
	if !connected(a.Host, b.ID()) {
		t.Fatal("a connection in use was closed")
	}
	k.closeSurplus(time.Now().Add(time.Minute))
	hosttest.Until(t, "the idle connection to be closed", func() bool { return !connected(a.Host, b.ID()) })
	if !connected(a.Host, kept.ID()) {
		t.Error("a relay's connection was closed")
	}
	// What others opened is theirs to close.
	kept.mu.Lock()
	clear(kept.wanted)
	kept.mu.Unlock()
	(&keeper{d: kept.Discover}).closeSurplus(time.Now().Add(time.Hour))
	if !connected(kept.Host, b.ID()) {
		t.Error("an incoming connection was closed")
	}
}

func TestStaticAddresses(t *testing.T) {
	var w town
	b := w.island(t, nil)
	var hostport string
	for _, l := range addrsOf(b.Host) {
		if port, err := l.ValueForProtocol(ma.P_TCP); err == nil {
			hostport = "127.0.0.1:" + port
		}
	}
	w.tell(b.ID(), "berlin", nil)
	for _, s := range []string{
		hostport,
		"berlin@" + hostport,
		hosttestAddr(b.Host) + "/p2p/" + b.ID().String(),
		hosttestAddr(b.Host),
	} {
		a := w.island(t, func(o *Options) { o.Config.Static = []string{s} })
		hosttest.Until(t, "a connection by "+s, func() bool { return connected(a.Host, b.ID()) })
	}
}

func hosttestAddr(h host.Host) string {
	for _, l := range addrsOf(h) {
		if _, err := l.ValueForProtocol(ma.P_TCP); err == nil {
			return l.String()
		}
	}
	return ""
}

func TestStaticStrangerIsNotDialled(t *testing.T) {
	var w town
	stranger := hosttest.New(t, nil, nil)
	a := w.island(t, func(o *Options) { o.Config.Static = []string{hosttestAddr(stranger)} })
	hosttest.Until(t, "the stranger to be noticed", func() bool {
		return testutil.ToFloat64(a.metrics.strangers.WithLabelValues("static")) > 0
	})
	if connected(a.Host, stranger.ID()) {
		t.Error("a stranger was connected to")
	}
}

// TestDHT: a knows only b, b knows c; a finds c by b's word. d is connected to b
// too but is no member for a.
func TestDHT(t *testing.T) {
	var w town
	server := func(o *Options) { o.Config.DHT, o.Server = true, true }
	b := w.island(t, server)
	c := w.island(t, server)
	// Alone in its own roster, it only answers.
	lost := w.island(t, func(o *Options) { server(o); o.Members = func() []Member { return nil } })
	hosttest.Connect(t, b.Host, c.Host)
	hosttest.Connect(t, b.Host, lost.Host)
	hosttest.Until(t, "b's table", func() bool { return b.find.table.RoutingTable().Size() == 2 })
	a := w.island(t, func(o *Options) {
		server(o)
		all := o.Members
		o.Members = func() []Member {
			var out []Member
			for _, m := range all() {
				if m.ID != lost.ID() {
					out = append(out, m)
				}
			}
			return out
		}
	})
	hosttest.Connect(t, a.Host, b.Host)
	hosttest.Until(t, "a connection that nobody told of", func() bool { return connected(a.Host, c.ID()) })
	a.find.introduce(t.Context())
	for _, p := range a.find.table.RoutingTable().ListPeers() {
		if p == lost.ID() {
			t.Error("a non-member is in the table")
		}
	}
	if got := a.Peerstore().Addrs(lost.ID()); len(got) > 0 {
		t.Errorf("addresses of a non-member were stored: %v", got)
	}
	if testutil.ToFloat64(a.metrics.strangers.WithLabelValues("dht")) == 0 {
		t.Error("the non-member was never offered, so the test shows nothing")
	}
}

func TestMDNS(t *testing.T) {
	ip := multicastIP(t)
	var w town
	on := func(o *Options) { o.Config.MDNS = true }
	listen := libp2p.ListenAddrStrings("/ip4/" + ip + "/tcp/0")
	a := w.island(t, on, listen)
	stranger := hosttest.New(t, nil, nil, listen)
	s := mdns.NewMdnsService(stranger, service("abcdefghij"), ignore{})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := w.island(t, on, listen)
	hosttest.Until(t, "a connection by mDNS", func() bool { return connected(a.Host, b.ID()) })
	hosttest.Until(t, "the stranger to be heard", func() bool {
		return testutil.ToFloat64(b.metrics.strangers.WithLabelValues("mdns")) > 0
	})
	if connected(b.Host, stranger.ID()) || len(b.Peerstore().Addrs(stranger.ID())) > 0 {
		t.Error("a stranger's address was kept")
	}
}

type ignore struct{}

func (ignore) HandlePeerFound(peer.AddrInfo) {}

// multicastIP finds an interface that carries multicast; without one there is no
// local network to look at.
func multicastIP(t *testing.T) string {
	t.Helper()
	ifs, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range ifs {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagMulticast == 0 {
			continue
		}
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
				return n.IP.String()
			}
		}
	}
	t.Skip("this machine has no interface that is up, carries multicast and has an IPv4 address")
	return ""
}

func TestParseStatic(t *testing.T) {
	for in, want := range map[string]string{
		"site.example:59443":                "[/dns/site.example/udp/59443/quic-v1 /dns/site.example/tcp/59443]",
		"berlin@11.0.0.1:1":                 "berlin [/ip4/11.0.0.1/udp/1/quic-v1 /ip4/11.0.0.1/tcp/1]",
		"[2600::1]:59443":                   "[/ip6/2600::1/udp/59443/quic-v1 /ip6/2600::1/tcp/59443]",
		"/dns/site.example/tcp/59443":       "[/dns/site.example/tcp/59443]",
		"/ip4/11.0.0.1/udp/7/quic-v1":       "[/ip4/11.0.0.1/udp/7/quic-v1]",
		"site.example":                      "error",
		"site.example:0":                    "error",
		"@site.example:1":                   "error",
		"/ip4/11.0.0.1":                     "error",
		"/ip4/11.0.0.1/udp/7":               "error",
		"":                                  "error",
		"a b/c:1":                           "error",
		strings.Repeat("x", 600) + ":59443": "error",
	} {
		got := "error"
		if s, err := ParseStatic(in); err == nil {
			got = strings.TrimSpace(fmt.Sprint(s.Who, " ", s.Addrs))
		}
		if got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func FuzzParseStatic(f *testing.F) {
	for _, s := range []string{"site.example:59443", "berlin@[::1]:1", "/ip4/1.2.3.4/tcp/1/p2p/12D3KooWGRUfVvJ4Ty4KQJxQZfEVbjQYNm8nX5aUVnV4sFhmTSzg", "@", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseStatic(s)
		if err != nil {
			return
		}
		if len(got.Addrs) == 0 || len(got.Addrs) > 2 {
			t.Fatalf("%q gave %d addresses", s, len(got.Addrs))
		}
		for _, a := range got.Addrs {
			if again, err := ma.NewMultiaddr(a.String()); err != nil || !again.Equal(a) {
				t.Fatalf("%q gave %s, which does not read back: %v", s, a, err)
			}
		}
	})
}

func TestWaitsGrow(t *testing.T) {
	var tg target
	now := time.Now()
	for i := range 40 {
		tg.fail(now, "x")
		wait := tg.next.Sub(now)
		if low := min(firstWait<<min(i, 16), lastWait) / 2; wait < low || wait > 3*low {
			t.Errorf("wait %d is %v, want %v to %v", i+1, wait, low, 3*low)
		}
	}
}
