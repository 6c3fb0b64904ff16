package interop

import (
	"slices"
	"strings"
	"testing"

	"github.com/atoll-mesh/atoll/mesh/enrol"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire"
)

// TestForeignMember: a peer that shares no code with this one joins by token, is
// admitted, greeted and served, hears and is heard, and changes its key.
func TestForeignMember(t *testing.T) {
	needNode(t)
	first := found(t)
	second := join(t, first, "second")
	eventually(t, "the two islands are connected", func() bool { return len(first.Connected()) == 1 && len(second.Connected()) == 1 })
	token := first.invite(enrol.InviteOptions{Labels: map[string]string{"region": "south"}})

	peer := start(t, "peer.mjs", "visit", "--token", token.Line(), "--name", "foreign")
	key := checkJoin(t, peer, first)
	checkHello(t, peer, first)
	checkCalls(t, peer, first)
	eventually(t, "the foreign member is in reach", func() bool { return slices.Contains(first.Connected(), key) })
	checkStatus(t, first)
	checkGossip(t, peer, key, first, second)
	checkRekey(t, peer, key, first)
	peer.end()

	// Its invitation is used up now: its holder is a guest still, and learns why it stays one.
	guest := start(t, "peer.mjs", "guest", "--token", token.Line(), "--name", "another")
	var tried attempt
	guest.next("guest", &tried)
	if !tried.Connected || len(tried.Opened) != 0 {
		t.Errorf("a guest could open %v, want nothing but the join protocol", tried.Opened)
	}
	var again struct{ Refusal string }
	guest.next("again", &again)
	if !strings.Contains(again.Refusal, "used up") {
		t.Errorf("a used invitation is answered with %q", again.Refusal)
	}
	guest.end()
}

// attempt is what became of trying every protocol.
type attempt struct {
	Connected, Closed bool
	Opened, Errors    []string
}

// TestForeignStranger: who has no key that the network knows gets nowhere.
func TestForeignStranger(t *testing.T) {
	needNode(t)
	first := found(t)
	peer := start(t, "peer.mjs", "stranger", "--token", first.invite(enrol.InviteOptions{}).Line())
	var tried attempt
	peer.next("stranger", &tried)
	if len(tried.Opened) != 0 {
		t.Errorf("a stranger could open %v", tried.Opened)
	}
	if tried.Connected && !tried.Closed {
		t.Error("a stranger's connection is left open")
	}
	if n := first.metric("atoll_mesh_connections_refused_total", "stranger"); n != 1 {
		t.Errorf("%v strangers were turned away, want 1", n)
	}
	peer.end()
}

func checkJoin(t *testing.T, peer *foreign, first *isle) trust.Key {
	t.Helper()
	var said struct {
		Network, NetworkName, Peer, Name, Role string
		Members                                []string
	}
	peer.next("join", &said)
	key, err := trust.ParseKey(said.Peer)
	if err != nil {
		t.Fatal(err)
	}
	m, ok := first.state.Load().MemberByKey(key)
	if !ok || m.Name != said.Name || m.Labels["region"] != "south" {
		t.Fatalf("the foreign peer is member %+v, by its own word %s", m, said.Name)
	}
	if said.Network != first.home.Network().Short() || said.NetworkName != "reef" || said.Role != trust.RoleIsland {
		t.Errorf("it joined network %s %q as %s", said.Network, said.NetworkName, said.Role)
	}
	if want := []string{"first", "foreign", "second"}; !slices.Equal(said.Members, want) {
		t.Errorf("it knows of members %v, want %v", said.Members, want)
	}
	return key
}

func checkHello(t *testing.T, peer *foreign, first *isle) {
	t.Helper()
	var hello struct {
		Software, Island, Role, Observed string
		Version                          uint32
		SkewMs                           int64
	}
	peer.next("hello", &hello)
	if hello.Software != "atoll interop" || hello.Version != wire.Version || hello.Island != "first" || hello.Role != trust.RoleAdmin {
		t.Errorf("it heard the hello %+v", hello)
	}
	if !strings.HasPrefix(hello.Observed, "/ip4/127.0.0.1/tcp/") || hello.SkewMs > patience.Milliseconds() {
		t.Errorf("it heard that it is at %s, its clock %d ms off", hello.Observed, hello.SkewMs)
	}
	var ping struct{ Ms float64 }
	peer.next("ping", &ping)
	var identify struct {
		Agent     string
		Protocols []string
	}
	peer.next("identify", &identify)
	prefix := "/atoll/" + first.home.Network().Short()
	for _, p := range []string{"/atoll/hello/1", prefix + "/rpc/1", "/ipfs/ping/1.0.0"} {
		if !slices.Contains(identify.Protocols, p) {
			t.Errorf("identify lists %v, not %s", identify.Protocols, p)
		}
	}
	if identify.Agent != "atoll interop" {
		t.Errorf("identify names the software %q", identify.Agent)
	}
}

func checkCalls(t *testing.T, peer *foreign, first *isle) {
	t.Helper()
	var sync struct {
		Status                    int
		Documents                 []string
		Signatures, Digests, Root bool
		Stored                    int
		Refused                   bool
	}
	peer.next("sync", &sync)
	if sync.Status != 0 || !sync.Signatures || !sync.Digests || !sync.Root {
		t.Errorf("comparing documents: %+v", sync)
	}
	if sync.Stored != 1 || !sync.Refused {
		t.Errorf("of a document of its own and a policy that it may not set %d were stored, the policy refused: %t", sync.Stored, sync.Refused)
	}
	const pushed = "silence/from-js"
	all := first.documents.Keys("")
	want := slices.DeleteFunc(slices.Clone(all), func(key string) bool { return key == pushed })
	if !slices.Equal(sync.Documents, want) || len(want) == len(all) {
		t.Errorf("it fetched %v and pushed %s, now there are %v", sync.Documents, pushed, all)
	}
	var renew struct {
		Status  int
		Version uint32
		ForMe   bool
	}
	peer.next("renew", &renew)
	if renew.Status != 0 || renew.Version != wire.Version || !renew.ForMe {
		t.Errorf("renewing its certificate: %+v", renew)
	}
	var denied struct {
		Forged, Unknown int
		Why             string
	}
	peer.next("denied", &denied)
	const permissionDenied, unimplemented = 7, 12
	if denied.Forged != permissionDenied || !strings.Contains(denied.Why, "not a signature by") || denied.Unknown != unimplemented {
		t.Errorf("what is not allowed: %+v", denied)
	}
}

// checkStatus looks at the foreign member as an operator would.
func checkStatus(t *testing.T, first *isle) {
	t.Helper()
	for _, p := range first.Peers() {
		if p.Name != "foreign" {
			continue
		}
		if p.Software != "atoll-interop js" || p.Transport != "tcp" || p.Security != "noise" || p.Path != "direct" || p.Version != wire.Oldest { // the js peer was written to that
			t.Errorf("status of the foreign member: %+v", p)
		}
		return
	}
	t.Error("the foreign member is not listed")
}

func checkGossip(t *testing.T, peer *foreign, key trust.Key, first, second *isle) {
	t.Helper()
	var listening struct{ Topic string }
	peer.next("listening", &listening)
	first.CertificateChanged()
	var greeted struct{ Island, Refusal string }
	peer.next("greeted", &greeted)
	if greeted.Island != "first" || greeted.Refusal != "" {
		t.Errorf("it was greeted anew by %+v", greeted)
	}
	if _, err := first.documents.Set(t.Context(), "dashboard/from-go", []byte("title: drawn here\n"), 0); err != nil {
		t.Fatal(err)
	}
	var heard struct {
		From, Key, Value string
		Holds            bool
	}
	peer.next("heard", &heard)
	if heard.From != first.home.Node().Public().String() || heard.Key != "dashboard/from-go" || heard.Value != "title: drawn here\n" || !heard.Holds {
		t.Errorf("it heard %+v", heard)
	}
	var told struct{ Key string }
	peer.next("told", &told)
	for _, i := range []*isle{first, second} {
		eventually(t, "its document is known", func() bool {
			d, err := i.documents.Get(told.Key)
			return err == nil && string(d.GetAuthor()) == string(key.Bytes())
		})
	}
	// first heard it from who wrote it, second by way of first.
	for _, i := range []*isle{first, second} {
		hints, dropped := i.metric("atoll_replica_accepted_documents_total", "hint"), i.metric("atoll_mesh_gossip_dropped_total", "stranger")
		if hints < 1 || dropped > 0 {
			t.Errorf("gossip at %s: %v documents came by it, %v announcements were dropped as strangers'", i.name(), hints, dropped)
		}
	}
}

func checkRekey(t *testing.T, peer *foreign, key trust.Key, first *isle) {
	t.Helper()
	var rekey struct {
		Status  int
		Peer    string
		ForNext bool
	}
	peer.next("rekey", &rekey)
	if rekey.Status != 0 || !rekey.ForNext {
		t.Fatalf("changing its key: %+v", rekey)
	}
	next, err := trust.ParseKey(rekey.Peer)
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := first.state.Load().MemberByKey(key); !ok || m.Key != next {
		t.Fatalf("the member's key is %v, want %s", m, next)
	}
	var hello struct{ Island string }
	peer.next("hello", &hello)
	eventually(t, "the foreign member is in reach by its new key", func() bool { return slices.Contains(first.Connected(), next) })
}
