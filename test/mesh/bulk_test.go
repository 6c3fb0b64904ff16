package mesh

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/trust"
)

const (
	// haulMethod sends as many bytes as it is asked for.
	haulMethod = "/atoll.lab.v1.Haul/Pull"
	// haulMessage is the size of one message of it.
	haulMessage = 256 << 10
)

// hauling is how fast bulk went, and by what.
type hauling struct {
	bytes      int64
	took       time.Duration
	transport  string // of the connection that carried it
	congestion string // of the sender; empty over QUIC
	before     string // the transport of the connection that was there before
}

func (h hauling) mbit() float64 { return float64(h.bytes) * 8 / 1e6 / h.took.Seconds() }

func (h hauling) String() string {
	return fmt.Sprintf("%d bytes in %.2f s over %s %s (connected over %s before): %.1f Mbit/s",
		h.bytes, h.took.Seconds(), h.transport, h.congestion, h.before, h.mbit())
}

// TestBulkOverWAN has one island send another some megabytes by a call of class Bulk,
// where packets take 100 ms there and back, each hundredth is lost and the line has
// 100 Mbit/s: they go over TCP with BBR, also where the islands met over QUIC, and
// that carries many times what QUIC does.
func TestBulkOverWAN(t *testing.T) {
	t.Parallel()
	both := mesh.Default().Transports
	var quic, tcp hauling
	t.Run("quic", func(t *testing.T) {
		quic = haul(t, 2<<20, []string{"quic"}, false)
		t.Log(quic)
		if quic.transport != "quic" {
			t.Errorf("with QUIC alone bulk went over %s", quic.transport)
		}
	})
	t.Run("both", func(t *testing.T) {
		tcp = haul(t, 40<<20, both, false)
		t.Log(tcp)
		if tcp.transport != "tcp" || tcp.congestion != "bbr" {
			t.Errorf("bulk went over %s %s, want TCP with BBR", tcp.transport, tcp.congestion)
		}
	})
	t.Run("met over quic", func(t *testing.T) {
		got := haul(t, 40<<20, both, true)
		t.Log(got)
		if got.before != "quic" || got.transport != "tcp" || got.congestion != "bbr" {
			t.Errorf("they met over %s and bulk went over %s %s, want TCP with BBR beside QUIC", got.before, got.transport, got.congestion)
		}
	})
	if t.Failed() {
		return
	}
	ratio := tcp.mbit() / quic.mbit()
	t.Logf("TCP with BBR carries %.1f times what QUIC does", ratio)
	if ratio < 5 {
		t.Errorf("TCP with BBR carries %.1f Mbit/s, QUIC %.1f: want 5 times as much at least", tcp.mbit(), quic.mbit())
	}
}

// haul has a new pair of islands send bytes; where late is set TCP does not get
// through while they meet.
func haul(t *testing.T, size int64, transports []string, late bool) (got hauling) {
	t.Helper()
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 25 * time.Millisecond, Rate: 100e6}
	a, b := newSite(t, l.Public("a", link), "eu"), newSite(t, l.Public("b", link), "us")
	allUp(a, b)
	found(t, a, b)
	meshed(t, a, b)
	key := a.identity().Key
	a.stop()
	b.stop()
	unblock := func() {}
	if late {
		unblock = b.node.Uplink().Block(lab.Filter{Transport: lab.TCP})
	}
	order := attack{Haul: size, Transports: transports, Begin: filepath.Join(t.TempDir(), "begin")}
	order.Data, order.Serve = a.data(), true
	accomplice(t, a, order)
	order.Data, order.Serve, order.Call = b.data(), false, key
	said := accomplice(t, b, order)
	hear(t, said, time.Minute, "connected")
	unblock()
	b.node.Uplink().SetLoss(0.01)
	if err := os.WriteFile(order.Begin, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	line := hear(t, said, 5*time.Minute, "hauled ")[0].text
	var ns int64
	if _, err := fmt.Sscanf(line, "hauled %d %d %s %s %s", &got.bytes, &ns, &got.transport, &got.congestion, &got.before); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	if got.took = time.Duration(ns); got.bytes != size {
		t.Fatalf("%d bytes came, want %d", got.bytes, size)
	}
	return got
}

// haulService describes the service of the loading side.
func haulService(m *mesh.Mesh) *grpc.ServiceDesc {
	pull := func(_ any, stream grpc.ServerStream) error {
		var want wrapperspb.Int64Value
		if err := stream.RecvMsg(&want); err != nil {
			return err
		}
		data := make([]byte, haulMessage)
		_, _ = rand.Read(data) // which cannot fail
		for left := want.GetValue(); left > 0; left -= haulMessage {
			if err := stream.SendMsg(wrapperspb.Bytes(data[:min(left, haulMessage)])); err != nil {
				return err
			}
		}
		p, _ := peer.FromContext(stream.Context())
		return stream.SendMsg(wrapperspb.Bytes([]byte(carries(m, p))))
	}
	return &grpc.ServiceDesc{
		ServiceName: "atoll.lab.v1.Haul", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "Pull", Handler: pull, ServerStreams: true}},
	}
}

// carries names the transport of a call and what controls its congestion here.
func carries(m *mesh.Mesh, p *peer.Peer) string {
	if !strings.Contains(p.Addr.String(), "/tcp/") {
		return "quic -"
	}
	for _, s := range m.Peers() {
		if strings.Contains(p.Addr.String(), s.Key.String()) {
			return "tcp " + s.Congestion
		}
	}
	return "tcp unknown"
}

// load serves until whoever started this process closes its input.
func (a attack) load(t *testing.T) {
	newTraitorOver(t, a.Data, a.Transports, func(m *mesh.Mesh) error {
		return m.RegisterService(haulService(m), struct{}{}, map[string]rpc.Rule{haulMethod: {AnyMember: true, Class: rpc.Bulk}})
	})
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// haul asks for the bytes and says how it went.
func (a attack) haul(t *testing.T) {
	tr := newTraitorOver(t, a.Data, a.Transports)
	from, err := trust.ParseKey(a.Call)
	if err != nil {
		t.Fatal(err)
	}
	before := ""
	eventually(t, time.Minute, "a connection", func() error {
		for _, p := range tr.mesh.Peers() {
			if p.Key == from && p.State == mesh.StateConnected {
				before = p.Transport
				return nil
			}
		}
		return errors.New("there is none")
	})
	fmt.Println("connected over", before)
	eventually(t, time.Minute, "the word to begin", func() error { _, err := os.Stat(a.Begin); return err })
	conn, err := tr.mesh.Conn(from, rpc.Bulk)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, haulMethod, rpc.Uncompressed())
	if err == nil {
		err = errors.Join(stream.SendMsg(wrapperspb.Int64(a.Haul)), stream.CloseSend())
	}
	if err != nil {
		t.Fatal(err)
	}
	var (
		in   wrapperspb.BytesValue
		n    int64
		took time.Duration
	)
	for n < a.Haul {
		if err := stream.RecvMsg(&in); err != nil {
			t.Fatal(err)
		}
		n, took = n+int64(len(in.GetValue())), time.Since(began)
	}
	if err := stream.RecvMsg(&in); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("hauled %d %d %s %s\n", n, took, in.GetValue(), before)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
