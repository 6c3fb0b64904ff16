package mesh

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	mss "github.com/multiformats/go-multistream"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/atoll-mesh/atoll/mesh/frame"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/mesh/session"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

// membership answers who called.
type membership struct {
	meshpb.UnimplementedMembershipServer
}

func (membership) Renew(ctx context.Context, _ *meshpb.RenewRequest) (*meshpb.RenewResponse, error) {
	c, ok := rpc.CallerFrom(ctx)
	if !ok {
		return nil, errors.New("nobody called")
	}
	body := c.Name
	if c.Quarantined {
		body += " in quarantine"
	}
	return &meshpb.RenewResponse{Certificate: &trustpb.Certificate{Body: []byte(body)}}, nil
}

func (membership) Redeem(context.Context, *meshpb.RedeemRequest) (*meshpb.JoinResponse, error) {
	return &meshpb.JoinResponse{}, nil
}

// serving has an island answer Renew in quarantine, and Redeem outside it only.
func (w *world) serving(name string) *island {
	w.t.Helper()
	i := w.prepare(name, nil)
	err := i.RegisterService(&meshpb.Membership_ServiceDesc, membership{}, map[string]rpc.Rule{
		meshpb.Membership_Renew_FullMethodName:  {AnyMember: true, Class: rpc.Urgent, Quarantined: true},
		meshpb.Membership_Redeem_FullMethodName: {AnyMember: true, Class: rpc.Bulk},
		meshpb.Membership_Rekey_FullMethodName:  {AnyMember: true, Class: rpc.Urgent},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.run(i)
}

func (i *island) renew(t testing.TB, at *island) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := i.Conn(at.key(), rpc.Urgent)
	if err != nil {
		return "", err
	}
	resp, err := meshpb.NewMembershipClient(conn).Renew(ctx, &meshpb.RenewRequest{})
	return string(resp.GetCertificate().GetBody()), err
}

func (i *island) redeem(t testing.TB, at *island) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := i.Conn(at.key(), rpc.Bulk)
	if err != nil {
		return err
	}
	_, err = meshpb.NewMembershipClient(conn).Redeem(ctx, &meshpb.RedeemRequest{})
	return err
}

func TestExpiredCertificateIsQuarantine(t *testing.T) {
	w := newWorld(t)
	w.admit("anegada", "bonaire")
	a := w.serving("anegada")
	b := w.prepare("bonaire", nil)
	b.certificate.Store(w.certify("bonaire", -time.Hour))
	w.run(b)
	if got, err := b.renew(t, a); err != nil || got != "bonaire in quarantine" {
		t.Errorf("renew in quarantine: %q, %v", got, err)
	}
	if err := b.redeem(t, a); err == nil || !strings.Contains(err.Error(), "quarantine") && !strings.Contains(err.Error(), "expired") {
		t.Errorf("another method in quarantine: %v", err)
	}
	if s := a.status(t, "bonaire"); s.State != StateQuarantined || !strings.Contains(s.LastError, "ended at") {
		t.Errorf("status: %+v", s)
	}
	if a.inReach(b) {
		t.Error("an island in quarantine counts as in reach")
	}

	b.certificate.Store(w.certify("bonaire", 72*time.Hour))
	b.CertificateChanged()
	eventually(t, "the renewed island is a member", func() bool { return a.inReach(b) })
	if got, err := b.renew(t, a); err != nil || got != "bonaire" {
		t.Errorf("renew as a member: %q, %v", got, err)
	}
	if err := b.redeem(t, a); err != nil {
		t.Errorf("another method as a member: %v", err)
	}
}

// TestCertificateEndsWhileConnected begins some seconds before the tolerance is over.
func TestCertificateEndsWhileConnected(t *testing.T) {
	w := newWorld(t)
	w.admit("anegada", "bonaire")
	a, b := w.island("anegada"), w.prepare("bonaire", nil)
	b.certificate.Store(w.certify("bonaire", 3*time.Second-trust.ClockTolerance))
	w.run(b)
	w.connect(b, a)
	eventually(t, "the island whose certificate ended is in quarantine", func() bool {
		a.TrustChanged() // as the clock's own tick does
		return a.status(t, "bonaire").State == StateQuarantined && !a.inReach(b)
	})
	if b.swarm.Connectedness(a.host.ID()) != network.Connected {
		t.Error("quarantine closed the connection")
	}
}

// hello says something on a fresh connection as a member, and returns the answer.
func hello(t *testing.T, as string, to *island, raw []byte) (*meshpb.Hello, error) {
	t.Helper()
	h := foreign(t, key(as))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.Connect(ctx, peer.AddrInfo{ID: to.host.ID(), Addrs: to.addrsOver("tcp")}); err != nil {
		return nil, err
	}
	s, err := h.Network().NewStream(network.WithNoDial(ctx, "test"), to.host.ID())
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	_ = s.SetDeadline(time.Now().Add(patience))
	rw := mss.NewMSSelect(s, session.Protocol)
	if _, err := rw.Write(raw); err != nil {
		return nil, err
	}
	_ = s.CloseWrite()
	var answer meshpb.Hello
	err = frame.Read(rw, session.MaxHello, &answer)
	return &answer, err
}

func encode(t *testing.T, h *meshpb.Hello) []byte {
	t.Helper()
	var b strings.Builder
	if _, err := protodelim.MarshalTo(&b, h); err != nil {
		t.Fatal(err)
	}
	return []byte(b.String())
}

func TestHellosThatAreRefused(t *testing.T) {
	w := newWorld(t)
	w.admit("bonaire")
	a := w.islands(1)[0]
	good := func() *meshpb.Hello {
		return &meshpb.Hello{Certificate: w.certify("bonaire", time.Hour), Version: wire.Version, Oldest: wire.Oldest, TimeMs: time.Now().UnixMilli()}
	}
	other := trust.Issue(key("signer"), trust.Certificate{Network: trust.NetworkOf(key("other").Public()), Key: key("bonaire").Public(),
		Name: "bonaire", Role: trust.RoleIsland, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)})
	for _, tc := range []struct {
		name, want string
		change     func(*meshpb.Hello)
	}{
		{"version", "no common protocol", func(h *meshpb.Hello) { h.Version, h.Oldest = 20250101, 20250101 }},
		{"no certificate", "carries no certificate", func(h *meshpb.Hello) { h.Certificate = nil }},
		{"forged", "signature", func(h *meshpb.Hello) { h.Certificate.Signature[3] ^= 1 }},
		{"somebody else's", "is for", func(h *meshpb.Hello) { h.Certificate = w.certify("anegada", time.Hour) }},
		{"other network", "network", func(h *meshpb.Hello) { h.Certificate = other }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := good()
			tc.change(h)
			answer, err := hello(t, "bonaire", a, encode(t, h))
			if err != nil || !strings.Contains(answer.GetRefusal(), tc.want) {
				t.Errorf("answered %q, %v; want a refusal about %q", answer.GetRefusal(), err, tc.want)
			}
			eventually(t, "the connection is closed", func() bool {
				return a.swarm.Connectedness(peerOf("bonaire")) == network.NotConnected
			})
			if s := a.status(t, "bonaire"); s.State != StateRefused || !strings.Contains(s.LastError, tc.want) {
				t.Errorf("status: %+v", s)
			}
		})
	}
	for name, raw := range map[string][]byte{"oversize": {0xff, 0xff, 0x7f}, "no proto": {3, 0xff, 0xff, 0xff}} {
		t.Run(name, func(t *testing.T) {
			if answer, err := hello(t, "bonaire", a, raw); err != nil || !strings.Contains(answer.GetRefusal(), "could not be read") {
				t.Errorf("answered %v, %v", answer, err)
			}
		})
	}
	if answer, err := hello(t, "bonaire", a, encode(t, good())); err != nil || answer.GetRefusal() != "" || answer.GetCertificate() == nil {
		t.Errorf("a good hello after all those: %v, %v", answer, err)
	}
}

// TestSilentMemberReachesLittle connects as a member that says no hello.
func TestSilentMemberReachesLittle(t *testing.T) {
	w := newWorld(t)
	w.admit("silent")
	a := w.islands(1)[0]
	h := foreign(t, key("silent"))
	if err := speak(h, a, a.addrsOver("tcp"), ping.ID); err != nil {
		t.Errorf("ping: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.Connect(ctx, peer.AddrInfo{ID: a.host.ID(), Addrs: a.addrsOver("tcp")}); err != nil {
		t.Fatal(err)
	}
	s, err := h.Network().NewStream(network.WithNoDial(ctx, "test"), a.host.ID())
	if err != nil {
		t.Fatal(err)
	}
	_ = s.SetDeadline(time.Now().Add(patience))
	rw := mss.NewMSSelect(s, a.rpcProtocol())
	if _, err := rw.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	// The protocol is agreed on, and then nothing of rpc's is heard until the end.
	if n, err := rw.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes of rpc without a hello", n)
	}
	eventually(t, "the silent member is disconnected", func() bool { return a.swarm.Connectedness(h.ID()) == network.NotConnected })
	if s := a.status(t, "silent"); !strings.Contains(s.LastError, "said no hello") {
		t.Errorf("last error %q", s.LastError)
	}
}
