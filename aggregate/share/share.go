package share

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/aggregate/owner"
	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/flow/queue"
	"github.com/atoll-mesh/atoll/health"
)

// Transport carries a message to a member and brings its answer.
type Transport interface {
	// Send may deliver the message once, more than once or not at all, and at any
	// time; its answer is what Handle returned there.
	Send(ctx context.Context, member string, message []byte) ([]byte, error)
}

const (
	tick         = 200 * time.Millisecond
	defaultGrace = 10 * time.Second
	// idle is how often a member hears from this island at least.
	idle = 5 * time.Second
	// poll is how often an owner is asked whether a window is published.
	poll = time.Second
	// fresh is how long a member counts as heard.
	fresh = 30 * time.Second
	// settleTime is how long a backlog is gathered before it is published.
	settleTime  = 10 * time.Second
	sendTimeout = 10 * time.Second
	leastPause  = 250 * time.Millisecond
	mostPause   = 8 * time.Second
	// forgetMember is how long an island that left is waited for by those who do
	// not hear a majority.
	forgetMember   = time.Hour
	defaultPending = flow.Bytes(64 << 20)
)

// Options make a Share.
type Options struct {
	// Self is this island's name among the members.
	Self string
	// Rules are those in force; the ones without Distribute are left alone.
	Rules *rule.Set
	// Members lists the islands that aggregate and are not known to be lost or to
	// have left; with or without Self. An island that is merely out of reach stays
	// in: else the two sides of a partition both publish.
	Members func() []string
	// Transport reaches them.
	Transport Transport
	// Publish takes samples that are final. What it took must survive a crash,
	// since nobody sends it again; what it refuses is offered again.
	Publish func(ctx context.Context, samples []partial.Sample) error
	// Start is a number that is higher with each start of the island.
	Start uint64
	// Dir keeps parts that do not fit into memory; empty: the oldest are dropped.
	Dir string
	// MaxPending bounds the unpublished parts in memory, bytes; 0 is 64 MiB.
	MaxPending flow.Bytes
	// MaxQueue bounds those on disk, bytes; 0 is queue.DefaultBytes.
	MaxQueue flow.Bytes
	// Grace is how long beyond a rule's max_lag a source is waited for; 0 is 10 s.
	Grace      time.Duration
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *health.List
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

func (o *Options) fill() error {
	for field, missing := range map[string]bool{
		"Self": o.Self == "", "Rules": o.Rules == nil, "Members": o.Members == nil,
		"Transport": o.Transport == nil, "Publish": o.Publish == nil, "Start": o.Start == 0,
	} {
		if missing {
			return fmt.Errorf("sharing aggregation: Options.%s is not set", field)
		}
	}
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	if o.MaxPending == 0 {
		o.MaxPending = defaultPending
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// Share is the part of one island in the aggregation of all. It is safe for
// concurrent use.
type Share struct {
	o     Options
	log   *slog.Logger
	codec *codec
	m     *metrics
	wake  chan struct{}
	sends sync.WaitGroup

	// turn is held by who publishes.
	turn sync.Mutex

	mu      sync.Mutex
	life    uint64
	now     int64 // Unix ms
	agreed  int64 // since when a majority agrees on the view, Unix ms; 0: it does not
	rules   map[uint64]*ruleState
	order   []*ruleState
	views   views
	view    *view
	self    int16
	owned   [Slots]int64 // since when this island owns a slot, Unix ms; 0: it does not
	members map[string]*member
	peers   map[string]*peer
	load    [Slots]uint64
	stirred bool  // something came that may complete a window
	judged  int64 // when windows were looked at last, Unix ms

	bytes   int // of the parts in memory
	queue   *queue.Queue
	spilled int // entries in the queue that were not read yet
	taken   *queue.Entry
	covered *queue.Entry // taken, as of the last Snapshot
}

// member is what is known of an island as a source.
type member struct {
	since, in, heard int64 // first and last seen among the members, last heard, Unix ms
	view             uint64
}

// ruleState is what one rule has.
type ruleState struct {
	rule *rule.Rule
	cum  rule.Needs // 0: no cumulative output

	// As a source.
	newest  int64 // end of the newest window that was sealed here
	offered int64 // of the newest in pending, or before
	sealed  int64 // all own windows to here are published
	seq     uint64
	pending []*pending // by seq

	// groups have totals, by the bytes of their labels.
	groups map[string]*group
	swept  int64

	// As an owner.
	marks     map[string][]sourceMark
	windows   map[int64]*window
	through   int64 // all windows to here are published, by whoever owned them
	published int64 // all windows to here are published where this island owns
	done      map[int64][]uint64
	words     []word
	slots     *[Slots]int64 // to where each slot is published, from words; nil: through
	scratch   []byte
}

// sourceMark says that a source delivered all windows to through, of the slots
// that this island holds in a view.
type sourceMark struct {
	view    *view
	through int64
}

const never = -1 << 62

// New makes a Share; Restore may follow, then Run.
func New(o Options) (*Share, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	c, err := newCodec()
	if err != nil {
		return nil, fmt.Errorf("sharing aggregation: %w", err)
	}
	s := &Share{
		o: o, log: o.Logger, codec: c, life: o.Start, wake: make(chan struct{}, 1),
		rules: map[uint64]*ruleState{}, members: map[string]*member{}, peers: map[string]*peer{},
	}
	if s.m, err = newMetrics(s, o.Registerer, o.Health); err != nil {
		return nil, err
	}
	s.Reload(o.Rules)
	return s, s.openQueue()
}

func newRuleState(r *rule.Rule) *ruleState {
	return &ruleState{
		rule: r, cum: owner.CumulativeNeeds(r), newest: never, offered: never, sealed: never, through: never, published: never,
		groups: map[string]*group{}, marks: map[string][]sourceMark{}, windows: map[int64]*window{}, done: map[int64][]uint64{},
	}
}

// Reload goes over to other rules; the state of those whose Hash is in both stays.
func (s *Share) Reload(set *rule.Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.rules
	s.rules, s.order = map[uint64]*ruleState{}, nil
	for _, r := range set.Rules {
		if !r.Distribute {
			continue
		}
		rs := before[r.Hash]
		if rs == nil {
			rs = newRuleState(r)
		}
		rs.rule, rs.cum = r, owner.CumulativeNeeds(r)
		s.rules[r.Hash] = rs
		s.order = append(s.order, rs)
	}
	for hash, rs := range before {
		if s.rules[hash] == nil {
			for _, p := range rs.pending {
				s.forgetPart(p)
			}
		}
	}
}

// find is the rule with a hash; nil if it is not shared here. s.mu is held.
func (s *Share) find(hash uint64) *rule.Rule {
	if rs := s.rules[hash]; rs != nil {
		return rs.rule
	}
	return nil
}

// Run sends and publishes until ctx ends, then closes what New opened.
func (s *Share) Run(ctx context.Context) error {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for {
		s.step(ctx)
		select {
		case <-ctx.Done():
			s.sends.Wait()
			return s.close()
		case <-ticks.C:
		case <-s.wake:
		}
	}
}

func (s *Share) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codec.dec.Close()
	err := s.codec.enc.Close()
	if s.queue != nil {
		err = errors.Join(err, s.queue.Close())
	}
	return err
}

func (s *Share) signal() {
	select {
	case s.wake <- struct{}{}:
	default: // one is pending
	}
}

// step does what is due.
func (s *Share) step(ctx context.Context) {
	members := s.o.Members()
	s.mu.Lock()
	s.look(members)
	s.refill()
	s.deliver()
	s.settle()
	s.mu.Unlock()
	if err := s.publish(ctx); err != nil {
		s.m.refused.Inc()
		s.log.Warn("results of shared aggregation were refused and wait", "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	s.prune()
	s.sendAll(ctx)
	s.warn()
}

// look takes the time, and the members as they are now.
func (s *Share) look(members []string) {
	s.now = max(s.now, s.o.Now().UnixMilli())
	v := s.views.get(append(slices.Clone(members), s.o.Self))
	for _, name := range v.members {
		m := s.members[name]
		if m == nil || m.in < s.now-forgetMember.Milliseconds() {
			m = &member{since: s.now}
			s.members[name] = m
		}
		m.in = s.now
	}
	for name, m := range s.members {
		if m.in < s.now-forgetMember.Milliseconds() {
			delete(s.members, name)
		}
	}
	if s.view == nil || v.id != s.view.id {
		s.change(v)
	}
	s.agreed = since(s.agreed, s.majority(), s.now)
}

// change goes over to another view.
func (s *Share) change(v *view) {
	before := s.view
	s.stirred = true
	s.view, s.self, s.agreed = v, v.index(s.o.Self), 0
	for k := range Slots {
		s.owned[k] = since(s.owned[k], v.first[k] == s.self, s.now)
	}
	for name, p := range s.peers {
		i := v.index(name)
		if i == none {
			s.m.forgetPeer(name)
			delete(s.peers, name)
			continue
		}
		p.change(before, v, i)
	}
	for _, name := range v.members {
		if s.peers[name] == nil {
			s.peers[name] = newPeer(name, v)
		}
	}
	s.peers[s.o.Self].boot = s.o.Start
	for _, rs := range s.order {
		rs.published = rs.through
	}
	s.m.changes.Inc()
}

func since(at int64, holds bool, now int64) int64 {
	switch {
	case !holds:
		return 0
	case at == 0:
		return now
	}
	return at
}

// hold is how long a source is waited for, ms.
func (s *Share) hold(r *rule.Rule) int64 { return (r.MaxLag + s.o.Grace).Milliseconds() }

func (rs *ruleState) interval() int64 { return rs.rule.Interval.Milliseconds() }
