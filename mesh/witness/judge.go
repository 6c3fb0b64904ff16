package witness

import (
	"maps"
	"slices"
	"time"

	"github.com/atoll-mesh/atoll/trust"
)

// tally is what became of the others.
type tally struct {
	reached, missing int
	// sampled is set where only some were looked at.
	sampled bool
}

// panel is who tells this island what it reaches: in a small network all that it
// reached before, in a larger one a fixed choice of all members. It is fixed, and
// not whoever was heard of late, because those on this side of a cut are heard
// more, and because another choice each time would be a lucky one in the end.
// target, which is known to be missing, is not among them, nor is whoever was
// stated lost before the given time.
func (w *Witness) panel(target trust.Key, since time.Time) (members []*view, sampled bool) {
	sampled = len(w.views) > panelSize
	if w.ordered == nil {
		w.ordered = order(w.o.Self, slices.Collect(maps.Keys(w.views)))
	}
	for _, k := range w.ordered {
		v := w.views[k]
		if k != target && (v.ever || sampled) && !w.statedBefore(k, since) {
			members = append(members, v)
		}
		if len(members) == panelSize {
			break
		}
	}
	return members, sampled
}

// count says what became of the panel since the given time. Whoever was neither
// heard nor missed since is still open.
func (w *Witness) count(target trust.Key, since time.Time) (t tally, open []*view) {
	members, sampled := w.panel(target, since)
	t.sampled = sampled
	for _, v := range members {
		switch {
		case v.failures > 0:
			t.missing++
		case v.heard.After(since):
			t.reached++
		default:
			open = append(open, v)
		}
	}
	if !target.IsZero() {
		t.missing++
	}
	return t, open
}

// isAlone: less than a third of the others is reached, a sixth of a sample. With
// two islands nobody can tell which one is cut off, so neither says so.
func (t tally) isAlone() bool {
	limit := 3
	if t.sampled {
		limit = 6
	}
	return t.missing >= 2 && t.reached*limit < t.reached+t.missing
}

// isWhole: at most a third is missing, this island counted among those that are
// there; of a sample at most a tenth, besides the target.
func (t tally) isWhole() bool {
	if t.sampled {
		return (t.missing-1)*10 <= t.reached+t.missing
	}
	return t.missing*3 <= t.reached+t.missing+1
}

// judge takes in what the witnesses said of v; complete says that the panel was
// looked at, without which nobody is lost.
func (w *Witness) judge(v *view, votes []Vote, complete bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v.asking = false
	if w.views[v.Key] != v || v.state == Alive || v.state == Unknown || w.run == nil || w.run.ctx.Err() != nil {
		return
	}
	now := time.Now()
	v.votes = votes
	others, _ := w.count(v.Key, v.silent)
	if complete && others.isAlone() {
		w.cutOff(v.silent, others)
	}
	if complete {
		w.setParted(w.alone.IsZero() && !others.isWhole(), others)
	}
	// Asking again becomes rarer, so that a long outage costs little.
	rarer := min(v.round, 8)
	if w.parted {
		rarer *= 4 // nothing can be stated; what others reach is for information
	}
	v.ask = now.Add(w.again() * time.Duration(rarer))
	switch {
	case !complete || sighted(votes) || !w.alone.IsZero() || w.parted || !w.confirms(v, votes):
		v.become(Unreachable, now)
		v.confirmed, v.speak = time.Time{}, time.Time{}
	default:
		if v.confirmed.IsZero() {
			v.speak = now.Add(w.patience(w.rank(v.Key)))
			if s, ok := w.standing[v.Key]; ok && s.Kind == KindCutOff {
				// It said so itself, and may come and go.
				v.speak = v.speak.Add(4 * time.Duration(w.cfg.Recovery))
			}
		}
		v.confirmed = now
		v.become(Lost, now)
	}
	w.logger.Info("others were asked about an island", "name", v.Name, "key", v.Key, "state", v.state.String(),
		"asked", len(votes), "reached_by", reachedBy(votes), "alone", !w.alone.IsZero(), "parted", w.parted, "reached", others.reached, "missing", others.missing)
}

func sighted(votes []Vote) bool { return reachedBy(votes) != "" }

func reachedBy(votes []Vote) string {
	for _, v := range votes {
		if v.counts() && v.Reached {
			return v.Name
		}
	}
	return ""
}

// confirms reports whether those who do not reach v either are enough: from as
// many other regions as configured, or as can be asked, and at least one. In a
// network of one region its islands confirm.
func (w *Witness) confirms(v *view, votes []Vote) bool {
	here := w.self.region()
	elsewhere, available, neighbours := false, map[string]bool{}, 0
	for k, c := range w.views {
		if c.region() != here {
			elsewhere = true
		}
		if k != v.Key && c.believedAlive() {
			if c.region() != here {
				available[c.region()] = true
			} else {
				neighbours++
			}
		}
	}
	regions, islands := map[string]bool{}, 0
	for _, vote := range votes {
		if vote.counts() && !vote.Reached {
			islands++
			if vote.Region != here {
				regions[vote.Region] = true
			}
		}
	}
	if !elsewhere {
		return islands >= max(1, min(w.cfg.Regions, neighbours))
	}
	return len(regions) >= max(1, min(w.cfg.Regions, len(available)))
}

// patience is how long an island of the given rank waits for those before it.
func (w *Witness) patience(rank int) time.Duration {
	grace := time.Duration(w.cfg.Grace)
	d := grace * time.Duration(min(rank, 3))
	if rank > 3 {
		d += time.Duration(w.rng.Int64N(int64(grace)))
	}
	return d
}

// cutOff begins the time in which this island believes nobody but itself at fault.
func (w *Witness) cutOff(since time.Time, others tally) {
	if !w.alone.IsZero() {
		return
	}
	w.alone, w.joined = since, time.Time{}
	w.cuts = append(recent(w.cuts, time.Now()), time.Now())
	w.m.alone.Set(1)
	w.warn.cutOff(others)
	w.logger.Warn("this island is cut off", "reached", others.reached, "missing", others.missing)
	for _, v := range w.views {
		v.confirmed, v.speak = time.Time{}, time.Time{}
		if v.state == Lost && !w.stated(v.Key) {
			v.become(Unreachable, time.Now())
		}
	}
}

func (w *Witness) setParted(parted bool, others tally) {
	if parted {
		w.warn.parted(others)
	} else if w.parted {
		w.warn.whole()
	}
	w.parted = parted
}

// tend ends the time of being cut off, or parted, when the others are back.
func (w *Witness) tend(now time.Time) {
	if !w.alone.IsZero() {
		if others, _ := w.count(trust.Key{}, w.alone); !others.isAlone() {
			w.logger.Info("this island is no longer cut off", "reached", others.reached, "missing", others.missing)
			w.alone, w.joined = time.Time{}, now
			w.m.alone.Set(0)
			w.warn.joined()
		}
	}
	if w.parted && len(w.troubled) == 0 {
		w.setParted(false, tally{})
	}
}
