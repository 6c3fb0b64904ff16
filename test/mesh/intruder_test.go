package mesh

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	circuit "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	ma "github.com/multiformats/go-multiaddr"
	mss "github.com/multiformats/go-multistream"

	"github.com/atoll-mesh/atoll/lab"
)

// intruderVariable holds the attack that this test binary, started again on a
// host of the lab, is to carry out.
const intruderVariable = "ATOLL_INTRUDER"

// attack is what an intruder does. One from outside is plain libp2p and raw sockets,
// and holds none of the project's code.
type attack struct {
	// Seed of the key to come with; none makes a key up.
	Seed []byte
	// Target is the attacked island's peer ID, Network its network's ID.
	Target, Network string
	Host            netip.Addr
	// Garbage is how many connections, and as many datagrams, of nonsense to
	// send; Flood how many connections to open.
	Garbage, Flood int
	// Forge spreads forged documents, as the member whose data directory is Data.
	Forge bool
	Data  string
	// Chatter is how long to flood with gossip, as the member of Seed and Certificate.
	Chatter     time.Duration
	Certificate []byte
	// Call is whom to call, and Serve has calls answered, as the member of Data.
	Call  string
	Serve bool
	// Relayed has calls wait for a relayed path to whom Call names, and for an address
	// of it by another relay; otherwise for a direct one and any relay.
	Relayed bool
	// Haul is how many bytes to have sent by whom Call names, or, with Serve, that
	// they are sent, over Transports; not before the file Begin is there.
	Haul       int64
	Transports []string
	Begin      string
	Report     string // file
}

// loot is what an intruder got.
type loot struct {
	// Tried counts attempts to agree on a protocol, Allowed names what worked.
	Tried   int
	Allowed []string
	// Open counts connections that were open a second after they were made.
	Open int
	// Flooded counts connections that were opened, handshakes included where there
	// were any; Hung those that nobody closed within half a minute.
	// Of gossip, Flooded counts messages, Bytes what they took, Resets streams that
	// the target ended, and Refused streams that it did not open.
	Flooded, Hung, Resets, Refused int
	Bytes                          int64
	// Offered counts forged documents that were offered by comparison too; Outcomes
	// say what was answered to each.
	Offered  int
	Outcomes []string
}

// intrude carries out an attack from a host.
func intrude(t *testing.T, from *lab.Node, target *site, a attack) loot {
	t.Helper()
	id := target.identity()
	a.Target, a.Network, a.Host = id.Key, id.NetworkID, target.node.Addr()
	a.Report = filepath.Join(t.TempDir(), "report.json")
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := from.Command(ctx, self, "-test.run=^TestIntruder$")
	cmd.Env = append(os.Environ(), intruderVariable+"="+string(text))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("the intruder failed: %v\n%s", err, out.String())
	}
	var got loot
	text, err = os.ReadFile(a.Report)
	if err == nil {
		err = json.Unmarshal(text, &got)
	}
	if err != nil {
		t.Fatalf("read the intruder's report: %v\n%s", err, out.String())
	}
	return got
}

// TestIntruder is the intruder's process; as a test of its own there is nothing to do.
func TestIntruder(t *testing.T) {
	text := os.Getenv(intruderVariable)
	if text == "" {
		t.Skip("skipped: this is the other side of TestHostile, TestHostileMember, TestOpenCallAcrossBlackHole and TestBulkOverWAN, which start it in a process of its own")
	}
	var a attack
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatal(err)
	}
	var got loot
	switch {
	case a.Serve && a.Haul > 0:
		a.load(t)
	case a.Haul > 0:
		a.haul(t)
	case a.Serve:
		a.serveCalls(t)
	case a.Call != "":
		a.openCalls(t)
	case a.Forge:
		a.forge(t, &got)
	case a.Chatter > 0:
		a.chatter(t, &got)
	case a.Garbage > 0:
		a.garbage(t, &got)
	case a.Flood > 0:
		a.flood(t, &got)
	default:
		a.speak(t, &got)
	}
	out, err := json.Marshal(got)
	if err == nil {
		err = os.WriteFile(a.Report, out, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (a attack) addresses(t *testing.T) map[string]peer.AddrInfo {
	t.Helper()
	id, err := peer.Decode(a.Target)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]peer.AddrInfo{
		"tcp":  {ID: id, Addrs: []ma.Multiaddr{ma.StringCast(fmt.Sprintf("/ip4/%s/tcp/59443", a.Host))}},
		"quic": {ID: id, Addrs: []ma.Multiaddr{ma.StringCast(fmt.Sprintf("/ip4/%s/udp/59443/quic-v1", a.Host))}},
	}
}

func (a attack) host(t *testing.T) host.Host {
	t.Helper()
	source := bytes.NewReader(a.Seed)
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if len(a.Seed) > 0 {
		key, _, err = crypto.GenerateEd25519Key(source)
	}
	if err != nil {
		t.Fatal(err)
	}
	h, err := libp2p.New(libp2p.Identity(key), libp2p.NoListenAddrs, libp2p.DisableMetrics(), libp2p.ResourceManager(&network.NullResourceManager{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// speak tries every protocol that an island has, each on a connection of its own.
func (a attack) speak(t *testing.T, got *loot) {
	net8 := a.Network[:8]
	protocols := []protocol.ID{
		identify.ID, identify.IDPush, ping.ID, pubsub.GossipSubID_v11, pubsub.GossipSubID_v12, circuit.ProtoIDv2Hop, circuit.ProtoIDv2Stop,
		"/libp2p/dcutr", "/libp2p/autonat/1.0.0", "/atoll/hello/1", "/atoll/join/1",
		protocol.ID("/atoll/" + net8 + "/rpc/1"), protocol.ID("/atoll/" + net8 + "/kad/1.0.0"),
	}
	h := a.host(t)
	for transport, at := range a.addresses(t) {
		for _, id := range protocols {
			got.Tried++
			if err := speak(h, at, id); err == nil {
				got.Allowed = append(got.Allowed, transport+" "+string(id))
			}
		}
		h.Network().(*swarm.Swarm).Backoff().Clear(at.ID)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_ = h.Connect(ctx, at) // that it returns nil means nothing
		cancel()
		wait(t, time.Second)
		got.Open += len(h.Network().ConnsToPeer(at.ID))
	}
}

func speak(h host.Host, at peer.AddrInfo, id protocol.ID) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	defer h.Network().ClosePeer(at.ID)
	h.Network().(*swarm.Swarm).Backoff().Clear(at.ID)
	if err := h.Connect(ctx, at); err != nil {
		return err
	}
	s, err := h.Network().NewStream(network.WithNoDial(ctx, "intruder"), at.ID)
	if err != nil {
		return err
	}
	defer s.Reset()
	_ = s.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = mss.SelectOneOf([]protocol.ID{id}, s)
	return err
}

// nonsense are the beginnings of what is sent to a port: noise, frames that
// announce more than they bring, and the start of a handshake that never ends.
func nonsense(n int) []byte {
	random := make([]byte, 1200)
	_, _ = rand.Read(random) // crypto/rand never fails
	switch n % 5 {
	case 0:
		return random
	case 1: // multistream: a message of 2^63 bytes
		return append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, random...)
	case 2: // multistream agreed, then a frame of Noise of the largest size
		return append([]byte("\x13/multistream/1.0.0\n\x07/noise\n\xff\xff"), bytes.Repeat(random, 54)...)
	case 3: // multistream, then a record of TLS that is too long
		return append([]byte("\x13/multistream/1.0.0\n\x0b/tls/1.0.0\n\x16\x03\x01\xff\xff"), bytes.Repeat(random, 54)...)
	default: // an Initial packet of QUIC with nothing true in it
		return append([]byte{0xc3, 0, 0, 0, 1, 8}, random[:1194]...)
	}
}

// garbage sends nonsense over TCP and UDP.
func (a attack) garbage(t *testing.T, got *loot) {
	at := fmt.Sprintf("%s:59443", a.Host)
	udp, err := net.Dial("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	var opened, hung atomic.Int64
	each(a.Garbage, 64, func(n int) {
		_, _ = udp.Write(nonsense(n)[:1200]) // what is lost is lost
		conn, err := net.DialTimeout("tcp", at, 10*time.Second)
		if err != nil {
			return
		}
		defer conn.Close()
		opened.Add(1)
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		_, _ = conn.Write(nonsense(n)) // it may be closed half-way
		if closedByPeer(conn) {
			return
		}
		hung.Add(1)
	})
	got.Flooded, got.Hung = int(opened.Load()), int(hung.Load())
}

// closedByPeer reads until the connection ends; false means that time ran out.
func closedByPeer(conn net.Conn) bool {
	buf := make([]byte, 4096)
	for {
		_, err := conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		if err != nil {
			return true
		}
	}
}

// flood opens connections as fast as it can: a third say nothing, the others come
// with a key that nobody knows, over TCP and QUIC.
func (a attack) flood(t *testing.T, got *loot) {
	at := fmt.Sprintf("%s:59443", a.Host)
	addresses := a.addresses(t)
	hosts := make([]host.Host, 16)
	for n := range hosts {
		hosts[n] = a.host(t)
	}
	var mu sync.Mutex
	var silent []net.Conn
	each(a.Flood, 64, func(n int) {
		ok := false
		switch n % 3 {
		case 0:
			conn, err := net.DialTimeout("tcp", at, 5*time.Second)
			if ok = err == nil; ok {
				mu.Lock()
				silent = append(silent, conn)
				mu.Unlock()
			}
		case 1, 2:
			h, to := hosts[n%len(hosts)], addresses[[]string{"tcp", "quic"}[n%3-1]]
			h.Network().(*swarm.Swarm).Backoff().Clear(to.ID)
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			ok = h.Connect(ctx, to) == nil
			cancel()
			_ = h.Network().ClosePeer(to.ID)
		}
		if ok {
			mu.Lock()
			got.Flooded++
			mu.Unlock()
		}
	})
	deadline := time.Now().Add(30 * time.Second)
	for _, conn := range silent {
		_ = conn.SetDeadline(deadline)
		if !closedByPeer(conn) {
			got.Hung++
		}
		_ = conn.Close()
	}
}

// each calls f for 0 to n-1, some at a time.
func each(n, atOnce int, f func(int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	all.Wait()
}
