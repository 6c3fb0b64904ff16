package dimension

import (
	"context"
	"time"
)

// wanted is which narrow rules there should be, and why not others.
type wanted struct {
	here      map[string]value    // evaluated by this island
	elsewhere map[string]struct{} // by another one
	listed    int
	more      bool // than were listed
	leftOut   []LeftOut
}

// refresh brings the narrow rules in step with the values and the members.
// Where the values cannot be had, all stay as they are.
func (f *family) refresh(ctx, life context.Context, now time.Time) {
	start := time.Now()
	w, err := f.want(ctx, now)
	if ctx.Err() != nil {
		return
	}
	f.gen.metrics.discovery.WithLabelValues(f.plan.name).Set(time.Since(start).Seconds())
	if err != nil {
		f.gen.metrics.blind.WithLabelValues(f.plan.name).Inc()
		f.gen.warnings.blind.set(f.plan.name, "%v", err)
		f.gen.logger.Warn("looking for values of a rule by dimension", "rule", f.plan.name, "err", err)
		// A replaced family's rules are taken over all the same.
		f.inherit(life, now)
		return
	}
	f.gen.warnings.blind.clear(f.plan.name)
	f.apply(life, w, now)
	f.tell(w)
}

// want decides from what the store and the members say. With scope all the cap
// comes first, so that all islands agree on it; what is evaluated elsewhere is
// not looked at more closely. With scope local values without samples go first.
func (f *family) want(ctx context.Context, now time.Time) (wanted, error) {
	listed, more, err := f.source.list(ctx, now)
	if err != nil {
		return wanted{}, err
	}
	// A rule that found something is evaluated once more, so that its series end
	// at the tick at which those of the undivided rule do.
	for k, n := range f.running {
		if !n.idle() {
			listed[k] = n.value
		}
	}
	w := wanted{listed: len(listed), more: more, here: listed}
	if !f.plan.all {
		if w.here, err = f.living(ctx, now, w.here); err != nil {
			return wanted{}, err
		}
		w.listed = len(w.here)
		w.here, w.leftOut, err = f.ranking.choose(ctx, now, w.here)
		return w, err
	}
	if w.here, w.leftOut, err = f.ranking.choose(ctx, now, w.here); err != nil {
		return wanted{}, err
	}
	w.here, w.elsewhere = f.share(w.here)
	w.here, err = f.living(ctx, now, w.here)
	return w, err
}

// share divides values among the members.
func (f *family) share(values map[string]value) (here map[string]value, elsewhere map[string]struct{}) {
	self, members := f.gen.members()
	here, elsewhere = map[string]value{}, map[string]struct{}{}
	for k, v := range values {
		if owner(f.plan.name, k, members) == self {
			here[k] = v
		} else {
			elsewhere[k] = struct{}{}
		}
	}
	return here, elsewhere
}

// members are all among whom values are shared, this island included.
func (g *Generator) members() (self string, all []string) {
	self, others := g.opts.Members()
	all = []string{self}
	for _, m := range others {
		if m != self {
			all = append(all, m)
		}
	}
	return self, all
}

// living leaves out values that are only in the index: the store forgets a
// series hours after its last sample. A rule whose last evaluation found
// something needs no proof.
func (f *family) living(ctx context.Context, now time.Time, values map[string]value) (map[string]value, error) {
	out := make(map[string]value, len(values))
	var keys []string
	var doubtful []value
	for k, v := range values {
		if n, ok := f.running[k]; ok && !n.idle() {
			out[k] = v
			continue
		}
		keys, doubtful = append(keys, k), append(doubtful, v)
	}
	alive, err := f.source.alive(ctx, now, doubtful)
	if err != nil {
		return nil, err
	}
	for i, k := range keys {
		if alive[i] {
			out[k] = doubtful[i]
		}
	}
	return out, nil
}

// apply begins and ends narrow rules. A value that went to another island ends
// without a staleness marker: its series goes on there.
func (f *family) apply(life context.Context, w wanted, now time.Time) {
	inherited := f.takeOver()
	next := make(map[string]*narrow, len(w.here))
	var gone []*narrow
	appeared, moved := 0, 0
	for k, v := range w.here {
		if n, ok := f.running[k]; ok {
			next[k] = n
			continue
		}
		old := inherited[k]
		n, err := f.newNarrow(v, old)
		if err != nil {
			f.gen.logger.Error("making a narrow rule", "rule", f.plan.name, "value", k, "err", err)
			continue
		}
		if old == nil {
			appeared++
		}
		delete(inherited, k)
		next[k] = n
	}
	for _, set := range []map[string]*narrow{f.running, inherited} {
		for k, n := range set {
			if _, stays := next[k]; stays {
				continue
			}
			if _, there := w.elsewhere[k]; there {
				moved++
				f.gen.forgetGroup(n.group)
				continue
			}
			gone = append(gone, n)
		}
	}
	f.mu.Lock()
	f.running, f.order = next, byDelay(next)
	f.mu.Unlock()
	m, name := f.gen.metrics, f.plan.name
	m.appeared.WithLabelValues(name).Add(float64(appeared))
	m.moved.WithLabelValues(name).Add(float64(moved))
	m.vanished.WithLabelValues(name).Add(float64(len(gone)))
	f.dismiss(life, gone, now)
}

// takeOver returns the rules of the family that this one replaces, once.
func (f *family) takeOver() map[string]*narrow {
	if f.before == nil {
		return map[string]*narrow{}
	}
	old := f.before.heritage()
	f.mu.Lock()
	f.before = nil
	f.mu.Unlock()
	return old
}

// heritage is what a stopped family leaves: its rules, and, if it never got to
// look at the values, those of the family before it.
func (f *family) heritage() map[string]*narrow {
	out := map[string]*narrow{}
	if f.before != nil {
		out = f.before.heritage()
	}
	for k, n := range f.running {
		out[k] = n
	}
	return out
}

// inherit remakes the rules of the family before while the values are unknown,
// if they are of the same labels.
func (f *family) inherit(life context.Context, now time.Time) {
	if f.before == nil || len(f.before.plan.splitter.labels) != len(f.plan.splitter.labels) {
		return
	}
	w := wanted{here: map[string]value{}}
	for _, n := range f.before.heritage() {
		if len(n.value) == len(f.plan.splitter.labels) && n.value.key(f.plan.splitter.labels) == n.key && len(w.here) < f.plan.maxRules {
			w.here[n.key] = n.value
		}
	}
	f.apply(life, w, now)
}

// tell publishes what was decided.
func (f *family) tell(w wanted) {
	f.mu.Lock()
	f.status.Values, f.status.Rules, f.status.Elsewhere = w.listed, len(f.running), len(w.elsewhere)
	f.status.LeftOut = w.leftOut
	f.mu.Unlock()
	m, name := f.gen.metrics, f.plan.name
	m.values.WithLabelValues(name).Set(float64(w.listed))
	m.rules.WithLabelValues(name).Set(float64(len(f.running)))
	m.leftOut.WithLabelValues(name).Set(float64(len(w.leftOut)))
	if len(w.leftOut) > 0 {
		f.gen.warnings.capped.set(name, "%s", capText(f.plan, w.listed, w.more, w.leftOut))
	} else {
		f.gen.warnings.capped.clear(name)
	}
}
