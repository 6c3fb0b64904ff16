package witness

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

// askDue begins a round of asking about each suspect whose time has come.
func (w *Witness) askDue(now time.Time) {
	if !w.alone.IsZero() {
		return
	}
	var due []*view
	for _, v := range w.troubled {
		if !v.ask.IsZero() && !now.Before(v.ask) && !v.asking {
			due = append(due, v)
		}
	}
	slices.SortFunc(due, func(a, b *view) int {
		return cmp.Or(a.ask.Compare(b.ask), a.Key.Compare(b.Key))
	})
	for i, v := range due {
		if w.asks.TokensAt(now) < float64(w.cfg.Witnesses+1) {
			w.m.postponed.WithLabelValues("ask").Add(float64(len(due) - i))
			return
		}
		witnesses := w.pick(v)
		w.asks.AllowN(now, len(witnesses))
		v.round++
		since, key := v.silent, v.Key // the roster may rewrite v.Member meanwhile
		v.asking = w.start(func(ctx context.Context) {
			var votes []Vote
			var complete bool
			var both sync.WaitGroup
			both.Go(func() { votes = w.gather(ctx, key, witnesses) })
			both.Go(func() { complete = w.sample(ctx, key, since) })
			both.Wait()
			w.judge(v, votes, complete)
		})
	}
}

// pick chooses whom to ask about v: first who contradicted last time, then
// islands of other regions, the target's own before all, one of each before a
// second of any; own neighbours only where there are no others. Each round asks
// others. The first speaker is always among them, so that it learns of the case.
func (w *Witness) pick(v *view) []Member {
	byRegion := map[string][]Member{}
	for k, c := range w.views {
		if k != v.Key && c.believedAlive() {
			byRegion[c.region()] = append(byRegion[c.region()], c.Member)
		}
	}
	for r, members := range byRegion {
		byRegion[r] = w.heaviest(v, members)
	}
	var out []Member
	add := func(m Member) {
		if len(out) < w.cfg.Witnesses && !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	if c, ok := w.views[v.contradicted]; ok && c.believedAlive() {
		add(c.Member)
	}
	regions := w.otherRegions(v, byRegion)
	for depth := 0; depth < w.cfg.Witnesses; depth++ {
		for _, r := range regions {
			if depth < len(byRegion[r]) {
				add(byRegion[r][depth])
			}
		}
	}
	for _, m := range byRegion[w.self.region()] {
		add(m)
	}
	first := w.speakers(v.Key)[0]
	if s, ok := w.views[first]; ok && !slices.Contains(out, s.Member) {
		out = append(out, s.Member)
	}
	return out
}

// heaviest are the first few of members in an order of their own for each target and round.
func (w *Witness) heaviest(v *view, members []Member) []Member {
	weights := make(map[trust.Key]uint64, len(members))
	for _, m := range members {
		weights[m.Key] = weight(v.Key, m.Key, v.round+1)
	}
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(weights[b.Key], weights[a.Key]) })
	return members[:min(len(members), w.cfg.Witnesses)]
}

// otherRegions lists the regions but this island's: the target's first, the rest
// in an order that changes from round to round and from target to target.
func (w *Witness) otherRegions(v *view, byRegion map[string][]Member) []string {
	var out []string
	for r := range byRegion {
		if r != w.self.region() {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		if a == v.region() || b == v.region() {
			return btoi(b == v.region()) - btoi(a == v.region())
		}
		return cmp.Compare(weight(v.Key, byRegion[b][0].Key, v.round+1), weight(v.Key, byRegion[a][0].Key, v.round+1))
	})
	return out
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// gather asks all witnesses at once.
func (w *Witness) gather(ctx context.Context, target trust.Key, witnesses []Member) []Vote {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(w.cfg.LookTimeout)*3/2)
	defer cancel()
	votes := make([]Vote, len(witnesses))
	var all sync.WaitGroup
	for i, m := range witnesses {
		all.Go(func() {
			answer, err := w.o.Ask(ctx, m.Key, target)
			votes[i] = w.vote(m, answer, err)
		})
	}
	all.Wait()
	return votes
}

func (w *Witness) vote(m Member, a *meshpb.LookResponse, err error) Vote {
	v := Vote{Key: m.Key, Name: m.Name, Region: m.region(), At: w.o.Clock()}
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.views[m.Key]
	now := time.Now()
	if err != nil {
		w.m.asks.WithLabelValues("silent").Inc()
		v.Silent, v.Error = true, brief(err.Error())
		if c != nil && c.next.IsZero() {
			w.trouble(c, now) // is it there at all?
		}
		return v
	}
	if c != nil {
		w.alive(c, now)
	}
	v.Alone, v.Reached, v.Error = a.GetAlone(), a.GetReached(), brief(a.GetError())
	if a.GetRttUs() > 0 {
		v.RTT = time.Duration(min(a.GetRttUs(), time.Hour.Microseconds())) * time.Microsecond
	}
	if ms := a.GetHeardMs(); ms > 0 && ms < 1<<43 {
		v.Heard = time.UnixMilli(ms).UTC()
	}
	outcome := "not_reached"
	switch {
	case v.Alone:
		outcome = "alone"
	case v.Reached:
		outcome = "reached"
	}
	w.m.asks.WithLabelValues(outcome).Inc()
	return v
}

// sample looks at those of the panel that were neither heard nor missed since the
// given time, and waits for what they say. It reports whether all were looked at,
// and spares them where that was done lately and the network is parted anyhow.
func (w *Witness) sample(ctx context.Context, target trust.Key, since time.Time) bool {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Duration(w.cfg.LookTimeout))
	defer cancel()
	w.mu.Lock()
	t, open := w.count(target, since)
	t.reached += len(open)
	now := time.Now()
	if !t.isWhole() && now.Sub(w.sampled) < 4*time.Duration(w.cfg.Recheck) {
		w.mu.Unlock()
		return false
	}
	w.sampled = now
	w.mu.Unlock()
	// A second look at those missed: one lost packet is no partition.
	w.lookAtAll(ctx, w.lookAtAll(ctx, open))
	w.mu.Lock()
	defer w.mu.Unlock()
	_, open = w.count(target, since)
	return len(open) == 0
}

// lookAtAll looks at each and returns those missed.
func (w *Witness) lookAtAll(ctx context.Context, all []*view) (missed []*view) {
	flights := map[*view]*flight{}
	for _, v := range all {
		if w.looks.Wait(ctx) != nil {
			break
		}
		w.mu.Lock()
		if f := w.look(v, time.Now()); f != nil {
			flights[v] = f
		}
		w.mu.Unlock()
	}
	for v, f := range flights {
		select {
		case <-f.done:
			if f.err != nil {
				missed = append(missed, v)
			}
		case <-ctx.Done():
			return missed
		}
	}
	return missed
}
