package reach

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/transport"
	relayclient "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	ma "github.com/multiformats/go-multiaddr"
)

// maxCircuitRelays bounds of how many relays a dialler is kept.
const maxCircuitRelays = 256

// relayTransport is libp2p's relay transport, but for two traits of it that let one relay
// beyond a hole hide all others for a minute: it dials a peer through one relay after
// the other, however many addresses are tried at once, and it waits for a relay's
// answer whatever the dial's context.
type relayTransport struct {
	*relayclient.Client // listens, serves, and says what it can dial
	host                host.Host
	upgrader            transport.Upgrader

	mu      sync.Mutex
	through map[peer.ID]*relayclient.Client // by relay
}

var _ transport.SkipResolver = (*relayTransport)(nil)

// newRelayTransport is a constructor for libp2p.Transport.
func newRelayTransport(u transport.Upgrader, h host.Host) (*relayTransport, error) {
	c, err := relayclient.New(h, u)
	if err != nil {
		return nil, fmt.Errorf("set up relayed connections: %w", err)
	}
	return &relayTransport{Client: c, host: hasty{h}, upgrader: u, through: map[peer.ID]*relayclient.Client{}}, nil
}

// Dial implements transport.Transport.
func (c *relayTransport) Dial(ctx context.Context, a ma.Multiaddr, p peer.ID) (transport.CapableConn, error) {
	relay, ok := RelayOf(a)
	if !ok {
		return nil, fmt.Errorf("dial %s: it names no relay", a)
	}
	client, err := c.client(relay)
	if err != nil {
		return nil, err
	}
	return c.dial(ctx, client, a, p)
}

func (c *relayTransport) dial(ctx context.Context, client *relayclient.Client, a ma.Multiaddr, p peer.ID) (transport.CapableConn, error) {
	d := &dialling{ctx: ctx}
	conn, err := client.Dial(context.WithValue(ctx, diallingKey{}, d), a, p)
	if err != nil {
		d.over()
		return nil, err
	}
	if !d.over() { // the stream that carries it has just been reset
		return nil, errors.Join(fmt.Errorf("dial %s: %w", a, context.Cause(ctx)), conn.Close())
	}
	return conn, nil
}

func (c *relayTransport) client(relay peer.ID) (*relayclient.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.through[relay]; known != nil {
		return known, nil
	}
	if len(c.through) >= maxCircuitRelays {
		clear(c.through) // each is of use while a dial runs only
	}
	made, err := relayclient.New(c.host, c.upgrader)
	if err != nil {
		return nil, fmt.Errorf("set up relayed connections: %w", err)
	}
	c.through[relay] = made
	return made, nil
}

// RelayOf returns who an address leads through; false where it leads through nobody,
// or does not say.
func RelayOf(a ma.Multiaddr) (peer.ID, bool) {
	way, rest := ma.SplitFunc(a, func(c ma.Component) bool { return c.Protocol().Code == ma.P_CIRCUIT })
	if rest == nil || way == nil {
		return "", false
	}
	_, relay := peer.SplitAddr(way)
	return relay, relay != ""
}

// DialRelayed makes a relayed connection to a peer whether or not there is another
// one, which the swarm would not. Nobody knows of it yet.
func (r *Reach) DialRelayed(ctx context.Context, a ma.Multiaddr, p peer.ID) (transport.CapableConn, error) {
	c := r.circuits.Load()
	if c == nil {
		return nil, errors.New("reach: the host was not made with HostOptions")
	}
	own, err := relayclient.New(c.host, c.upgrader) // which takes no dial of the swarm's for its own
	if err != nil {
		return nil, fmt.Errorf("set up relayed connections: %w", err)
	}
	return c.dial(ctx, own, a, p)
}

// dialling ties the streams of one dial to its context until it is over.
type dialling struct {
	ctx context.Context

	mu    sync.Mutex
	stops []func() bool
}

type diallingKey struct{}

func (d *dialling) tie(s network.Stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stops = append(d.stops, context.AfterFunc(d.ctx, func() { _ = s.Reset() }))
}

// over lets the streams live on and reports whether all of them do.
func (d *dialling) over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	alive := true
	for _, stop := range d.stops {
		alive = stop() && alive
	}
	return alive
}

// hasty has each stream end with the dial that it is part of, else with the context
// that it was opened under. The library's reads are ended by a minute only, while the
// relay may be beyond a hole: this island could neither ask another one nor stop for
// so long.
type hasty struct{ host.Host }

func (h hasty) NewStream(ctx context.Context, p peer.ID, protocols ...protocol.ID) (network.Stream, error) {
	s, err := h.Host.NewStream(ctx, p, protocols...)
	if err != nil {
		return nil, err
	}
	if d, ok := ctx.Value(diallingKey{}).(*dialling); ok {
		d.tie(s)
		return s, nil
	}
	context.AfterFunc(ctx, func() { _ = s.Reset() })
	return s, nil
}
