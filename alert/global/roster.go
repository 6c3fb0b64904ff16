package global

import (
	"context"
	"slices"
	"sync"
	"time"
)

// How soon a primary is given up for lost, and taken back.
const (
	lookPeriod  = 4 * time.Second
	lookTimeout = 3 * time.Second
	// looksFailed in a row, with nobody to vouch, make a primary lost; looksWell in
	// a row bring it back, by which time its documents are here.
	looksFailed = 3
	looksWell   = 2
	// settle is for how long a primary that starts takes no group where there are
	// others: they need as long to take it back, and it to hear what they did.
	settle = looksWell * lookPeriod
)

// Reach finds out whether other primaries are there.
type Reach interface {
	// Look returns nil if name can be reached from here.
	Look(ctx context.Context, name string) error
	// Vouch asks another primary whether it reaches name.
	Vouch(ctx context.Context, via, name string) (bool, error)
	// Sync compares documents with another primary, so that both have the newest.
	Sync(ctx context.Context, name string) error
}

// roster knows which primaries live. The zero value but for reach is ready.
type roster struct {
	reach Reach

	mu   sync.Mutex
	seen map[string]*sight
}

type sight struct {
	failed, well int
	lost         bool
}

// look goes round the other primaries once and reports whether one was lost or came back.
func (r *roster) look(ctx context.Context, others []string) (changed bool) {
	results := ask(ctx, others, func(ctx context.Context, name string) bool { return r.reach.Look(ctx, name) == nil })
	var suspects, witnesses []string
	r.mu.Lock()
	r.keep(others)
	for _, name := range others {
		s := r.seen[name]
		if results[name] {
			s.failed, s.well = 0, s.well+1
			if s.lost && s.well >= looksWell {
				s.lost, changed = false, true
			}
			witnesses = append(witnesses, name)
			continue
		}
		s.failed, s.well = s.failed+1, 0
		if s.failed >= looksFailed && !s.lost || s.lost {
			suspects = append(suspects, name)
		}
	}
	r.mu.Unlock()
	if ctx.Err() != nil {
		return changed
	}
	vouched := ask(ctx, suspects, func(ctx context.Context, name string) bool {
		asked := append(slices.Clip(witnesses), name)
		yes := ask(ctx, asked, func(ctx context.Context, via string) bool {
			if via == name { // it may only be too busy for a look
				return r.reach.Sync(ctx, name) == nil
			}
			reached, err := r.reach.Vouch(ctx, via, name)
			return err == nil && reached
		})
		return slices.ContainsFunc(asked, func(via string) bool { return yes[via] })
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range suspects {
		if s := r.seen[name]; s != nil && s.lost == vouched[name] && ctx.Err() == nil {
			s.lost, changed = !vouched[name], true
		}
	}
	return changed
}

// keep knows the named and nobody else; r.mu is held.
func (r *roster) keep(names []string) {
	next := make(map[string]*sight, len(names))
	for _, n := range names {
		if next[n] = r.seen[n]; next[n] == nil {
			next[n] = &sight{}
		}
	}
	r.seen = next
}

// live leaves out of names those that are lost.
func (r *roster) live(names []string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return r.seen[n] != nil && r.seen[n].lost })
}

// ask asks all at once, each within lookTimeout.
func ask(ctx context.Context, names []string, f func(context.Context, string) bool) map[string]bool {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex
		out = map[string]bool{}
	)
	for _, n := range names {
		wg.Go(func() {
			yes := f(ctx, n)
			mu.Lock()
			defer mu.Unlock()
			out[n] = yes
		})
	}
	wg.Wait()
	return out
}
