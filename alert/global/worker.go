package global

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// reason is why a worker stops.
type reason int

const (
	// handedOver is for a group that goes on at another island, or here later.
	handedOver reason = iota
	// ended is for a group that is no more: its alerts are over.
	ended
)

// saveTimeout bounds writing one document, saveRetry is the wait after one that
// could not be written.
const (
	saveTimeout = 10 * time.Second
	saveRetry   = 5 * time.Second
)

// worker evaluates one group while it is this island's.
type worker struct {
	e      *Evaluator
	id     string
	key    string // of this island's state document
	ledger ledger
	record recorder
	cancel context.CancelFunc
	done   sync.WaitGroup
	wake   chan struct{}
	gone   map[string]map[string]bool // islands missing in the last answer, by rule; of run

	mu    sync.Mutex
	group *Group
	last  result
}

// result is how the last evaluation went.
type result struct {
	at    time.Time
	took  time.Duration
	rules []ruleResult
}

type ruleResult struct {
	err     error
	kept    bool
	missing []MissingIsland
	receipt any
	at      time.Time
	took    time.Duration
}

// startWorker goes on with a group where it was left.
func startWorker(e *Evaluator, g *Group) *worker {
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{
		e: e, id: g.ID(), key: StateKey(g.ID(), e.o.Self()), group: g, cancel: cancel, wake: make(chan struct{}, 1),
		gone:   map[string]map[string]bool{},
		record: recorder{store: e.o.Store, last: map[string]map[string]labels.Labels{}},
		ledger: ledger{dirty: make(chan struct{}, 1), state: &State{Absorbed: map[string]uint64{}}},
	}
	w.absorb()
	w.done.Go(func() { w.run(ctx) })
	w.done.Go(func() { w.save(ctx) })
	return w
}

// stop ends the worker. A group that is no more has its alerts told as over.
func (w *worker) stop(why reason) {
	w.cancel()
	w.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), saveTimeout)
	defer cancel()
	now := time.Now()
	if err := w.record.end(ctx, now); err != nil {
		w.e.o.Logger.Warn("end the series of a global group", "group", w.group.Title(), "error", err)
	}
	if why == ended {
		w.resolve(now)
		return
	}
	w.e.o.Withdraw(w.id)
	select {
	case <-w.ledger.dirty:
	default: // written all the same: it says up to when it holds
	}
	w.put(ctx)
}

// resolve tells that all alerts are over.
func (w *worker) resolve(now time.Time) {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	for i := range w.ledger.state.Rules {
		r := &w.ledger.state.Rules[i]
		for n := range r.Alerts {
			if a := &r.Alerts[n]; a.Phase == Firing {
				a.Phase, a.ResolvedAt = Resolved, millis(now)
			}
		}
		w.e.o.Send(w.id, r.due("", now, 0, 0, true))
	}
}

// changed takes a new definition and what other primaries wrote meanwhile.
func (w *worker) changed(g *Group) {
	w.mu.Lock()
	same := w.group.Equal(g)
	w.group = g
	w.mu.Unlock()
	if w.absorb() || !same {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// absorb unites the state with what stands in documents and is not in it yet; the
// versions that this island wrote itself are. It reports whether there was news.
func (w *worker) absorb() bool {
	w.ledger.mu.Lock()
	seen := maps.Clone(w.ledger.state.Absorbed)
	w.ledger.mu.Unlock()
	all := w.e.states(w.id, seen)
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	s := w.ledger.state
	all = slices.DeleteFunc(all, func(h held) bool {
		return s.Absorbed[h.key] >= h.time || h.key == w.key && s.Document != "" // just written
	})
	if len(all) == 0 {
		return false
	}
	if s.Document != "" {
		// What is held in memory is newer than all that it has taken in.
		all = append(all, held{key: "\x00", time: ^uint64(0), state: s})
	}
	if next := merge(all); next != nil {
		delete(next.Absorbed, "\x00")
		copySent(next, s)
		w.ledger.state, w.ledger.index = next, nil
		w.ledger.united++
		w.ledger.changed()
	}
	return true
}

// copySent keeps when alerts were handed over last, which is not shared.
func copySent(next, before *State) {
	for _, r := range before.Rules {
		to := next.rule(r.Rule)
		for _, a := range r.Alerts {
			for i := range to.Alerts {
				if to.Alerts[i].identity() == a.identity() {
					to.Alerts[i].sent = a.sent
				}
			}
		}
	}
}

func (w *worker) run(ctx context.Context) {
	w.handOn(time.Now(), true)
	var done time.Time
	for {
		g := w.definition()
		interval := w.interval(g)
		if at := slot(w.id, interval, time.Now()); at.After(done) {
			if !done.IsZero() {
				if missed := int64(at.Sub(done)/interval) - 1; missed > 0 {
					w.e.metrics.missed.Add(float64(missed))
				}
			}
			w.evaluate(ctx, g, at)
			done = at
		}
		timer := time.NewTimer(time.Until(slot(w.id, interval, time.Now()).Add(interval)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-w.wake:
			timer.Stop()
			w.handOn(time.Now(), false)
		case <-timer.C:
		}
	}
}

func (w *worker) definition() *Group {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.group
}

func (w *worker) interval(g *Group) time.Duration {
	if g.Interval > 0 {
		return g.Interval
	}
	return w.e.o.Interval()
}

// handOn gives alerts to this island's Alertmanager: those whose time it is, or all.
func (w *worker) handOn(now time.Time, all bool) {
	g := w.definition()
	w.ledger.mu.Lock()
	var out []Outgoing
	for _, r := range g.Rules {
		if r.Alert != "" {
			out = append(out, w.ledger.state.rule(r.key()).due(r.Expr, now, w.e.o.Resend(), w.interval(g), all)...)
		}
	}
	w.ledger.mu.Unlock()
	if len(out) > 0 {
		w.e.o.Send(w.id, out)
	}
}

// evaluate goes through the rules in their order, since one may read what another
// recorded.
func (w *worker) evaluate(ctx context.Context, g *Group, at time.Time) {
	begin := time.Now()
	res := result{at: at, rules: make([]ruleResult, len(g.Rules))}
	w.settle(g)
	for i := range g.Rules {
		res.rules[i] = w.rule(ctx, g, &g.Rules[i], at)
		if ctx.Err() != nil {
			return // cut off in the middle: says nothing
		}
	}
	res.took = time.Since(begin)
	w.ledger.mu.Lock()
	w.ledger.state.Evaluated = millis(at)
	w.ledger.state.forget(millis(time.Now()))
	w.ledger.index = nil
	w.ledger.mu.Unlock()
	w.mu.Lock()
	w.last = res
	w.mu.Unlock()
	w.handOn(time.Now(), false)
}

// settle has the state know the rules that there are, and ends the alerts of those
// that are gone.
func (w *worker) settle(g *Group) {
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	s := w.ledger.state
	if s.Document == "" {
		w.ledger.changed() // that this island has taken in what others left
	}
	s.Document, s.Group, s.Island = g.Document, g.Name, w.e.o.Self()
	now := time.Now()
	s.Rules = slices.DeleteFunc(s.Rules, func(r RuleState) bool {
		if slices.ContainsFunc(g.Rules, func(d Rule) bool { return d.key() == r.Rule }) {
			return false
		}
		before := len(r.Alerts)
		r.step(true, millis(now), 0, 0, nil, nil)
		r.step(false, millis(now), 0, 0, nil, nil)
		w.e.o.Send(w.id, r.due("", now, 0, 0, true))
		if before > 0 {
			w.ledger.changed()
		}
		return true
	})
}

func (w *worker) rule(ctx context.Context, g *Group, r *Rule, at time.Time) (res ruleResult) {
	res.at = time.Now()
	before := w.ledger.unions()
	answer, err := w.e.o.Ask(ctx, r.Expr, at.Add(-g.Offset), w.patience(g))
	if back := w.back(r, answer, err); len(back) > 0 {
		w.e.sync(ctx, append(back, w.e.o.Primaries()...))
		w.absorb()
	}
	if w.ledger.unions() != before && ctx.Err() == nil {
		// The answer is from before a cut healed: it says nothing about alerts that
		// only the other half could see.
		answer, err = w.e.o.Ask(ctx, r.Expr, at.Add(-g.Offset), w.patience(g))
	}
	if ctx.Err() != nil {
		return res
	}
	res.missing, res.receipt = answer.Missing, answer.Receipt
	if err == nil {
		res.kept = len(answer.Missing) > 0 && r.OnMissing != Ignore
		err = w.apply(ctx, g, r, answer, at, res.kept)
	}
	res.err, res.took = err, time.Since(res.at)
	outcome := "ok"
	switch {
	case err != nil:
		outcome = "failed"
		w.e.o.Logger.Warn("evaluating a global rule", "group", g.Title(), "rule", r.Alert+r.Record, "error", err)
	case res.kept:
		outcome = "kept"
	case len(answer.Missing) > 0:
		outcome = "partial"
	}
	w.e.metrics.evaluations.WithLabelValues(outcome).Inc()
	return res
}

// back are the islands that answer again: who was with them may have told what this
// island finds out only now.
func (w *worker) back(r *Rule, answer Answer, err error) (back []string) {
	if err != nil {
		return nil
	}
	now := map[string]bool{}
	for _, m := range answer.Missing {
		now[m.Island] = true
	}
	for island := range w.gone[r.key()] {
		if !now[island] {
			back = append(back, island)
		}
	}
	w.gone[r.key()] = now
	return back
}

// patience is how long each island has: short enough that one that is gone does not
// make a group miss its turn.
func (w *worker) patience(g *Group) time.Duration {
	return min(5*time.Second, max(w.interval(g)/2, time.Second))
}

func (w *worker) apply(ctx context.Context, g *Group, r *Rule, answer Answer, at time.Time, kept bool) error {
	if r.Record != "" {
		if kept {
			return nil
		}
		vector, err := recorded(r, answer.Vector, g.Limit)
		if err != nil {
			return err
		}
		return w.record.write(ctx, r.key(), vector, at.Add(-g.Offset))
	}
	var all []found
	if !kept {
		all = w.expand(ctx, g, r, answer.Vector, at)
	}
	missing := answer.Missing
	if r.OnMissing != Fire {
		missing = nil
	}
	w.ledger.mu.Lock()
	before, s := w.ledger.state.essence(), w.ledger.state.rule(r.key())
	s.advanceMissing(r, millis(at), missing)
	var err error
	if !kept {
		err = s.advance(r, millis(at), all, g.Limit)
	}
	series := shown(s)
	if w.ledger.state.essence() != before {
		w.ledger.changed()
	}
	w.ledger.mu.Unlock()
	if err != nil {
		return err
	}
	return w.record.write(ctx, r.key(), series, at.Add(-g.Offset))
}

func (w *worker) expand(ctx context.Context, g *Group, r *Rule, vector promql.Vector, at time.Time) []found {
	query := func(ctx context.Context, expr string, t time.Time) (promql.Vector, error) {
		a, err := w.e.o.Ask(ctx, expr, t.Add(-g.Offset), w.patience(g))
		return a.Vector, err
	}
	return expander{query: query, at: at, url: w.e.o.ExternalURL}.all(ctx, r, vector)
}

// save writes the state whenever it changed.
func (w *worker) save(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.ledger.dirty:
		}
		if w.put(ctx) {
			w.e.sync(ctx, w.e.live()) // rather than when gossip or chance brings it: this island may be gone by then
			continue
		}
		w.ledger.changed()
		select {
		case <-ctx.Done():
			return
		case <-time.After(saveRetry):
		}
	}
}

// put writes the state and reports whether that worked. A group that was not
// evaluated yet has none to write.
func (w *worker) put(ctx context.Context) bool {
	w.ledger.mu.Lock()
	s := w.ledger.state.clone()
	w.ledger.mu.Unlock()
	if s.Document == "" {
		return true
	}
	return w.write(ctx, s)
}

// putTold writes only what was told: the alerts are another island's by now, which
// knows better than this one.
func (w *worker) putTold(ctx context.Context) bool {
	w.ledger.mu.Lock()
	s := w.ledger.state.clone()
	w.ledger.mu.Unlock()
	s.Rules = nil
	return w.write(ctx, s)
}

func (w *worker) write(ctx context.Context, s *State) bool {
	g := w.definition()
	s.Document, s.Group, s.Island = g.Document, g.Name, w.e.o.Self()
	delete(s.Absorbed, w.key)
	text, err := s.Encode()
	var at uint64
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, saveTimeout)
		defer cancel()
		at, err = w.e.o.Documents.Set(ctx, w.key, text)
	}
	if err != nil {
		w.e.metrics.states.WithLabelValues("failed").Inc()
		w.e.trouble.unshared.Set("%s: %v", g.Title(), err)
		w.e.o.Logger.Warn("leave the state of a global group for other primaries", "group", g.Title(), "error", err)
		return false
	}
	w.e.trouble.unshared.Clear()
	w.e.metrics.states.WithLabelValues("written").Inc()
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	w.ledger.state.Absorbed[w.key] = max(w.ledger.state.Absorbed[w.key], at)
	return true
}

// complaints are the rules that fail, and those that wait for islands.
func (w *worker) complaints() (failing, waiting []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, r := range w.last.rules {
		if i >= len(w.group.Rules) {
			break
		}
		name := fmt.Sprintf("%s, rule %q", w.group.Title(), w.group.Rules[i].Alert+w.group.Rules[i].Record)
		switch {
		case r.err != nil:
			failing = append(failing, fmt.Sprintf("%s: %v", name, r.err))
		case r.kept:
			waiting = append(waiting, name+" waits for "+describe(r.missing))
		}
	}
	return failing, waiting
}
