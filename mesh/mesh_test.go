package mesh

import (
	"context"
	"errors"
	"testing"

	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/trust"
)

func TestMembersConnect(t *testing.T) {
	w := newWorld(t)
	w.admit("anegada", "bonaire")
	for _, transport := range []string{"tcp", "quic"} {
		t.Run(transport, func(t *testing.T) {
			w.t, w.all = t, nil
			only := func(o *Options) { o.Config.Transports = []string{transport} }
			a, b := w.run(w.prepare("anegada", only)), w.run(w.prepare("bonaire", only))
			w.connect(a, b)
			s := a.status(t, "bonaire")
			if s.State != StateConnected || s.Path != "direct" || s.Transport != transport || s.Region != "north" || s.Software != "atoll test" {
				t.Errorf("status: %+v", s)
			}
			if want := map[string]string{"tcp": "noise", "quic": "tls"}[transport]; s.Security != want {
				t.Errorf("security %q, want %q", s.Security, want)
			}
			pongs, err := a.Ping(t.Context(), b.key(), 3)
			if err != nil || len(pongs) != 3 || pongs[2].Err != nil || pongs[2].RTT <= 0 {
				t.Errorf("ping: %v %v", pongs, err)
			}
			eventually(t, "the round trip is measured", func() bool { return a.status(t, "bonaire").RTT > 0 })
		})
	}
}

func TestCallsToNonMembersAreRefused(t *testing.T) {
	w := newWorld(t)
	a := w.islands(1)[0]
	if _, err := a.Conn(key("stranger").Public(), rpc.Normal); !errors.Is(err, ErrNotMember) {
		t.Errorf("Conn: %v", err)
	}
	if err := a.Connect(t.Context(), key("stranger").Public()); !errors.Is(err, ErrNotMember) {
		t.Errorf("Connect: %v", err)
	}
	w.admit("absent")
	w.trustChanged()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := a.Connect(ctx, key("absent").Public()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("Connect: %v", err)
	}
	if s := a.status(t, "absent"); s.State != StateUnreachable || s.LastError == "" {
		t.Errorf("status: %+v", s)
	}
}

func TestHooksFollowMembers(t *testing.T) {
	w := newWorld(t)
	w.admit("anegada", "bonaire")
	up, down := make(chan trust.Key, 8), make(chan trust.Key, 8)
	a := w.prepare("anegada", nil)
	a.OnConnected(func(k trust.Key) { up <- k })
	a.OnDisconnected(func(k trust.Key) { down <- k })
	w.run(a)
	b := w.island("bonaire")
	w.connect(b, a)
	if k := receive(t, up); k != b.key() {
		t.Errorf("connected to %s", k)
	}
	b.stop()
	if k := receive(t, down); k != b.key() {
		t.Errorf("disconnected from %s", k)
	}
}

// TestRootOf is what a hello told, until the connection ends: what is told over the
// next one may be different.
func TestRootOf(t *testing.T) {
	w := newWorld(t)
	w.admit("anegada", "bonaire")
	roots, parted := make(chan []byte, 8), make(chan trust.Key, 8)
	a := w.prepare("anegada", nil)
	a.OnConnected(func(k trust.Key) { roots <- a.RootOf(k) })
	a.OnDisconnected(func(k trust.Key) { parted <- k })
	w.run(a)
	b := w.run(w.prepare("bonaire", func(o *Options) { o.ReplicaRoot = func() []byte { return []byte("root") } }))
	w.connect(b, a)
	if got := receive(t, roots); string(got) != "root" {
		t.Errorf("root %q as the connection is told of, want what the hello says", got)
	}
	b.stop()
	if got := a.RootOf(receive(t, parted)); got != nil {
		t.Errorf("root %q of an island that is gone", got)
	}
}

func TestAnnounce(t *testing.T) {
	w := newWorld(t)
	w.admit("anegada", "bonaire")
	heard := make(chan string, 8)
	a := w.prepare("anegada", nil)
	a.OnAnnounce(func(from trust.Key, hint []byte) { heard <- from.String() + " " + string(hint) })
	w.run(a)
	b := w.island("bonaire")
	w.connect(b, a)
	eventually(t, "an announcement is heard", func() bool {
		if err := b.Announce(t.Context(), []byte("changed")); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-heard:
			return got == b.key().String()+" changed"
		default:
			return false
		}
	})
}
