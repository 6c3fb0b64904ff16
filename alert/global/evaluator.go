package global

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/health"
)

// Document is a shared document: Time orders its versions.
type Document struct {
	Key   string
	Time  uint64
	Value []byte
}

// Documents are what islands share.
type Documents interface {
	// List returns the documents whose keys begin with prefix.
	List(prefix string) []Document
	// Set writes a document and returns its time.
	Set(ctx context.Context, key string, value []byte) (uint64, error)
	Delete(ctx context.Context, key string) error
	// Changes gets a value, one at most waiting, whenever something may have changed.
	Changes() <-chan struct{}
}

// Answer is what all islands together say.
type Answer struct {
	Vector promql.Vector
	// Missing are the islands whose data is missing.
	Missing []MissingIsland
	// Receipt is shown beside the group, and not looked at.
	Receipt any
}

// Ask evaluates an expression over all islands; none may take longer than the deadline.
type Ask func(ctx context.Context, expr string, at time.Time, deadline time.Duration) (Answer, error)

// Options are what an Evaluator is made of. Logger, Registerer and Health may be nil.
type Options struct {
	// Self is this island's name. Primaries are all of them, this one included if it is one.
	Self      func() string
	Primaries func() []string
	Reach     Reach
	Documents Documents
	// Parse reads a rules document; its error is for people.
	Parse func(name string, text []byte) ([]Group, error)
	Ask   Ask
	Store storage.AppendableV2
	// Send hands alerts to this island's Alertmanager; group is Group.ID.
	Send func(group string, alerts []Outgoing)
	// Withdraw takes a group's alerts from it without a word to anybody, and returns
	// when no notification about them is under way any more.
	Withdraw func(group string)
	// Interval is that of groups that name none, Resend how long an alert that goes
	// on is not handed over again.
	Interval, Resend func() time.Duration
	ExternalURL      *url.URL

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *health.List
}

// Evaluator evaluates the groups that are this island's to evaluate.
type Evaluator struct {
	o       Options
	metrics *metrics
	trouble trouble
	roster  roster
	wake    chan struct{}

	mu      sync.Mutex
	groups  map[string]*Group // by ID
	workers map[string]*worker
	parsed  map[string]parsed  // by name of the document
	leaving map[string]*worker // that are about to stop
	retired map[string]*worker // that stopped, for what they hear late
	wants   map[string]time.Time
	settled bool
	going   sync.WaitGroup // those that leave
}

// parsed is a rules document as it was read last.
type parsed struct {
	time   uint64
	groups []Group
	err    error
}

// New checks the options and starts nothing.
func New(o Options) (*Evaluator, error) {
	missing := map[string]bool{
		"Self": o.Self == nil, "Primaries": o.Primaries == nil, "Reach": o.Reach == nil, "Documents": o.Documents == nil,
		"Parse": o.Parse == nil, "Ask": o.Ask == nil, "Store": o.Store == nil, "Send": o.Send == nil, "Withdraw": o.Withdraw == nil,
		"Interval": o.Interval == nil, "Resend": o.Resend == nil, "ExternalURL": o.ExternalURL == nil,
	}
	for _, name := range sortedKeys(missing) {
		if missing[name] {
			return nil, fmt.Errorf("BUG: global.Options.%s is missing", name)
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Health == nil {
		o.Health = health.New(nil)
	}
	e := &Evaluator{
		o: o, wake: make(chan struct{}, 1), roster: roster{reach: o.Reach},
		groups: map[string]*Group{}, workers: map[string]*worker{}, parsed: map[string]parsed{},
		leaving: map[string]*worker{}, retired: map[string]*worker{},
	}
	e.trouble = declare(o.Health)
	e.metrics = newMetrics(o.Registerer, e)
	return e, nil
}

// readEvery is after how many seconds documents are read though none is known to
// have changed.
const readEvery = 10

// Run evaluates until ctx ends. Then it hands its alerts back, so that they are not
// taken for over, and leaves the documents as they are for the next owner.
func (e *Evaluator) Run(ctx context.Context) error {
	var looking sync.WaitGroup
	defer looking.Wait()
	looking.Go(func() { e.look(ctx) })
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ticks := 0; ; {
		// What changes before it is watched is seen at the latest by this.
		e.assign(ctx, ticks%readEvery == 0)
		select {
		case <-ctx.Done():
			e.stopAll(ctx)
			return nil
		case <-e.o.Documents.Changes():
			ticks = 0
		case <-e.wake:
			ticks = max(ticks, 1)
		case <-tick.C:
			ticks++
		}
	}
}

// look follows which primaries live.
func (e *Evaluator) look(ctx context.Context) {
	tick := time.NewTicker(lookPeriod)
	defer tick.Stop()
	begin := time.Now()
	for {
		self, all := e.o.Self(), e.o.Primaries()
		others := slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n == self })
		// Who is no primary shows who evaluates what, and asks nobody.
		if slices.Contains(all, self) {
			e.roster.look(ctx, others)
		}
		e.mu.Lock()
		e.settled = len(others) == 0 || time.Since(begin) >= settle
		e.mu.Unlock()
		e.nudge()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (e *Evaluator) nudge() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// live are the primaries that are not lost, as seen from here.
func (e *Evaluator) live() []string { return e.roster.live(e.o.Primaries()) }

// assign starts and stops workers so that they are those of the groups that are
// this island's, and tells those that go on what changed where documents may have.
func (e *Evaluator) assign(ctx context.Context, news bool) {
	if news {
		e.read()
	}
	self, live := e.o.Self(), e.live()
	free := e.takeable(ctx, self, live)
	e.writeLate(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tellHealth()
	for id, w := range e.workers {
		g, defined := e.groups[id]
		switch {
		case !defined:
			e.leave(ctx, w, ended)
		case Owner(id, live) != self:
			e.leave(ctx, w, handedOver)
			e.metrics.handovers.WithLabelValues("given").Inc()
		case news:
			w.changed(g)
		}
	}
	for _, id := range free {
		g := e.groups[id]
		if g == nil || ctx.Err() != nil {
			continue
		}
		delete(e.retired, id)
		delete(e.wants, id)
		e.workers[id] = startWorker(e, g)
		e.metrics.handovers.WithLabelValues("taken").Inc()
	}
}

// leave stops a worker, which may take a while; e.mu is held. The group is in this
// island's hands until it is done.
func (e *Evaluator) leave(ctx context.Context, w *worker, why reason) {
	delete(e.workers, w.id)
	e.leaving[w.id] = w
	e.going.Go(func() {
		w.stop(why)
		if why == ended {
			e.forget(ctx, w.id)
		}
		e.mu.Lock()
		delete(e.leaving, w.id)
		e.retired[w.id] = w
		e.mu.Unlock()
		e.nudge()
	})
}

// writeLate writes what was told of groups after they went to other islands.
func (e *Evaluator) writeLate(ctx context.Context) {
	e.mu.Lock()
	retired := make([]*worker, 0, len(e.retired))
	for _, w := range e.retired {
		retired = append(retired, w)
	}
	e.mu.Unlock()
	for _, w := range retired {
		select {
		case <-w.ledger.dirty:
			if w.putTold(ctx) {
				e.sync(ctx, e.live())
			}
		default:
		}
	}
}

// sync makes the documents of this island and others equal, and returns which were
// reached. Those that were not get them as all islands do.
func (e *Evaluator) sync(ctx context.Context, names []string) map[string]bool {
	self := e.o.Self()
	others := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == self })
	return ask(ctx, others, func(ctx context.Context, name string) bool { return e.o.Reach.Sync(ctx, name) == nil })
}

// read takes the rules documents as they are now.
func (e *Evaluator) read() {
	groups, now := map[string]*Group{}, map[string]parsed{}
	for _, d := range e.o.Documents.List(KindRules + "/") {
		name := strings.TrimPrefix(d.Key, KindRules+"/")
		p, known := e.parsed[name]
		if !known || p.time != d.Time {
			p = parsed{time: d.Time}
			if p.groups, p.err = e.o.Parse(name, d.Value); p.err != nil {
				e.o.Logger.Warn("shared rules are not obeyed", "document", d.Key, "error", p.err)
			}
		}
		now[name] = p
		for i := range p.groups {
			groups[p.groups[i].ID()] = &p.groups[i]
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.groups, e.parsed = groups, now
}

// forget deletes what was left of a group that is no more.
func (e *Evaluator) forget(ctx context.Context, id string) {
	for _, d := range e.o.Documents.List(KindState + "/" + id + "~") {
		if err := e.o.Documents.Delete(ctx, d.Key); err != nil && ctx.Err() == nil {
			e.o.Logger.Warn("delete the state of a group that is no more", "document", d.Key, "error", err)
		}
	}
}

// stopAll gives everything up, and says so for whoever comes next.
func (e *Evaluator) stopAll(ctx context.Context) {
	e.mu.Lock()
	for _, w := range e.workers {
		e.leave(ctx, w, handedOver)
	}
	e.wants = nil
	e.mu.Unlock()
	e.going.Wait()
	_ = e.tellHolds(context.WithoutCancel(ctx)) // it logs; others find out by themselves
}

// states reads what primaries left of a group and was not seen yet.
func (e *Evaluator) states(id string, seen map[string]uint64) []held {
	var out []held
	for _, d := range e.o.Documents.List(KindState + "/" + id + "~") {
		if seen[d.Key] >= d.Time {
			continue
		}
		s, err := DecodeState(d.Value)
		if err == nil && groupID(s.Document, s.Group) != id {
			err = errors.New("is of another group")
		}
		if err != nil {
			e.metrics.states.WithLabelValues("refused").Inc()
			e.o.Logger.Warn("state of a global group is not understood", "document", d.Key, "error", err)
			continue
		}
		out = append(out, held{key: d.Key, time: d.Time, state: s})
	}
	return out
}

// Told returns what a receiver was told last of an alert, as far as it holds for
// the spell that began at firedAt.
func (e *Evaluator) Told(group string, alert uint64, firedAt int64, receiver, aggregation string) (Told, bool) {
	l := e.ledger(group)
	if l == nil {
		return Told{}, false
	}
	return l.told(toldKey{alert, receiver, aggregation}, firedAt)
}

// Tell notes what a receiver was told just now, for all primaries.
func (e *Evaluator) Tell(group string, news ...Told) {
	if l := e.ledger(group); l != nil {
		l.tell(news...)
		e.nudge() // for a group that is at another island by now
	}
}

func (e *Evaluator) ledger(group string) *ledger {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, all := range []map[string]*worker{e.workers, e.leaving, e.retired} {
		if w := all[group]; w != nil {
			return &w.ledger
		}
	}
	return nil
}

// tellHealth says what is wrong; e.mu is held.
func (e *Evaluator) tellHealth() {
	var refused, failing, waiting []string
	for _, name := range sortedKeys(e.parsed) {
		if err := e.parsed[name].err; err != nil {
			refused = append(refused, KindRules+"/"+name+": "+err.Error())
		}
	}
	for _, id := range sortedKeys(e.workers) {
		f, k := e.workers[id].complaints()
		failing, waiting = append(failing, f...), append(waiting, k...)
	}
	report(e.trouble.refused, refused)
	report(e.trouble.failing, failing)
	report(e.trouble.waiting, waiting)
	if len(e.groups) > 0 && len(e.o.Primaries()) == 0 {
		e.trouble.nobody.Set("%d groups are not evaluated", len(e.groups))
	} else {
		e.trouble.nobody.Clear()
	}
}
