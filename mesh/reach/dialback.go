package reach

import (
	"fmt"

	"github.com/libp2p/go-libp2p/config"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	blankhost "github.com/libp2p/go-libp2p/p2p/host/blank"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

// dialer is a second host under the island's own key, which members-only gates
// let in, that dials from other ports than the island listens on: a NAT that lets
// our answers through must not let a dial-back through for the same reason.
type dialer struct {
	host.Host
	quic *quicreuse.ConnManager
}

// newDialer makes a host that dials over QUIC and TCP and never listens. What
// peers ask over its connections (identify, hello) is answered by main.
func newDialer(key crypto.PrivKey, main host.Host) (*dialer, error) {
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make the dial-back host: %w", err)
	}
	book, err := pstoremem.NewPeerstore()
	if err != nil {
		return nil, fmt.Errorf("make the dial-back host: %w", err)
	}
	if err := book.AddPrivKey(id, key); err != nil {
		return nil, fmt.Errorf("make the dial-back host: %w", err)
	}
	sw, err := swarm.NewSwarm(id, book, eventbus.NewBus(),
		// A dial-back that fails says nothing about our own connectivity.
		swarm.WithReadOnlyBlackHoleDetector(), swarm.WithDialRanker(swarm.NoDelayDialRanker))
	if err != nil {
		return nil, fmt.Errorf("make the dial-back host: %w", err)
	}
	d := &dialer{Host: blankhost.NewBlankHost(sw)}
	if err := d.addTransports(key, sw); err != nil {
		d.Close()
		return nil, fmt.Errorf("make the dial-back host: %w", err)
	}
	if inner, ok := main.Network().(interface{ StreamHandler() network.StreamHandler }); ok {
		sw.SetStreamHandler(func(s network.Stream) { inner.StreamHandler()(s) })
	}
	return d, nil
}

func (d *dialer) addTransports(key crypto.PrivKey, sw *swarm.Swarm) error {
	muxers := []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}}
	secure, err := noise.New(noise.ID, key, muxers)
	if err != nil {
		return err
	}
	none := &network.NullResourceManager{}
	up, err := upgrader.New([]sec.SecureTransport{secure}, muxers, nil, none, nil)
	if err != nil {
		return err
	}
	overTCP, err := tcp.NewTCPTransport(up, none, nil)
	if err != nil {
		return err
	}
	reset, err := config.PrivKeyToStatelessResetKey(key)
	if err != nil {
		return err
	}
	token, err := config.PrivKeyToTokenGeneratorKey(key)
	if err != nil {
		return err
	}
	if d.quic, err = quicreuse.NewConnManager(reset, token, quicreuse.DisableReuseport()); err != nil {
		return err
	}
	overQUIC, err := libp2pquic.NewTransport(key, d.quic, nil, nil, none)
	if err != nil {
		return err
	}
	if err := sw.AddTransport(overTCP); err != nil {
		return err
	}
	return sw.AddTransport(overQUIC)
}

// Close is called by AutoNAT too; the second time does nothing.
func (d *dialer) Close() error {
	err := d.Host.Close()
	if d.quic != nil {
		d.quic.Close()
	}
	d.Peerstore().Close()
	return err
}
