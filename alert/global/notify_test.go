package global

import (
	"context"
	"sync"
	"time"
)

// alertmanagers notify as Alertmanager does: once of what fires, once of its end.
func (w *world) alertmanagers(ctx context.Context) {
	var flying sync.WaitGroup
	defer flying.Wait()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, name := range w.names {
			w.flush(ctx, name, &flying)
		}
	}
}

func (w *world) flush(ctx context.Context, name string, flying *sync.WaitGroup) {
	w.mu.Lock()
	n := w.nodes[name]
	eval, life := n.eval, n.life
	var ready []*told
	for _, a := range n.am {
		if n.alive && !a.withdrawn && !a.flying && time.Since(a.seen) >= groupWait {
			ready = append(ready, a)
		}
	}
	w.mu.Unlock()
	for _, a := range ready {
		w.mu.Lock()
		out, group := a.Outgoing, a.group
		w.mu.Unlock()
		over := out.Resolved || !time.Now().Before(out.EndsAt)
		if last, known := eval.Told(group, out.ID, out.FiredAt, "people", ""); over == (!known || last.Resolved) {
			continue
		}
		w.mu.Lock()
		a.flying = !a.withdrawn
		w.mu.Unlock()
		flying.Go(func() { w.tell(ctx, n, eval, life, a, out, group, over) })
	}
}

// tell is one notification on its way: it compares, asks again, and takes a while.
func (w *world) tell(ctx context.Context, n *node, eval *Evaluator, life int, a *told, out Outgoing, group string, over bool) {
	defer func() {
		w.mu.Lock()
		a.flying = false
		w.mu.Unlock()
	}()
	eval.Compare(ctx, group)
	last, known := eval.Told(group, out.ID, out.FiredAt, "people", "")
	w.mu.Lock()
	told := over != (!known || last.Resolved) && !a.withdrawn && n.alive && n.life == life && ctx.Err() == nil
	if told {
		w.told = append(w.told, telling{time.Now(), n.name, out.Labels.Get("condition") + out.Labels.Get(missingLabel), over, out.FiredAt, life, nil, nil, false})
	}
	var takes time.Duration
	if w.slow != nil {
		takes = time.Duration(w.slow.Int64N(int64(underWay)))
	}
	w.mu.Unlock()
	if !told {
		return
	}
	time.Sleep(takes)
	w.mu.Lock()
	dead := !n.alive || n.life != life
	w.mu.Unlock()
	if !dead {
		eval.Tell(group, Told{Alert: out.ID, Receiver: "people", Fired: out.FiredAt, At: millis(time.Now()), Resolved: over})
	}
}
