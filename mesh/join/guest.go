package join

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"

	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/trust"
)

const dialTimeout = 8 * time.Second

// guestHost has just what dialling takes: two transports, no swarm, no listener,
// no protocol of its own.
type guestHost struct {
	quic, tcp transport.Transport
	manager   *quicreuse.ConnManager
	wg        sync.WaitGroup
}

func newGuest(k trust.PrivateKey) (*guestHost, error) {
	key, err := ident.Private(k)
	if err != nil {
		return nil, err
	}
	g := &guestHost{}
	if g.tcp, err = tcpTransport(key); err != nil {
		return nil, fmt.Errorf("knock: set up TCP: %w", err)
	}
	var reset quic.StatelessResetKey
	var token quic.TokenGeneratorKey
	_, _ = rand.Read(reset[:]) // crypto/rand never fails
	_, _ = rand.Read(token[:])
	if g.manager, err = quicreuse.NewConnManager(reset, token); err != nil {
		return nil, fmt.Errorf("knock: set up QUIC: %w", err)
	}
	if g.quic, err = libp2pquic.NewTransport(key, g.manager, nil, nil, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("knock: set up QUIC: %w", err), g.manager.Close())
	}
	return g, nil
}

func tcpTransport(key crypto.PrivKey) (transport.Transport, error) {
	muxers := []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}}
	n, err := noise.New(noise.ID, key, muxers)
	if err != nil {
		return nil, err
	}
	t, err := libp2ptls.New(libp2ptls.ID, key, muxers)
	if err != nil {
		return nil, err
	}
	u, err := upgrader.New([]sec.SecureTransport{n, t}, muxers, nil, &network.NullResourceManager{}, nil)
	if err != nil {
		return nil, err
	}
	return tcp.NewTCPTransport(u, nil, nil, tcp.DisableReuseport(), tcp.WithConnectionTimeout(dialTimeout))
}

// dial connects to an address; the handshake proves that p is behind it.
func (g *guestHost) dial(ctx context.Context, a ma.Multiaddr, p peer.ID) (transport.CapableConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for _, t := range []transport.Transport{g.quic, g.tcp} {
		if t.CanDial(a) {
			return t.Dial(ctx, a, p)
		}
	}
	return nil, fmt.Errorf("dial %s: neither QUIC nor TCP", a)
}

// dialable reports whether an address is one of a direct transport of ours.
func dialable(a ma.Multiaddr) bool {
	if ident.Relayed(a) || len(a) == 0 {
		return false
	}
	last := a[len(a)-1].Code()
	return last == ma.P_QUIC_V1 || last == ma.P_TCP
}

func (g *guestHost) close() {
	g.wg.Wait()
	_ = g.manager.Close()
}
