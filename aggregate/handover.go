package aggregate

import (
	"context"
	"time"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// giving is how long series may take to change hands.
const giving = 9 * time.Second

// HandOver gives what this island has of the windows of distributed rules to the
// others, so that it can leave the network without a loss: series that others
// receive as well, all windows, those under way too, and its share of the groups. It
// waits until they have that or ctx ends; then the error says who lacks what, and what
// is lost is at most that. Afterwards comes Leave, or Stay. Outside of a network it
// does nothing.
func (a *Aggregator) HandOver(ctx context.Context) error {
	s, h := a.sharing.Load(), a.homing.Load()
	if s == nil {
		return nil
	}
	begin := a.now()
	a.log.Info("what is aggregated with other islands is handed over to them")
	if h != nil {
		limited, cancel := context.WithTimeout(ctx, giving)
		h.Leave(limited)
		cancel()
	}
	if err := a.sealAll(ctx); err != nil {
		return err
	}
	err := s.Leave(ctx)
	if err == nil {
		a.log.Info("the other islands have what was aggregated with them", "seconds", a.now().Sub(begin).Seconds())
	}
	return err
}

// sealAll seals what others go on with; windows that are sealed after it are made
// alone, or together with them again, see Stay.
func (a *Aggregator) sealAll(ctx context.Context) error {
	a.turn.Lock()
	defer a.turn.Unlock()
	if a.shared.share == nil || a.shared.leaves {
		return nil
	}
	err := a.engine.HandOver(a.now().UnixMilli(), func(w *partial.Window) error {
		a.publish(ctx, a.finish(w))
		return nil
	})
	a.shared.leaves = true
	return err
}

// Stay takes HandOver back: the island goes on as one of those that aggregate.
func (a *Aggregator) Stay() {
	a.turn.Lock()
	defer a.turn.Unlock()
	if s := a.shared.share; s != nil && a.shared.leaves {
		a.shared.leaves = false
		s.Stay()
		for _, w := range a.shared.windows {
			a.push(w)
		}
		a.shared.windows = nil
	}
	if h := a.homing.Load(); h != nil {
		h.Stay()
	}
}
