package rpc

import (
	"context"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/atoll-mesh/atoll/trust"
)

// overTCP serves the echo service over loopback TCP, by this package and by
// plain grpc, and returns connections to both.
func overTCP(t testing.TB) (ours, plain grpc.ClientConnInterface) {
	e := &echo{stream: map[string]func(grpc.ServerStream) error{"Pull": func(st grpc.ServerStream) error {
		block := wrapperspb.Bytes(make([]byte, 64<<10))
		for range 256 {
			if err := st.SendMsg(block); err != nil {
				return err
			}
		}
		return nil
	}}}
	limits := testLimits(func(l *Limits) {
		l.PeerRate, l.PeerBurst = 1e9, 1e9
		for _, c := range []*ClassLimits{&l.Urgent, &l.Normal, &l.Bulk} {
			c.Rate, c.Burst = 1e9, 1e9
		}
	})
	s, err := NewServer(ServerOptions{Limits: limits, Identify: func(net.Conn) (Caller, error) { return Caller{Key: lisbon, Name: "lisbon"}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Register(echoDesc(), e, fullRules()); err != nil {
		t.Fatal(err)
	}
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	lnOurs, lnPlain := listen(), listen()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Serve(ctx, lnOurs) })
	c, err := NewClients(ClientOptions{Limits: limits, Rule: s.Rule, Dial: func(ctx context.Context, _ trust.Key, _ Class) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", lnOurs.Addr().String())
	}})
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() { c.Run(ctx) })

	desc := echoDesc()
	desc.HandlerType = (*any)(nil)
	p := grpc.NewServer()
	p.RegisterService(desc, e)
	wg.Go(func() { p.Serve(lnPlain) })
	cc, err := grpc.NewClient(lnPlain.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close(); p.Stop(); cancel(); wg.Wait() })
	return c.Conn(server, Bulk), cc
}

func pull(t testing.TB, cc grpc.ClientConnInterface) (n int) {
	st, err := cc.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, echoService+"Pull", Uncompressed())
	if err != nil {
		t.Fatal(err)
	}
	st.SendMsg(&payload{})
	st.CloseSend()
	for in := (&payload{}); st.RecvMsg(in) == nil; {
		n += len(in.Value)
	}
	return n
}

func TestOverTCP(t *testing.T) {
	ours, plain := overTCP(t)
	for name, cc := range map[string]grpc.ClientConnInterface{"ours": ours, "plain": plain} {
		if n := pull(t, cc); n != 16<<20 {
			t.Errorf("%s: %d bytes", name, n)
		}
	}
}

func BenchmarkCall(b *testing.B) {
	ours, plain := overTCP(b)
	for _, bc := range []struct {
		name string
		cc   grpc.ClientConnInterface
	}{{"plain", plain}, {"rpc", ours}} {
		b.Run(bc.name, func(b *testing.B) {
			in, out := wrapperspb.Bytes(make([]byte, 128)), &payload{}
			b.ReportAllocs()
			for b.Loop() {
				if err := bc.cc.Invoke(b.Context(), echoService+"Urgent", in, out, Uncompressed()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBulk(b *testing.B) {
	ours, plain := overTCP(b)
	for _, bc := range []struct {
		name string
		cc   grpc.ClientConnInterface
	}{{"plain", plain}, {"rpc", ours}} {
		b.Run(bc.name, func(b *testing.B) {
			b.SetBytes(16 << 20)
			b.ReportAllocs()
			for b.Loop() {
				if n := pull(b, bc.cc); n != 16<<20 {
					b.Fatal(n)
				}
			}
		})
	}
}
