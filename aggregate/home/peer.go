package home

import (
	"context"
	"math"

	"github.com/atoll-mesh/atoll/aggregate/engine"
	"github.com/atoll-mesh/atoll/aggregate/slots"
)

// peer is another member.
type peer struct {
	name  string
	token uint64
	boot  uint64 // its start; 0: not known yet
	view  uint64
	busy  bool
	heard int64 // last answer, Unix ms; 0: none
	next  int64 // not before, Unix ms
	sent  int64
	pause int64

	// It has directories.
	claims     []claim
	done, full bool // what it must be told of is in claims, or was sent

	// It is home of series that are received here.
	following int
	watches   []watch
	asks      []watch
	tooks     []watch
	wills     []will
	reading   int             // wills on the way
	asking    map[uint64]bool // series whose next home is not certain
	ack       uint64

	// It follows this island, or tells its directory.
	told    bool // all that it counts, in this view
	watched map[uint32]*watched
	seq     uint64
	round   uint8 // in which it told all that it counts
	sweep   int   // slot from which on the directory is to be swept of the rest
}

// watched is a series that the peer follows, by its place here.
type watched struct {
	id   uint64
	here uint32 // there
	told stateKind
	// said in the report seq, which the peer may not have.
	said stateKind
	seq  uint64
}

func newPeer(name string) *peer {
	return &peer{name: name, token: slots.Name(name), watched: map[uint32]*watched{}, asking: map[uint64]bool{}, sweep: slots.Count}
}

// sendAll begins what is due.
func (h *Home) sendAll(ctx context.Context) {
	for _, p := range h.peers {
		if p.busy || h.now < p.next {
			continue
		}
		poll := p.following > 0 || len(p.watches)+len(p.asks)+len(p.tooks) > 0
		urgent := p.boot == 0 || len(p.claims)+len(p.watches)+len(p.tooks)+len(p.wills) > 0 || p.done
		due := urgent || poll && h.now >= p.sent+pollEvery || len(p.asks) > 0 && h.now >= p.sent+again || h.now >= p.sent+idleEvery
		if !due {
			continue
		}
		m := h.compose(p, poll)
		p.busy, p.sent = true, h.now
		h.sends.Add(1)
		go h.exchange(ctx, p, m)
	}
}

func (h *Home) compose(p *peer, poll bool) *message {
	m := &message{boot: h.o.Start, to: p.boot, view: h.view.ID, round: h.round}
	if p.boot == 0 {
		return m // to learn its start first
	}
	m.claims, p.claims = cut(p.claims)
	m.watches, p.watches = cut(p.watches)
	m.tooks, p.tooks = cut(p.tooks)
	m.asks, p.asks = cut(p.asks)
	m.wills, p.wills = cut(p.wills)
	p.reading = len(m.wills)
	for _, a := range m.asks {
		p.asking[a.id] = true
	}
	if len(p.claims) == 0 {
		m.done, m.full = p.done, p.full
	}
	m.poll, m.ack = poll, p.ack
	return m
}

func cut[T any](all []T) (now, later []T) {
	n := min(len(all), most)
	return all[:n:n], all[n:]
}

// exchange sends one message and takes the answer.
func (h *Home) exchange(ctx context.Context, p *peer, m *message) {
	defer h.sends.Done()
	data := m.encode()
	h.m.sent.Add(float64(len(data)))
	limited, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	answer, err := h.o.Transport.Send(limited, p.name, data)
	var r *reply
	if err == nil {
		r, err = decodeReply(answer)
	}
	if err == nil && r.taken && len(r.verdicts) != len(m.claims) {
		err = errMessage
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	p.busy, p.reading = false, 0
	h.now = max(h.now, h.o.Now().UnixMilli())
	if h.peers[p.name] != p {
		h.local = append(h.local, m.claims...)
		return
	}
	if err != nil {
		h.failed(p, m, err)
		return
	}
	p.heard, p.pause, p.next = h.now, 0, 0
	if r.boot != p.boot {
		h.restarted(p, r.boot)
	}
	if !r.taken {
		h.back(p, m)
		h.signal()
		return
	}
	if m.done && m.view == h.view.ID {
		p.done = false
	}
	h.answered(p, m, r)
}

func (h *Home) failed(p *peer, m *message, err error) {
	p.pause = min(max(leastPause, 2*p.pause), mostPause)
	p.next = h.now + p.pause
	h.m.failures.WithLabelValues(p.name).Inc()
	h.log.Debug("no answer about homes of series", "member", p.name, "err", err)
	h.back(p, m)
}

// back keeps what a message held for another one.
func (h *Home) back(p *peer, m *message) {
	if m.view != h.view.ID {
		h.local = append(h.local, m.claims...) // perhaps to another directory now
	} else {
		p.claims = append(m.claims, p.claims...)
	}
	p.watches = append(m.watches, p.watches...)
	p.tooks = append(m.tooks, p.tooks...)
	if h.leaves {
		p.wills = append(m.wills, p.wills...)
	}
}

// restarted begins anew with a peer that has.
func (h *Home) restarted(p *peer, boot uint64) {
	fresh := p.boot == 0
	p.boot, p.ack, p.asks = boot, 0, nil
	p.done = false
	clear(p.asking)
	p.watched, p.seq = map[uint32]*watched{}, 0
	if !fresh {
		for k := range slots.Count {
			if h.view.Members[h.view.First[k]] == p.name {
				h.need[k] = true
			}
		}
	}
	before := map[uint64]watch{}
	for _, w := range p.watches {
		if w.t != math.MinInt64 {
			before[w.id] = w
		}
	}
	p.watches = nil
	h.o.Engine.Following(p.token, func(x engine.Series, there uint32) {
		w, ok := before[x.ID] // with the last that was counted here
		if !ok {
			w.t = math.MinInt64
		}
		w.id, w.there, w.here = x.ID, there, x.Ref
		p.watches = append(p.watches, w)
	})
}

// answered does what an answer says.
func (h *Home) answered(p *peer, m *message, r *reply) {
	for i, v := range r.verdicts {
		h.judged(m.claims[i], v)
	}
	var all []engine.Decision
	for _, s := range r.states {
		all = h.stated(all, p, s)
	}
	for _, w := range m.watches {
		all = append(all, engine.Decision{Verb: engine.Watched, Series: engine.Series{ID: w.id, Ref: w.here}, Home: p.token})
	}
	if r.polled {
		p.ack = r.seq
		all = append(all, engine.Decision{Verb: engine.Heard, Home: p.token, T: r.through, Due: r.due, Newest: r.newest})
	}
	if len(all) > 0 {
		h.o.Engine.Decide(h.now, all)
	}
	if len(p.claims)+len(p.watches)+len(p.wills) > 0 || len(r.states) > 0 {
		h.signal()
	}
}

// stated turns what a home says of a series into a decision.
func (h *Home) stated(all []engine.Decision, p *peer, s state) []engine.Decision {
	d := engine.Decision{Series: engine.Series{ID: s.id, Ref: s.here}, Home: p.token}
	if s.kind != stateBusy {
		delete(p.asking, s.id)
	}
	switch s.kind {
	case stateAlive:
		d.Verb = engine.Alive
	case stateOffer:
		d.Verb, d.T, d.V, d.Step, d.Ended = engine.Offer, s.t, s.v, s.step, s.ended
	case stateGiven:
		d.Verb, d.T, d.V, d.Step, d.Known = engine.Take, s.t, s.v, s.step, s.t != math.MinInt64
	case stateUnknown:
		d.Verb, d.T = engine.Take, math.MinInt64
	case stateMoved:
		if s.home == h.token {
			return all // the one that has it will say so itself
		}
		h.follow(d.Series, s.home, s.there)
		return all
	case stateBusy:
		return all
	}
	return append(all, d)
}

// Handle takes a message of a member and answers it.
func (h *Home) Handle(_ context.Context, from string, data []byte) ([]byte, error) {
	m, err := decodeMessage(data)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = max(h.now, h.o.Now().UnixMilli())
	r := &reply{boot: h.o.Start}
	p := h.peers[from]
	if p == nil || m.to != h.o.Start || !h.begun {
		return r.encode(), nil // not in our view yet
	}
	r.taken = true
	if p.boot != m.boot {
		if p.boot != 0 {
			p.told = false
			h.signal()
		}
		h.restarted(p, m.boot)
	}
	for _, c := range m.claims {
		v := h.dir.claim(p.token, c, m.round, h.now, h.member)
		h.m.claims.WithLabelValues(v.kind.String()).Inc()
		r.verdicts = append(r.verdicts, v)
	}
	if m.done && m.view == h.view.ID {
		p.told = true
		h.ripen()
	}
	if m.done && m.full {
		p.round, p.sweep = m.round, 0
	}
	h.serve(p, m, r)
	return r.encode(), nil
}

// serve answers what a follower says and asks.
func (h *Home) serve(p *peer, m *message, r *reply) {
	for _, w := range p.watched {
		if w.seq != 0 && w.seq <= m.ack {
			w.told, w.seq = w.said, 0
		}
	}
	for _, w := range m.tooks {
		h.yield(p, w)
	}
	for _, w := range m.asks {
		d := []engine.Decision{{Verb: engine.Give, Series: engine.Series{ID: w.id, Ref: w.there}, Home: p.token, There: w.here, T: w.t}}
		if h.o.Engine.Decide(h.now, d); d[0].Verb == engine.Give {
			h.m.given.Inc()
			p.watches = append(p.watches, watch{id: w.id, there: w.here, here: w.there, t: math.MinInt64})
		}
		h.o.Engine.Look([]engine.Series{d[0].Series}, func(_ int, is engine.Status) {
			s := h.stateOf(p, w, is, true)
			r.states = append(r.states, s)
			if x := p.watched[w.there]; x != nil && x.id == w.id {
				x.told = 0 // it is told again what is the case
			}
		})
	}
	var joins []engine.Decision
	for _, w := range m.wills {
		if !h.dir.keep(p.token, w, h.now) {
			h.m.refused.Inc()
		}
	}
	for _, w := range m.watches {
		if x := h.dir.legacies[w.id]; x != nil && x.to != h.token {
			w.there = x.place
		}
		p.watched[w.there] = &watched{id: w.id, here: w.here}
		if w.t != math.MinInt64 {
			joins = append(joins, engine.Decision{Verb: engine.Join, Series: engine.Series{ID: w.id, Ref: w.there}, T: w.t, V: w.v})
		}
	}
	if len(joins) > 0 {
		h.o.Engine.Decide(h.now, joins)
	}
	if m.poll {
		h.report(p, r)
	}
}

// yield follows one that took a series over while this island was not heard.
func (h *Home) yield(p *peer, w watch) {
	x := engine.Series{ID: w.id, Ref: w.there}
	h.o.Engine.Look([]engine.Series{x}, func(_ int, is engine.Status) {
		if is.State == engine.Own || is.State == engine.Waits {
			h.follow(x, p.token, w.here)
		}
	})
}

// report says how far this island is with what the peer follows.
func (h *Home) report(p *peer, r *reply) {
	if h.leaves {
		h.cede(p)
	}
	refs, all := make([]engine.Series, 0, len(p.watched)), make([]*watched, 0, len(p.watched))
	for ref, w := range p.watched {
		refs, all = append(refs, engine.Series{ID: w.id, Ref: ref}), append(all, w)
	}
	p.seq++
	r.polled, r.seq, r.through, r.due = true, p.seq, math.MaxInt64, math.MaxInt64
	h.o.Engine.Look(refs, func(i int, is engine.Status) {
		w := all[i]
		s := h.stateOf(p, watch{id: w.id, there: refs[i].Ref, here: w.here}, is, h.leaves)
		if s.kind == stateAlive && is.T != math.MinInt64 {
			r.through = min(r.through, is.T)
			r.newest = max(r.newest, is.T)
			r.due = min(r.due, is.T+max(1, engine.StepMillis(is.Step))-1)
		}
		last := w.told == stateGiven || w.told == stateMoved || w.told == stateUnknown
		switch {
		case s.kind == w.told && last:
			delete(p.watched, refs[i].Ref)
		case s.kind != w.told && len(r.states) < most && (w.told != 0 || s.kind != stateAlive):
			r.states = append(r.states, s)
			w.said, w.seq = s.kind, p.seq
		}
	})
	r.through, r.due = min(r.through, h.now), min(r.due, h.now)
}

// stateOf says how a series is; asked: the peer has asked for it.
func (h *Home) stateOf(p *peer, w watch, is engine.Status, asked bool) state {
	s := state{id: w.id, here: w.here, kind: stateAlive, t: is.T, v: is.V, step: is.Step, ended: is.Ended}
	switch is.State {
	case engine.Unknown:
		s.kind = stateUnknown
		return h.legacyOf(p, w, s)
	case engine.Own:
		if is.Ended || is.T == math.MinInt64 || h.now-is.T >= engine.Silence(is.Step) {
			s.kind = stateOffer
		}
	case engine.Away:
		s.kind, s.home, s.there = stateMoved, is.Home, is.There
		if is.Home != p.token {
			break
		}
		s.kind = stateBusy
		if asked || p.name < h.o.Self && !p.asking[w.id] {
			s.kind = stateGiven
		}
	}
	return s
}
