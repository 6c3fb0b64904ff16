package witness

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/trust"
)

// trouble has v looked at again at the given time.
func (w *Witness) trouble(v *view, at time.Time) {
	v.next = at
	w.troubled[v.Key] = v
}

// calm ends the extra looks at v.
func (w *Witness) calm(v *view) {
	v.next, v.ask = time.Time{}, time.Time{}
	delete(w.troubled, v.Key)
}

// lookAtTroubled looks at those whose time has come, the longest due first.
func (w *Witness) lookAtTroubled(now time.Time) {
	var due []*view
	for _, v := range w.troubled {
		if !v.next.IsZero() && !now.Before(v.next) && v.flight == nil {
			due = append(due, v)
		}
	}
	slices.SortFunc(due, func(a, b *view) int {
		return cmp.Or(a.next.Compare(b.next), a.Key.Compare(b.Key))
	})
	for i, v := range due {
		if !w.looks.AllowN(now, 1) {
			w.m.postponed.WithLabelValues("look").Add(float64(len(due) - i))
			return
		}
		w.look(v, now)
	}
}

// lookInTurn looks at one connected island and one of the others, where their
// time has come.
func (w *Witness) lookInTurn(now time.Time) {
	turn := func(due *time.Time, period model.Duration, connected bool) {
		if now.Before(*due) {
			return
		}
		*due = now.Add(w.about(period))
		if v := w.whoseTurn(connected, now); v != nil && w.looks.AllowN(now, 1) {
			w.look(v, now)
		}
	}
	turn(&w.near, w.cfg.Period, true)
	turn(&w.wide, w.cfg.WidePeriod, false)
}

// whoseTurn goes round all members in an order made anew each time round, and
// passes over those heard lately and those in trouble.
func (w *Witness) whoseTurn(connected bool, now time.Time) *view {
	for range 2 {
		for len(w.turn[connected]) > 0 {
			last := len(w.turn[connected]) - 1
			v, ok := w.views[w.turn[connected][last]]
			w.turn[connected] = w.turn[connected][:last]
			if ok && v.connected == connected && v.next.IsZero() && v.flight == nil && now.Sub(v.heard) >= time.Duration(w.cfg.Fresh) {
				return v
			}
		}
		for k, v := range w.views {
			if v.connected == connected {
				w.turn[connected] = append(w.turn[connected], k)
			}
		}
		// Sorted first: a map's order is random, but not repeatable in tests.
		slices.SortFunc(w.turn[connected], trust.Key.Compare)
		w.rng.Shuffle(len(w.turn[connected]), func(i, j int) {
			t := w.turn[connected]
			t[i], t[j] = t[j], t[i]
		})
	}
	return nil
}

// look begins a direct look, or joins the one under way. It is nil while Run
// does not run.
func (w *Witness) look(v *view, now time.Time) *flight {
	if v.flight != nil {
		return v.flight
	}
	f, key := &flight{done: make(chan struct{})}, v.Key // the roster may rewrite v.Member meanwhile
	began := w.start(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(w.cfg.LookTimeout))
		defer cancel()
		rtt, err := w.o.Probe(ctx, key)
		w.landed(v, f, now, rtt, err)
	})
	if !began {
		return nil
	}
	v.flight, v.looked = f, now
	return f
}

func (w *Witness) landed(v *view, f *flight, began time.Time, rtt time.Duration, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f.rtt, f.err = rtt, err
	v.flight = nil
	close(f.done)
	now := time.Now()
	if err == nil {
		w.m.looks.WithLabelValues("reached").Inc()
		v.rtt = rtt
		w.alive(v, now)
		return
	}
	w.m.looks.WithLabelValues("failed").Inc()
	if stopped := w.run == nil || w.run.ctx.Err() != nil; !stopped {
		w.failed(v, began, now, err, !f.favour)
	}
}

// alive takes in a sign of life.
func (w *Witness) alive(v *view, now time.Time) {
	if w.views[v.Key] != v {
		return
	}
	if v.well.IsZero() {
		v.well = now
	}
	if v.state != Alive && v.state != Unknown {
		w.logger.Info("island is reached again", "name", v.Name, "key", v.Key, "was", v.state.String(), "for", now.Sub(v.since).Round(time.Second))
	}
	v.ever, v.heard = true, now
	v.failures, v.silent, v.err = 0, time.Time{}, ""
	v.votes, v.round = nil, 0
	v.confirmed, v.speak = time.Time{}, time.Time{}
	v.become(Alive, now)
	w.calm(v)
	if s, ok := w.standing[v.Key]; ok && w.watches(s) {
		w.trouble(v, now.Add(5*time.Second)) // to see that it stays
	}
}

// failed takes in a look in vain that began at the given time; follow has it
// looked at again soon.
func (w *Witness) failed(v *view, began, now time.Time, err error, follow bool) {
	if w.views[v.Key] != v || v.heard.After(began) {
		return
	}
	if v.failures++; v.failures == 1 {
		v.silent = began
	}
	v.missed, v.well, v.err = now, time.Time{}, brief(err.Error())
	if s, ok := w.standing[v.Key]; ok && s.Kind == KindLost {
		v.become(Lost, now)
		w.calm(v)
		if w.watches(s) {
			w.trouble(v, now.Add(w.about(w.cfg.Recheck)))
		}
		return
	}
	switch {
	case !follow:
	case v.state >= Suspect:
		w.trouble(v, now.Add(w.again()))
	case v.failures >= w.cfg.Failures && now.Sub(v.silent) >= time.Duration(w.cfg.Silence):
		w.suspect(v, now)
	default:
		w.trouble(v, now.Add(w.about(model.Duration(2*time.Second)*model.Duration(min(v.failures, 3)))))
	}
}

// again is when to look again at an island in trouble: the later the more of
// them there are, so that they cost the same together.
func (w *Witness) again() time.Duration {
	return w.about(w.cfg.Recheck) * time.Duration(max(1, len(w.troubled)/8))
}

// suspect has others asked about v.
func (w *Witness) suspect(v *view, now time.Time) {
	w.logger.Info("island is suspect, others are asked", "name", v.Name, "key", v.Key, "failures", v.failures, "error", v.err)
	v.become(Suspect, now)
	w.trouble(v, now.Add(w.about(w.cfg.Recheck)))
	v.ask = now
}
