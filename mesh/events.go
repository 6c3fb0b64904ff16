package mesh

import (
	"context"
	"sync"

	"github.com/atoll-mesh/atoll/trust"
)

// events hands members about whom something changed to one goroutine, so that
// hooks are called one after the other, under no lock, and never late for good:
// who is looked at is looked at as of now.
type events struct {
	mu    sync.Mutex
	keys  map[trust.Key]struct{}
	wake  chan struct{}
	order []trust.Key
}

func newEvents() events {
	return events{keys: map[trust.Key]struct{}{}, wake: make(chan struct{}, 1)}
}

func (e *events) poke(k trust.Key) {
	e.mu.Lock()
	if _, waits := e.keys[k]; !waits {
		e.keys[k] = struct{}{}
		e.order = append(e.order, k)
	}
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *events) take() []trust.Key {
	e.mu.Lock()
	defer e.mu.Unlock()
	keys := e.order
	e.order = nil
	clear(e.keys)
	return keys
}

// run calls f for each key until ctx ends.
func (e *events) run(ctx context.Context, f func(trust.Key)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		}
		for _, k := range e.take() {
			f(k)
		}
	}
}

// tasks runs what connections set off; it waits for all of it at the end.
type tasks struct {
	mu     sync.Mutex
	ctx    context.Context // nil before Run and after close
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func (t *tasks) open() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ctx, t.cancel = context.WithCancel(context.Background())
}

// do runs f in the background, or not at all where the mesh does not run.
func (t *tasks) do(f func(context.Context)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx == nil {
		return
	}
	ctx := t.ctx
	t.wg.Go(func() { f(ctx) })
}

func (t *tasks) close() {
	t.mu.Lock()
	t.ctx = nil
	t.mu.Unlock()
	t.cancel()
	t.wg.Wait()
}
