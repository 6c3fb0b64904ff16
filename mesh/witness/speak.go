package witness

import (
	"context"
	"time"

	"github.com/atoll-mesh/atoll/trust"
)

// standing is a statement that has not been withdrawn.
type standing struct {
	Statement
	seen        time.Time
	withdrawing bool
	// orphan is when its target was found to be no member any more.
	orphan time.Time
	// retry is when a withdrawal that failed is tried again.
	retry time.Time
}

// publishTimeout bounds one try to publish or withdraw.
const publishTimeout = 10 * time.Second

// stated reports whether a statement says that the island is lost.
func (w *Witness) stated(key trust.Key) bool {
	s, ok := w.standing[key]
	return ok && s.Kind == KindLost
}

func (w *Witness) statedBefore(key trust.Key, t time.Time) bool {
	return w.stated(key) && w.standing[key].seen.Before(t)
}

// watches reports whether it is for this island to see when the target is back.
func (w *Witness) watches(s *standing) bool { return s.By == w.o.Self || w.rank(s.Target) <= 1 }

// Seen says that a statement stands, in place of any other about its target.
func (w *Witness) Seen(s Statement) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen(s, time.Now())
}

func (w *Witness) seen(s Statement, now time.Time) {
	old := w.standing[s.Target]
	if old != nil && old.By == s.By && old.At.Equal(s.At) && old.Kind == s.Kind {
		return
	}
	st := &standing{Statement: s, seen: now}
	w.standing[s.Target] = st
	v, ok := w.views[s.Target]
	if !ok {
		return
	}
	if s.Kind != KindLost {
		w.reconsider(v, now)
		return
	}
	if old == nil || old.Kind != KindLost {
		v.losses = append(recent(v.losses, now), now)
	}
	v.confirmed, v.speak, v.ask = time.Time{}, time.Time{}, time.Time{}
	switch {
	case v.state >= Suspect || v.failures > 0:
		v.become(Lost, now)
		w.calm(v)
		if w.watches(st) {
			w.trouble(v, now.Add(w.about(w.cfg.Recheck)))
		}
	case v.state == Unknown:
		v.become(Lost, now)
	case w.watches(st) || v.connected:
		w.trouble(v, now) // it is reached from here: is it still?
	}
}

// Gone says that the statement about target was withdrawn, by whom.
func (w *Witness) Gone(target, by trust.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone(target, by, time.Now())
}

func (w *Witness) gone(target, by trust.Key, now time.Time) {
	s, ok := w.standing[target]
	if !ok {
		return
	}
	delete(w.standing, target)
	v, ok := w.views[target]
	if !ok || s.Kind != KindLost {
		return
	}
	v.contradicted = trust.Key{}
	if by != w.o.Self {
		v.contradicted = by // reaches it, or did: asked first if it still seems lost here
	}
	if v.state == Alive && v.failures == 0 {
		w.calm(v)
	}
	w.reconsider(v, now)
}

// reconsider begins anew with an island that others say is not lost: who looked
// at it lately does so again, for the rest its turn will come.
func (w *Witness) reconsider(v *view, now time.Time) {
	if v.state != Lost {
		return
	}
	if v.failures > 0 && now.Sub(v.missed) < 3*time.Duration(w.cfg.Recheck) {
		v.become(Unreachable, now)
		w.trouble(v, now.Add(time.Duration(w.rng.Int64N(int64(5*time.Second)))))
		v.ask = now.Add(w.about(w.cfg.Recheck))
		return
	}
	v.failures, v.silent, v.err, v.votes = 0, time.Time{}, "", nil
	v.become(Unknown, now)
	w.calm(v)
}

// recent keeps the losses of the last hour.
func recent(losses []time.Time, now time.Time) []time.Time {
	for len(losses) > 0 && now.Sub(losses[0]) > time.Hour {
		losses = losses[1:]
	}
	return losses
}

// speakDue states what has been confirmed and nobody else has stated in time.
func (w *Witness) speakDue(now time.Time) {
	if !w.alone.IsZero() {
		w.sayCutOff(now)
		return
	}
	if w.parted {
		return
	}
	for _, v := range w.troubled {
		if v.speak.IsZero() || now.Before(v.speak) || v.speaking || w.stated(v.Key) || v.state != Lost {
			continue
		}
		own := Vote{Key: w.o.Self, Name: w.self.Name, Region: w.self.region(), Error: v.err, Heard: w.wall(v.heard, now), At: w.o.Clock()}
		s := Statement{
			Kind: KindLost, Target: v.Key, Name: v.Name, Region: v.region(), By: w.o.Self,
			Since: w.wall(v.silent, now), At: w.o.Clock(), Votes: append([]Vote{own}, v.votes...),
		}
		v.speaking = w.start(func(ctx context.Context) {
			err := w.publish(ctx, s)
			w.mu.Lock()
			defer w.mu.Unlock()
			v.speaking = false
			if err != nil {
				v.speak = time.Now().Add(5 * time.Second)
			}
		})
	}
}

// sayCutOff states, once, that this island is cut off.
func (w *Witness) sayCutOff(now time.Time) {
	if s, ok := w.standing[w.o.Self]; w.publishingCut || ok && (s.Kind == KindCutOff || now.Sub(s.seen) < time.Duration(w.cfg.Grace)) {
		return
	}
	s := Statement{
		Kind: KindCutOff, Target: w.o.Self, Name: w.self.Name, Region: w.self.region(), By: w.o.Self,
		Since: w.wall(w.alone, now), At: w.o.Clock(),
	}
	w.publishingCut = w.start(func(ctx context.Context) {
		_ = w.publish(ctx, s) // logged there; tried again at the next step
		w.mu.Lock()
		defer w.mu.Unlock()
		w.publishingCut = false
	})
}

// wall is when t was by the wall clock, zero if t is.
func (w *Witness) wall(t, now time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return w.o.Clock().Add(-now.Sub(t))
}

func (w *Witness) publish(ctx context.Context, s Statement) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := w.o.Publish(ctx, s); err != nil {
		w.m.statements.WithLabelValues(string(s.Kind), "failed").Inc()
		w.logger.Warn("statement was not published, it is tried again", "kind", s.Kind, "name", s.Name, "error", err)
		return err
	}
	w.m.statements.WithLabelValues(string(s.Kind), "published").Inc()
	w.logger.Warn("stated about an island", "kind", s.Kind, "name", s.Name, "key", s.Target, "votes", len(s.Votes))
	w.Seen(s)
	return nil
}

// withdrawDue takes away the statements that are no longer true.
func (w *Witness) withdrawDue(now time.Time) {
	for _, s := range w.standing {
		if s.withdrawing || now.Before(s.retry) || !w.outdated(s, now) {
			continue
		}
		s.withdrawing = w.start(func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, publishTimeout)
			defer cancel()
			err := w.o.Withdraw(ctx, s.Target)
			w.mu.Lock()
			defer w.mu.Unlock()
			s.withdrawing = false
			if err != nil {
				s.retry = time.Now().Add(5 * time.Second)
				w.m.statements.WithLabelValues(string(s.Kind), "failed").Inc()
				w.logger.Warn("statement was not withdrawn, it is tried again", "kind", s.Kind, "name", s.Name, "error", err)
				return
			}
			w.m.statements.WithLabelValues(string(s.Kind), "withdrawn").Inc()
			w.logger.Info("withdrew a statement", "kind", s.Kind, "name", s.Name, "key", s.Target)
			if w.standing[s.Target] == s {
				w.gone(s.Target, w.o.Self, time.Now())
			}
		})
	}
}

// outdated reports whether it is time for this island to withdraw s.
func (w *Witness) outdated(s *standing, now time.Time) bool {
	if s.Target == w.o.Self {
		w.cuts = recent(w.cuts, now)
		return s.Kind == KindCutOff && w.alone.IsZero() && now.Sub(later(w.joined, s.seen)) >= w.recovery(w.cuts)
	}
	if !w.alone.IsZero() {
		return false
	}
	v, member := w.views[s.Target]
	if !member {
		if s.orphan.IsZero() {
			s.orphan = now
		}
		return now.Sub(s.orphan) >= w.turnToWithdraw(s)
	}
	s.orphan = time.Time{}
	if v.state != Alive || v.well.IsZero() || now.Sub(v.heard) > time.Duration(w.cfg.Recheck)+time.Duration(w.cfg.LookTimeout) {
		return false
	}
	v.losses = recent(v.losses, now)
	there := now.Sub(later(v.well, s.seen)) - w.recovery(v.losses)
	return there >= 0 && there >= w.turnToWithdraw(s)
}

// turnToWithdraw is how long this island leaves it to those before it: the
// writer of the statement, then the speakers in their order.
func (w *Witness) turnToWithdraw(s *standing) time.Duration {
	if s.By == w.o.Self {
		return 0
	}
	return time.Duration(w.cfg.Grace) * time.Duration(1+min(w.rank(s.Target), 3))
}

// recovery is how long an island must be back: twice as long each time it was
// lost within the hour.
func (w *Witness) recovery(losses []time.Time) time.Duration {
	return time.Duration(w.cfg.Recovery) << min(max(len(losses)-1, 0), 4)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
