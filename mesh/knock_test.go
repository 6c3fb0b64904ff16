package mesh

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	mss "github.com/multiformats/go-multistream"

	"github.com/atoll-mesh/atoll/mesh/frame"
	"github.com/atoll-mesh/atoll/mesh/join"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

// token invites guest to knock at the islands.
func (w *world) token(guest string, at ...*island) trust.Token {
	t := trust.Token{Network: w.network, Expires: time.Now().Add(time.Hour), Role: trust.RoleIsland}
	copy(t.GuestSeed[:], key(guest).Seed())
	for _, i := range at {
		b := trust.Bootstrap{Key: i.key()}
		for _, a := range i.listening() {
			b.Addresses = append(b.Addresses, a.Bytes())
		}
		t.Bootstrap = append(t.Bootstrap, b)
	}
	return t
}

// redeeming answers guests as enrol would: who knows the invitation and it is not
// used up gets a certificate.
func redeeming(w *world, used *atomic.Bool) func(o *Options) {
	return func(o *Options) {
		o.Redeem = func(_ context.Context, guest trust.Key, req *meshpb.JoinRequest) (*meshpb.JoinResponse, error) {
			if used.Swap(true) {
				return &meshpb.JoinResponse{Refusal: "the invitation was good for 1 and has been used 1 times"}, nil
			}
			return &meshpb.JoinResponse{Certificate: &trustpb.Certificate{Body: guest[:]}}, nil
		}
	}
}

func TestKnock(t *testing.T) {
	w := newWorld(t)
	w.admit("anegada", "bonaire")
	w.invite("guest")
	var used atomic.Bool
	a := w.run(w.prepare("anegada", redeeming(w, &used)))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	resp, err := Knock(ctx, w.token("guest", a), &meshpb.JoinRequest{Name: "new"}, nil)
	guest := key("guest").Public()
	if err != nil || string(resp.GetCertificate().GetBody()) != string(guest[:]) {
		t.Fatalf("knock: %v %v", resp, err)
	}
	if _, err := ma.NewMultiaddrBytes(resp.GetObserved()); err != nil {
		t.Errorf("observed address: %v", err)
	}
	_, err = Knock(ctx, w.token("guest", a), &meshpb.JoinRequest{}, nil)
	if !errors.Is(err, ErrKnockRefused) || !strings.Contains(err.Error(), "has been used 1 times") {
		t.Errorf("a used invitation: %v", err)
	}
	_, err = Knock(ctx, w.token("nobody's guest", a), &meshpb.JoinRequest{}, nil)
	if !errors.Is(err, ErrKnockUnknown) || !strings.Contains(err.Error(), "closed the connection") {
		t.Errorf("an unknown invitation: %v", err)
	}
	b := w.island("bonaire")
	token := w.token("guest", b)
	b.stop()
	if _, err = Knock(ctx, token, &meshpb.JoinRequest{}, nil); !errors.Is(err, ErrKnockNobody) {
		t.Errorf("nobody there: %v", err)
	}
	// The key of an island is pinned: another one at its address is not asked.
	token = w.token("guest", a)
	token.Bootstrap[0].Key = key("bonaire").Public()
	if _, err = Knock(ctx, token, &meshpb.JoinRequest{}, nil); !errors.Is(err, ErrKnockNobody) {
		t.Errorf("an impostor: %v", err)
	}
}

// TestKnockFindsWhoKnows asks an island first that has not heard of the
// invitation yet.
func TestKnockFindsWhoKnows(t *testing.T) {
	w := newWorld(t)
	w.admit("anegada", "bonaire")
	b := w.island("bonaire")
	w.invite("guest")
	var used atomic.Bool
	a := w.run(w.prepare("anegada", redeeming(w, &used))) // reads the invitation; bonaire was not told
	resp, err := Knock(t.Context(), w.token("guest", b, a), &meshpb.JoinRequest{}, nil)
	if err != nil || resp.GetCertificate() == nil {
		t.Errorf("knock: %v %v", resp, err)
	}
}

func TestMalformedJoin(t *testing.T) {
	w := newWorld(t)
	w.invite("guest")
	a := w.islands(1)[0]
	for name, raw := range map[string][]byte{
		"oversize":  {0xff, 0xff, 0xff, 0xff, 0x0f},
		"no varint": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"no proto":  {0x04, 0xff, 0xff, 0xff, 0xff},
		"cut short": {0x10, 0x0a},
	} {
		t.Run(name, func(t *testing.T) {
			h := foreign(t, key("guest"))
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := h.Connect(ctx, peer.AddrInfo{ID: a.host.ID(), Addrs: a.addrsOver("tcp")}); err != nil {
				t.Fatal(err)
			}
			s, err := h.Network().NewStream(network.WithNoDial(ctx, "test"), a.host.ID())
			if err != nil {
				t.Fatal(err)
			}
			rw := mss.NewMSSelect(s, join.Protocol)
			if _, err := rw.Write(raw); err != nil {
				t.Fatal(err)
			}
			_ = s.CloseWrite()
			var resp meshpb.JoinResponse
			if err := frame.Read(rw, join.MaxResponse, &resp); err != nil || !strings.Contains(resp.GetRefusal(), "could not be read") {
				t.Errorf("answered %v, %v", &resp, err)
			}
			_ = s.Close()
		})
	}
	eventually(t, "all are counted", func() bool { return a.metric(t, "atoll_mesh_guests_total", "outcome", "malformed") >= 4 })
}
