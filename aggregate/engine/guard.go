package engine

import "sync"

// A guard is a lock that batches wait for. A benchmark may watch how long it is held.
type guard struct {
	sync.RWMutex
	watch func(held bool) // nil if nobody does
}

func (g *guard) Lock() {
	g.RWMutex.Lock()
	if g.watch != nil {
		g.watch(true)
	}
}

func (g *guard) TryLock() bool {
	if !g.RWMutex.TryLock() {
		return false
	}
	if g.watch != nil {
		g.watch(true)
	}
	return true
}

func (g *guard) Unlock() {
	if g.watch != nil {
		g.watch(false)
	}
	g.RWMutex.Unlock()
}
