package home

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/aggregate/engine"
	"github.com/atoll-mesh/atoll/aggregate/slots"
)

// Transport carries a message to a member and brings its answer.
type Transport interface {
	// Send may deliver the message once, more than once or not at all, and at any
	// time; its answer is what Handle returned there.
	Send(ctx context.Context, member string, message []byte) ([]byte, error)
}

const (
	tick = 200 * time.Millisecond
	// pollEvery is how often a home is asked how far it is, ms.
	pollEvery = 2 * 1000
	// idleEvery is how often a member hears from this island at least, ms.
	idleEvery = 5 * 1000
	// again is when a claim that nobody could answer is made again, ms.
	again = 1000
	// refreshEvery is how often a directory is told everything anew, so that it
	// forgets what is no more, ms.
	refreshEvery = 30 * 60 * 1000
	sendTimeout  = 10 * time.Second
	leastPause   = 250
	mostPause    = 4 * 1000
	// walkChunks bounds the chunks of 1024 series that one tick walks through.
	walkChunks = 64
)

// Options make a Home.
type Options struct {
	// Self is this island's name among the members.
	Self string
	// Key keys the IDs of series, the same on all islands; not 0. Who does not know
	// it cannot make two series look like one.
	Key uint64
	// Members lists the islands that aggregate and are not known to be lost or to
	// have left; with or without Self.
	Members func() []string
	// Transport reaches them.
	Transport Transport
	// Engine has the series.
	Engine *engine.Engine
	// Start is a number that is higher with each start of the island.
	Start      uint64
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

func (o *Options) fill() error {
	for field, missing := range map[string]bool{
		"Self": o.Self == "", "Key": o.Key == 0, "Members": o.Members == nil,
		"Transport": o.Transport == nil, "Engine": o.Engine == nil, "Start": o.Start == 0,
	} {
		if missing {
			return fmt.Errorf("homes of series: Options.%s is not set", field)
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// Home is the part of one island in finding homes. It is safe for concurrent use.
type Home struct {
	o     Options
	log   *slog.Logger
	m     *metrics
	wake  chan struct{}
	sends sync.WaitGroup

	mu     sync.Mutex
	now    int64 // Unix ms
	view   *slots.View
	self   int16
	token  uint64 // of Self
	names  map[uint64]string
	peers  map[string]*peer
	dir    directory
	begun  bool // there are other islands, or were
	looked bool // at the members
	leaves bool // see Leave
	// active: there is, or was, a series of a distributed rule here. Before, the island
	// answers and says nothing by itself.
	active bool
	doubts uint64
	local  []claim // to the own directory, to be made again
	asked  int64   // when silent homes were looked for

	// Telling directories what this island counts.
	need      [slots.Count]bool // slots whose directory must be told
	telling   [slots.Count]bool // those of the walk under way
	walking   bool
	cursor    uint64
	round     uint8
	refreshed int64
}

// New makes a Home; Run lets it work.
func New(o Options) (*Home, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	h := &Home{
		o: o, log: o.Logger, wake: make(chan struct{}, 1), token: slots.Name(o.Self),
		dir:   directory{self: slots.Name(o.Self)},
		names: map[uint64]string{}, peers: map[string]*peer{}, doubts: o.Engine.Doubts(),
	}
	var err error
	if h.m, err = newMetrics(h, o.Registerer); err != nil {
		return nil, err
	}
	return h, nil
}

// Run works until ctx ends. The engine goes on by itself then: what it keeps for
// others it counts when they have not been heard for long enough.
func (h *Home) Run(ctx context.Context) error {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for {
		h.step(ctx)
		select {
		case <-ctx.Done():
			h.sends.Wait()
			return nil
		case <-ticks.C:
		case <-h.wake:
		}
	}
}

func (h *Home) signal() {
	select {
	case h.wake <- struct{}{}:
	default: // one is pending
	}
}

// step does what is due.
func (h *Home) step(ctx context.Context) {
	members := h.o.Members()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.look(members)
	if !h.begun {
		return
	}
	h.newClaims()
	h.walk()
	h.sweep()
	h.askSilent()
	if h.active {
		h.sendAll(ctx)
	}
}

// look takes the time, and the members as they are now.
func (h *Home) look(members []string) {
	h.now = max(h.now, h.o.Now().UnixMilli())
	all := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(members), h.o.Self))))
	if h.view == nil || !slices.Equal(h.view.Members, all) {
		h.change(slots.New(all))
	}
	if several := len(h.names) > 1; several != h.begun || !h.looked {
		h.begun, h.looked = several, true
		verb := engine.Cease
		if several {
			verb = engine.Begin
		}
		h.o.Engine.Decide(h.now, []engine.Decision{{Verb: verb, Series: engine.Series{ID: h.o.Key}}})
		h.tellAll()
	}
	if doubts := h.o.Engine.Doubts(); doubts != h.doubts || h.now-h.refreshed >= refreshEvery {
		h.doubts = doubts
		h.tellAll()
	}
}

// tellAll lets every directory be told what this island counts.
func (h *Home) tellAll() {
	h.refreshed = h.now
	for k := range h.need {
		h.need[k] = true
	}
}

// change goes over to other members.
func (h *Home) change(v *slots.View) {
	before := h.view
	h.view, h.self = v, v.Index(h.o.Self)
	for k := range slots.Count {
		if before == nil || before.Members[before.First[k]] != v.Members[v.First[k]] {
			h.need[k] = true
		}
	}
	if before != nil && slices.ContainsFunc(before.Members, func(name string) bool { return v.Index(name) == slots.None }) {
		h.dir.lost = h.now
	}
	h.dir.own(v, h.self, h.now)
	for name, p := range h.peers {
		if v.Index(name) == slots.None {
			delete(h.peers, name)
			h.m.failures.DeleteLabelValues(name)
			h.local = append(h.local, p.claims...)
		}
	}
	back := true
	for _, name := range h.names {
		back = back && v.Index(name) != slots.None
	}
	if back {
		h.dir.lost = 0
	}
	for _, name := range v.Members {
		h.names[slots.Name(name)] = name
		if name != h.o.Self && h.peers[name] == nil {
			h.peers[name] = newPeer(name)
		}
	}
	for _, p := range h.peers {
		p.told, p.view = p.told && p.view == v.ID, v.ID
		h.local = append(h.local, p.claims...)
		p.claims = nil
		p.done = false
	}
	h.reroute()
}

// reroute makes claims again that the own directory could not answer, or whose
// directory has changed.
func (h *Home) reroute() {
	all := h.local
	h.local = nil
	for _, c := range all {
		h.route(c)
	}
}

// route makes a claim to whoever has the directory of its series.
func (h *Home) route(c claim) {
	to := h.view.First[slots.Of(c.ID)]
	if to != h.self {
		p := h.peers[h.view.Members[to]]
		p.claims = append(p.claims, c)
		return
	}
	h.judged(c, h.dir.claim(h.token, c, h.round, h.now, h.member))
}

func (h *Home) member(token uint64) bool {
	name, ok := h.names[token]
	return ok && h.view.Index(name) != slots.None
}

// judged does what the answer to a claim says.
func (h *Home) judged(c claim, v verdict) {
	d := engine.Decision{Series: c.Series}
	switch {
	case v.kind == verdictWait:
		h.local = append(h.local, c)
		d.Verb = engine.Wait
	case v.kind == verdictSeen:
		d.Verb = engine.Blind
	case v.kind == verdictElse && v.home == h.token && h.inherit(c):
		return
	case v.kind == verdictMine || v.home == h.token:
		d.Verb = engine.Mine
	default:
		h.follow(c.Series, v.home, v.there)
		return
	}
	if c.kind.waits() {
		h.o.Engine.Decide(h.now, []engine.Decision{d})
	}
}

// follow leaves a series to its home.
func (h *Home) follow(x engine.Series, home uint64, there uint32) {
	d := []engine.Decision{{Verb: engine.Follow, Series: x, Home: home, There: there, T: h.now}}
	p := h.peers[h.names[home]]
	if p != nil && p.heard != 0 {
		d[0].T = p.heard
	}
	w := watch{id: x.ID, there: there, here: x.Ref, t: math.MinInt64}
	h.o.Engine.Look([]engine.Series{x}, func(_ int, is engine.Status) {
		if is.State == engine.Own || is.State == engine.Waits {
			w.t, w.v = is.T, is.V
		}
	})
	h.o.Engine.Decide(h.now, d)
	if p != nil {
		p.watches = append(p.watches, w)
	}
}

// newClaims makes the claims that the engine has.
func (h *Home) newClaims() {
	if len(h.local) > 0 && h.now >= h.asked+again {
		h.reroute()
	}
	for _, c := range h.o.Engine.TakeClaims() {
		h.active = true
		x := claimOf(c)
		if c.From != 0 && !c.Waiting {
			x.kind = claimTook
			h.m.taken.Inc()
			if p := h.peers[h.names[c.From]]; p != nil {
				p.tooks = append(p.tooks, watch{id: c.ID, there: c.There, here: c.Ref, t: math.MinInt64})
			}
		}
		h.route(x)
	}
}

func claimOf(c engine.Claim) claim {
	x := claim{Series: c.Series, kind: claimHeld, from: c.From}
	switch {
	case c.Waiting && c.Known:
		x.kind = claimAgain
	case c.Waiting:
		x.kind = claimNew
	}
	return x
}

// walk tells the directories that must know it what this island counts.
func (h *Home) walk() {
	if !h.walking {
		if !slices.Contains(h.need[:], true) {
			return
		}
		h.telling, h.need = h.need, [slots.Count]bool{}
		h.walking, h.cursor = true, 0
		h.round++
	}
	for range walkChunks {
		h.cursor = h.o.Engine.Owned(h.cursor, func(c engine.Claim) {
			h.active = true
			if h.telling[slots.Of(c.ID)] {
				h.local = append(h.local, claimOf(c))
			}
		})
		if h.cursor == 0 {
			break
		}
	}
	h.reroute()
	if h.cursor == 0 {
		h.walking = false
		h.toldAll()
	}
}

// sweepSlots bounds the slots that one tick sweeps.
const sweepSlots = 64

func (h *Home) sweep() {
	for _, p := range h.peers {
		if p.sweep < slots.Count {
			h.dir.sweep(p.token, p.round, p.sweep, p.sweep+sweepSlots)
			p.sweep += sweepSlots
		}
	}
}

// toldAll notes whom everything was told that he must know.
func (h *Home) toldAll() {
	for i, name := range h.view.Members {
		open, all := false, true
		for k := range slots.Count {
			if h.view.First[k] == int16(i) {
				open = open || h.need[k]
				all = all && h.telling[k]
			}
		}
		if p := h.peers[name]; p != nil && !open {
			p.done, p.full = true, all
		}
	}
	h.ripen()
}

// ripen looks whether all members have told this directory what they count.
func (h *Home) ripen() {
	ripe := !h.walking && !slices.Contains(h.need[:], true)
	for _, p := range h.peers {
		ripe = ripe && p.told
	}
	h.dir.ripe = h.dir.ripe || ripe
}

// askSilent asks homes for series that they do not hear any more.
func (h *Home) askSilent() {
	h.dir.unheard = false
	for _, p := range h.peers {
		p.following = 0
		h.dir.unheard = h.dir.unheard || p.heard == 0
	}
	for home, n := range h.o.Engine.Homes() {
		h.active = true
		if p := h.peers[h.names[home]]; p != nil {
			p.following = n
		}
	}
	if h.now < h.asked+again {
		return
	}
	h.asked = h.now
	h.dir.forget(h.now)
	for _, p := range h.peers {
		p.asks = p.asks[:0]
	}
	if h.leaves {
		return // it would have them back
	}
	for _, a := range h.o.Engine.Ripe() {
		if p := h.peers[h.names[a.Home]]; p != nil {
			p.asks = append(p.asks, watch{id: a.ID, there: a.There, here: a.Ref, t: a.Newest})
		}
	}
}
