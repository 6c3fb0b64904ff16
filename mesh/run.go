package mesh

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/atoll-mesh/atoll/mesh/discover"
	"github.com/atoll-mesh/atoll/mesh/gossip"
	"github.com/atoll-mesh/atoll/mesh/ident"
	"github.com/atoll-mesh/atoll/mesh/reach"
)

// recheck is how often certificates are compared with the clock.
const recheck = 10 * time.Second

// Run listens, connects, serves and calls until ctx ends. A mesh runs once.
func (m *Mesh) Run(ctx context.Context) error {
	if m.ran.Swap(true) {
		return errors.New("BUG: a mesh was run twice")
	}
	if err := m.start(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	failed := make(chan error, 8)
	actor := func(run func(context.Context) error) {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				failed <- err
			}
		})
	}
	served := make(chan struct{})
	actor(func(ctx context.Context) error {
		defer close(served)
		return m.server.Serve(ctx, m.listener)
	})
	actor(m.clients.Run)
	actor(m.gossip.Run)
	actor(m.reach.Run)
	actor(m.discover.Run)
	actor(func(ctx context.Context) error { m.pulse.Run(ctx); return nil })
	actor(func(ctx context.Context) error { m.book.Run(ctx, m.bookFailed); return nil })
	actor(func(ctx context.Context) error { m.events.run(ctx, m.tell); return nil })
	actor(func(ctx context.Context) error { m.keep(ctx); return nil })
	close(m.ready)
	m.log.Info("mesh is listening", "addresses", m.swarm.ListenAddresses())

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel()
	<-served // calls that are open have had their time
	m.partAll()
	wg.Wait()
	return errors.Join(err, m.stop())
}

// partAll ends what is under way with others, and all connections: some of libp2p's
// protocols wait for a peer that says nothing for up to a minute, whatever their
// context.
func (m *Mesh) partAll() {
	m.door.Close()
	m.hearing.Close()
	m.tasks.close()
	m.rememberAll()
	for _, c := range m.swarm.Conns() {
		_ = c.Close()
	}
}

// start makes what needs a host, and listens last: no stream comes before its gate.
func (m *Mesh) start() error {
	if err := m.makeHost(); err != nil {
		return err
	}
	var err error
	m.gossip, err = gossip.New(gossip.Options{
		Config: m.o.Config.Gossip, Host: m.host, Network: m.o.Network.Short(),
		Member: m.goodStanding, Author: m.mayAnnounce, Deliver: m.deliver, Logger: m.log, Registerer: m.o.Registerer,
	})
	if err != nil {
		return errors.Join(err, m.host.Close())
	}
	m.discover, err = discover.New(discover.Options{
		Config: m.o.Config.Discovery, Host: m.host, Network: m.o.Network.Short(), Region: m.region(),
		Members: m.members, Addrs: m.lastSeenAt, Keep: m.holdsSlot, Ask: m.whereIs, Server: m.o.Config.Reach.Reachability == reach.Public,
		Logger: m.log, Registerer: m.o.Registerer,
	})
	if err != nil {
		return errors.Join(err, m.host.Close())
	}
	if err := m.reach.Bind(m.host); err != nil {
		return errors.Join(err, m.host.Close())
	}
	m.tasks.open()
	m.swarm.Notify(&network.NotifyBundle{ConnectedF: m.connected, DisconnectedF: m.disconnected})
	if err := m.listen(); err != nil {
		m.tasks.close()
		return errors.Join(err, m.host.Close())
	}
	return nil
}

// stop ends what start began and partAll has left.
func (m *Mesh) stop() error {
	err := errors.Join(m.host.Close(), m.listener.Close())
	m.alone.Clear()
	m.turned.Clear()
	return errors.Join(err, m.book.Save())
}

func (m *Mesh) bookFailed(err error) {
	m.m.bookErrors.Inc()
	m.log.Warn("address book could not be written", "err", err)
}

// deliver passes an announcement on.
func (m *Mesh) deliver(from peer.ID, data []byte) {
	k, ok := ident.Key(from)
	if !ok {
		return
	}
	m.mu.Lock()
	hooks := m.hooks.announce
	m.mu.Unlock()
	for _, f := range hooks {
		f(k, data)
	}
}

// members lists the roster but self for discovery.
func (m *Mesh) members() []discover.Member {
	self := m.o.Identity.Public()
	var out []discover.Member
	for _, member := range m.gate.State().Members() {
		if member.Key == self {
			continue
		}
		out = append(out, discover.Member{ID: ident.Peer(member.Key), Name: member.Name, Region: member.Labels["region"]})
	}
	return out
}

// lastSeenAt returns the addresses where a member was last reached, and those that
// the roster names.
func (m *Mesh) lastSeenAt(p peer.ID) (out []ma.Multiaddr) {
	k, _ := ident.Key(p)
	member, ok := m.gate.State().MemberByKey(k)
	if !ok {
		return nil
	}
	if e, ok := m.book.Get(k); ok {
		out = append(out, e.Addresses...)
	}
	for _, text := range member.Addresses {
		if a, err := ma.NewMultiaddr(text); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// region is where this island stands.
func (m *Mesh) region() string {
	if self, ok := m.gate.State().MemberByKey(m.o.Identity.Public()); ok {
		return self.Labels["region"]
	}
	return ""
}

// holdsSlot reports whether a peer is a relay that this island can be reached through.
func (m *Mesh) holdsSlot(p peer.ID) bool {
	return slices.ContainsFunc(m.reach.Reservations(), func(r reach.Reservation) bool { return r.Relay == p })
}
