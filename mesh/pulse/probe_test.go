package pulse_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/atoll-mesh/atoll/mesh/hosttest"
	"github.com/atoll-mesh/atoll/mesh/pulse"
)

// TestProbeOfAClosedConnection says what happened in words, over any transport.
func TestProbeOfAClosedConnection(t *testing.T) {
	for name, code := range map[string]int{"tcp": ma.P_TCP, "quic": ma.P_QUIC_V1} {
		t.Run(name, func(t *testing.T) {
			var r hosttest.Roster
			quic := []libp2p.Option{libp2p.Transport(libp2pquic.NewTransport), libp2p.ListenAddrStrings("/ip4/127.0.0.1/udp/0/quic-v1")}
			a, b := hosttest.New(t, &r, nil, quic...), hosttest.New(t, &r, nil, quic...)
			var addrs []ma.Multiaddr
			for _, addr := range b.Addrs() {
				if _, err := addr.ValueForProtocol(code); err == nil {
					addrs = append(addrs, addr)
				}
			}
			if err := a.Connect(t.Context(), peer.AddrInfo{ID: b.ID(), Addrs: addrs}); err != nil {
				t.Fatal(err)
			}
			c := a.Network().ConnsToPeer(b.ID())[0]
			if _, err := pulse.Probe(t.Context(), c); err != nil {
				t.Fatalf("an open connection: %v", err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			_, err := pulse.Probe(t.Context(), c)
			if err == nil || !strings.Contains(err.Error(), "connection was closed") || strings.Contains(err.Error(), "go away") {
				t.Errorf("error %v, want one that says so", err)
			}
			var closed *network.ConnError
			if name == "quic" && !errors.As(err, &closed) {
				t.Errorf("error %v: what the transport said is not in it", err)
			}
		})
	}
}
