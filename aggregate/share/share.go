package share

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
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
	// outOfReach is how long a member may be heard by nobody before the others make
	// a view without it.
	outOfReach = time.Minute
	// forgetMember is how long an island that left is waited for as a source.
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
	// in: that the others go on without it is for Share to decide.
	Members func() []string
	// Transport reaches them.
	Transport Transport
	// Publish takes samples that are final. What it took must survive a crash,
	// since nobody sends it again; what it refuses is offered again.
	Publish func(ctx context.Context, samples []partial.Sample) error
	// Journal keeps what this island decides to publish; nil: a death between two
	// snapshots forgets it, and windows can come again with other values.
	Journal Journal
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
	begun time.Time
	calm  time.Duration // balanceEvery
	least float64       // leastLoad
	// known are the rules by hash; the map is replaced, not changed.
	known atomic.Pointer[map[uint64]*rule.Rule]

	// turn is held by who publishes, and guards packed, which is scratch.
	turn   sync.Mutex
	packed []byte

	mu     sync.Mutex
	life   uint64
	stance stance
	now    int64 // ms that have passed since New, and one: no clock that jumps
	wall   int64 // Unix ms
	agreed int64 // since when enough members agree on the view; 0: they do not
	births uint64
	rules  map[uint64]*ruleState
	order  []*ruleState
	views  views
	// listed are those that aggregate; the view has those of them that are within
	// reach. whole is the newest view that was not apart.
	listed      []string
	view, whole *view
	self        int16
	changed     int64 // when the view came
	members     map[string]*member
	peers       map[string]*peer
	decided     *batch // what is not taken yet
	recalls     bool   // what this island published before it began is not forgotten
	number      uint64 // of the newest batch
	note        []byte // scratch
	stirred     bool   // something came that may complete a window
	looked      int64  // when members were listed last
	judged      int64  // when windows were looked at last
	spoken      int64  // when an island that has rules said something last
	warned      int64  // when warnings were looked at last

	plan     *plan // the newest
	plans    []*plan
	load     [Slots]uint64
	before   [Slots]uint64
	rate     [Slots]float64
	weighed  int64
	loads    []loadOf // of this island, for the steward
	loadView uint64
	reports  map[string]report

	bytes   int // of the parts in memory
	spare   int // of those that are kept for the case of a correction
	queue   *queue.Queue
	spilled int    // entries in the queue that were not read yet
	tail    uint64 // end of the queue as of the snapshot that this island begins from
	rewound bool
	taken   *queue.Entry
	covered *queue.Entry // taken, as of the last Snapshot
}

// member is what is known of an island as a source. Times are as Share.now.
type member struct {
	since, in int64 // first and last seen among those that aggregate
	heard     int64 // when it last said something here
	known     int64 // when it last said something to any island within reach
	view      uint64
	life      uint64 // as a source
	// stance is its newest; done: it leaves, or has left, and all that it counted is
	// here, or with those who held its groups.
	stance stance
	done   bool
}

// ruleState is what one rule has.
type ruleState struct {
	rule  *rule.Rule
	cum   rule.Needs // 0: no cumulative output
	birth uint64     // tells it from an earlier state of the same rule

	// As a source.
	newest  int64 // end of the newest window that was sealed here
	offered int64 // of the newest in pending, or before
	sealed  int64 // all own windows to here are published
	seq     uint64
	pending []*pending // by seq
	lost    int64      // parts of windows to here cannot be sent again

	// groups have totals, and where they were published, by the bytes of their labels.
	groups map[string]*group
	swept  int64

	// As an owner.
	marks     map[string][]sourceMark
	gaps      map[string]int64 // by source: parts of windows to here are not sent again
	arrivals  []arrival
	latest    int64 // end of the newest window that any source spoke of
	windows   map[int64]*window
	through   int64 // all windows to here are published, by whoever owned them
	published int64 // all windows to here are published where this island owns
	origin    int64 // this island was there when windows past here were published
	// first are the sources of which nothing has come since this island began: what
	// they say first tells to where they had been published.
	first   map[string]bool
	turned  int64  // a source that is past here has said all again since the view changed
	shown   *reach // to where this island published in the present view; nil: nothing
	words   []word
	scratch []byte
}

// sourceMark says that a source delivered all windows to through, of the slots
// that this island holds in a view.
type sourceMark struct {
	view    *view
	through int64
}

// arrival is when a source first spoke of a window that ends at end, or later.
type arrival struct{ end, at int64 }

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
		o: o, log: o.Logger, codec: c, life: o.Start, number: o.Start, stance: stance{start: o.Start}, wake: make(chan struct{}, 1), begun: time.Now(), calm: balanceEvery, least: leastLoad, spoken: never,
		rules: map[uint64]*ruleState{}, members: map[string]*member{}, peers: map[string]*peer{}, reports: map[string]report{},
	}
	s.clock()
	if s.m, err = newMetrics(s, o.Registerer, o.Health); err != nil {
		return nil, err
	}
	s.Reload(o.Rules)
	return s, s.openQueue()
}

// clock takes the time.
func (s *Share) clock() {
	s.now, s.wall = time.Since(s.begun).Milliseconds()+1, s.o.Now().UnixMilli()
}

func newRuleState(r *rule.Rule, birth uint64) *ruleState {
	return &ruleState{
		rule: r, cum: owner.CumulativeNeeds(r), birth: birth,
		newest: never, offered: never, sealed: never, through: never, published: never, latest: never, lost: never, turned: never, origin: never,
		groups: map[string]*group{}, marks: map[string][]sourceMark{}, gaps: map[string]int64{}, windows: map[int64]*window{},
	}
}

// Reload goes over to other rules; the state of those whose Hash is in both stays.
func (s *Share) Reload(set *rule.Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.rules
	known := map[uint64]*rule.Rule{}
	s.rules, s.order = map[uint64]*ruleState{}, nil
	for _, r := range set.Rules {
		if !r.Distribute {
			continue
		}
		rs := before[r.Hash]
		if rs == nil {
			s.births++
			rs = newRuleState(r, s.births)
		}
		rs.rule, rs.cum = r, owner.CumulativeNeeds(r)
		s.rules[r.Hash], known[r.Hash] = rs, r
		s.order = append(s.order, rs)
	}
	for hash, rs := range before {
		if s.rules[hash] == nil {
			for _, p := range rs.pending {
				s.forgetPart(p)
			}
			for _, p := range s.peers {
				delete(p.links, hash)
			}
		}
	}
	s.known.Store(&known)
}

// find is the rule with a hash; nil if it is not shared here.
func (s *Share) find(hash uint64) *rule.Rule { return (*s.known.Load())[hash] }

// Run sends and publishes until ctx ends, then closes what New opened.
func (s *Share) Run(ctx context.Context) error {
	s.resume()
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

// resume does what comes after Restore and Replay.
func (s *Share) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rewind()
	s.owe()
}

// close leaves the codec alone, which runs nothing: Handle may still be reading.
func (s *Share) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue == nil {
		return nil
	}
	return s.queue.Close()
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
	s.weigh()
	s.sendAll(ctx)
	s.warn()
}

// hold is how long a source is waited for, ms.
func (s *Share) hold(r *rule.Rule) int64 { return (r.MaxLag + s.o.Grace).Milliseconds() }

func (rs *ruleState) interval() int64 { return rs.rule.Interval.Milliseconds() }

// horizon is the end of the newest window that is too old for anything. A clock
// that runs ahead of the windows does not count.
func (s *Share) horizon(rs *ruleState) int64 {
	return min(s.wall, max(rs.latest, rs.newest)) - rs.rule.MaxAge.Milliseconds() - s.hold(rs.rule) - rs.interval()
}
