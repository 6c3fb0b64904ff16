package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

// Standing is what a peer may do.
type Standing int

// The standings.
const (
	Pending Standing = iota
	Member
	Quarantined
	Refused
)

// String names the standing as status and metrics do.
func (s Standing) String() string {
	return [...]string{"pending", "member", "quarantined", "refused"}[s]
}

// Info is what a peer has told, and what became of it.
type Info struct {
	Standing Standing
	// Reason says why a peer is refused or quarantined, or why it refuses this island.
	Reason string
	// ByPeer is set where the peer refuses this island, not the other way round.
	ByPeer      bool
	Certificate *trust.Certificate
	// Version is the protocol to speak with the peer.
	Version  uint32
	Software string
	// Skew is the peer's clock minus this island's.
	Skew time.Duration
	// Relay is set where the peer offers to relay.
	Relay bool
	// Root is the digest of the peer's documents when it last said hello; nil once it
	// is out of reach.
	Root []byte
	// Heard is when the peer last said hello.
	Heard time.Time
}

// Options is what sessions are made of.
type Options struct {
	Network trust.NetworkID
	Self    trust.Key
	// State is the roster in force.
	State func() *trust.State
	// Certificate is this island's newest.
	Certificate func() *trustpb.Certificate
	// Root is the digest of all documents.
	Root func() []byte
	// Relay reports whether this island offers to relay.
	Relay    func() bool
	Software string
	// Open are protocols beside those of Always that need no good standing.
	Open   []protocol.ID
	Logger *slog.Logger
	// Changed is told each change of a standing, outside all locks, in order for
	// each peer.
	Changed func(peer trust.Key, from, to Standing, info Info)
	// Heard is told of each hello, and of the address under which its sender sees this
	// island, as it was sent; nil tells nobody.
	Heard func(c network.Conn, observed []byte)
	// Met counts the outcome of each hello.
	Met func(outcome string)
	Now func() time.Time
}

// Sessions holds the standing of every peer that said hello. All methods are
// safe for concurrent use.
type Sessions struct {
	o Options

	mu    sync.RWMutex
	peers map[trust.Key]*entry // roster members only, so the roster bounds it
}

type entry struct {
	info    Info
	raw     *trustpb.Certificate // what info.Certificate was opened from
	decided chan struct{}        // closed once the standing is not pending
	held    int                  // streams that wait for the decision
	told    sync.Mutex           // orders calls of Changed
}

// New returns sessions without peers.
func New(o Options) *Sessions {
	if o.Heard == nil {
		o.Heard = func(network.Conn, []byte) {}
	}
	return &Sessions{o: o, peers: map[trust.Key]*entry{}}
}

// Get returns what is known of a peer.
func (s *Sessions) Get(k trust.Key) (Info, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.peers[k]; e != nil {
		return e.info, true
	}
	return Info{}, false
}

// Standing returns a peer's standing; pending where it has said nothing.
func (s *Sessions) Standing(k trust.Key) Standing {
	info, _ := s.Get(k)
	return info.Standing
}

// Wait returns a peer's standing once it is not pending.
func (s *Sessions) Wait(ctx context.Context, k trust.Key) (Standing, error) {
	e := s.entry(k)
	s.mu.RLock()
	decided := e.decided
	s.mu.RUnlock()
	select {
	case <-decided:
		return s.Standing(k), nil
	case <-ctx.Done():
		return Pending, fmt.Errorf("wait for the hello of %s: %w", k.Short(), ctx.Err())
	}
}

func (s *Sessions) entry(k trust.Key) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.peers[k]
	if e == nil {
		e = &entry{decided: make(chan struct{})}
		s.peers[k] = e
	}
	return e
}

// Forget drops a peer that left the roster. Its next hello is its first.
func (s *Sessions) Forget(k trust.Key) {
	s.mu.Lock()
	e := s.peers[k]
	delete(s.peers, k)
	if e != nil && e.info.Standing == Pending {
		e.info.Standing = Refused
		close(e.decided)
	}
	s.mu.Unlock()
}

// Reset makes a refused peer pending again: it has connected anew.
func (s *Sessions) Reset(k trust.Key) {
	if s.Standing(k) == Refused {
		s.set(k, func(i *Info) { i.Standing = Pending })
	}
}

// Parted says that a peer is out of reach: what it held may change unheard.
func (s *Sessions) Parted(k trust.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.peers[k]; e != nil {
		e.info.Root = nil
	}
}

// Recheck judges all peers anew, after a change of trust and as time goes by, and
// forgets who is no member any more.
func (s *Sessions) Recheck() {
	state := s.o.State()
	s.mu.RLock()
	var judged, gone []trust.Key
	for k, e := range s.peers {
		if state.Standing(k) != trust.MemberStanding {
			gone = append(gone, k)
		} else if e.info.Certificate != nil && e.info.Standing != Pending {
			judged = append(judged, k)
		}
	}
	s.mu.RUnlock()
	for _, k := range gone {
		s.Forget(k)
	}
	for _, k := range judged {
		info, _ := s.Get(k)
		standing, reason := s.judge(k, info.Certificate)
		if standing == info.Standing {
			continue
		}
		if info.Standing == Refused && info.Version == 0 {
			continue // for its version, or by the other side: only a hello changes that
		}
		s.set(k, func(i *Info) { i.Standing, i.Reason = standing, reason })
	}
}

// judge says what a certificate is worth now.
func (s *Sessions) judge(k trust.Key, c *trust.Certificate) (Standing, string) {
	state := s.o.State()
	if standing := state.Standing(k); standing != trust.MemberStanding {
		return Refused, fmt.Sprintf("%s is no member of this network any more (%v)", k.Short(), standing)
	}
	if c.Network != s.o.Network {
		return Refused, fmt.Sprintf("the certificate is of network %s, this is %s", c.Network.Short(), s.o.Network.Short())
	}
	switch err := state.CheckCertificate(c, k, s.o.Now()); {
	case err == nil:
		return Member, ""
	case errors.Is(err, trust.ErrExpired):
		return Quarantined, err.Error()
	default:
		return Refused, err.Error()
	}
}

// set changes a peer's info and tells about the standing.
func (s *Sessions) set(k trust.Key, change func(*Info)) {
	e := s.entry(k)
	e.told.Lock()
	defer e.told.Unlock()
	s.mu.Lock()
	from := e.info.Standing
	change(&e.info)
	to, info := e.info.Standing, e.info
	switch {
	case from == Pending && to != Pending:
		close(e.decided)
	case from != Pending && to == Pending:
		e.decided = make(chan struct{})
	}
	s.mu.Unlock()
	if from != to {
		s.o.Changed(k, from, to, info)
	}
}

// hello is what this island says, to a peer seen at observed.
func (s *Sessions) hello(observed []byte) *meshpb.Hello {
	return &meshpb.Hello{
		Certificate: s.o.Certificate(), Version: wire.Version, Oldest: wire.Oldest,
		Software: s.o.Software, TimeMs: s.o.Now().UnixMilli(),
		ReplicaRoot: s.o.Root(), Relay: s.o.Relay(), Observed: observed,
	}
}

// hear takes a peer's hello and returns the refusal to answer with, or "".
// flight is about how long the hello was under way.
func (s *Sessions) hear(k trust.Key, h *meshpb.Hello, flight time.Duration) (refusal string) {
	now := s.o.Now()
	if r := clip(h.GetRefusal()); r != "" {
		s.o.Met("refused_us")
		s.o.Logger.Warn("a member refuses this island", "peer", k, "reason", r)
		s.set(k, func(i *Info) {
			i.Standing, i.ByPeer, i.Version, i.Heard = Refused, true, 0, now
			i.Reason = "it refuses this island: " + r
		})
		return ""
	}
	version, ok := wire.Negotiate(h.GetVersion(), h.GetOldest())
	if !ok {
		reason := fmt.Sprintf("no common protocol: one island speaks %d to %d, the other %d to %d; update the older software",
			h.GetOldest(), h.GetVersion(), wire.Oldest, wire.Version)
		return s.refuse(k, "version", reason)
	}
	c, err := s.open(k, h.GetCertificate())
	if err != nil {
		return s.refuse(k, "certificate", err.Error())
	}
	standing, reason := s.judge(k, c)
	if standing == Refused {
		refusal = reason
	}
	s.o.Met(standing.String())
	s.set(k, func(i *Info) {
		*i = Info{
			Standing: standing, Reason: reason, Certificate: c, Version: version,
			Software: clip(h.GetSoftware()), Relay: h.GetRelay(), Root: bytes.Clone(h.GetReplicaRoot()),
			Skew:  time.UnixMilli(h.GetTimeMs()).Add(flight).Sub(now).Round(time.Millisecond),
			Heard: now,
		}
	})
	s.keep(k, h.GetCertificate())
	if refusal != "" {
		s.o.Logger.Warn("member refused", "peer", k, "reason", refusal)
	}
	return refusal
}

func (s *Sessions) refuse(k trust.Key, outcome, reason string) string {
	s.o.Met(outcome)
	s.o.Logger.Warn("member refused", "peer", k, "reason", reason)
	s.set(k, func(i *Info) {
		i.Standing, i.ByPeer, i.Version, i.Reason, i.Heard = Refused, false, 0, reason, s.o.Now()
	})
	return reason
}

// open checks a certificate's shape and signature, once for each.
func (s *Sessions) open(k trust.Key, raw *trustpb.Certificate) (*trust.Certificate, error) {
	if raw == nil {
		return nil, errors.New("the hello carries no certificate; the island must join the network")
	}
	s.mu.RLock()
	if e := s.peers[k]; e != nil && e.raw != nil && proto.Equal(e.raw, raw) {
		c := e.info.Certificate
		s.mu.RUnlock()
		return c, nil
	}
	s.mu.RUnlock()
	return trust.OpenCertificate(raw)
}

func (s *Sessions) keep(k trust.Key, raw *trustpb.Certificate) {
	e := s.entry(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	e.raw = raw
}

// maxText bounds what a peer can put into logs and tables.
const maxText = 500

func clip(s string) string {
	if len(s) > maxText {
		return s[:maxText]
	}
	return s
}
