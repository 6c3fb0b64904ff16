package replica

import (
	"strings"
	"sync"

	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// maxWatchers bounds the watches open over HTTP.
const maxWatchers = 512

// Event says that a document changed.
type Event struct {
	Key string
	// Document is what is in force at the moment of delivery; a tombstone where it
	// was deleted, nil where it was given up or forgotten.
	Document *replicapb.Document
}

// watchers coalesce per key: whoever reads slowly sees fewer versions, but always
// the last one of every key. What is pending is a key, never a document.
type watchers struct {
	mu     sync.Mutex
	all    map[*watcher]struct{}
	closed bool
}

type watcher struct {
	prefix string
	wake   chan struct{}
	stop   chan struct{}
	once   sync.Once

	mu      sync.Mutex
	pending map[string]struct{}
	order   []string
}

func newWatchers() *watchers { return &watchers{all: map[*watcher]struct{}{}} }

func (ws *watchers) len() int {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return len(ws.all)
}

func (ws *watchers) changed(keys []string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		w.add(keys)
	}
}

func (ws *watchers) close() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.closed = true
	for w := range ws.all {
		w.cancel()
	}
	clear(ws.all)
}

func (w *watcher) cancel() { w.once.Do(func() { close(w.stop) }) }

func (w *watcher) add(keys []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range keys {
		if _, dup := w.pending[key]; !dup && strings.HasPrefix(key, w.prefix) {
			w.pending[key] = struct{}{}
			w.order = append(w.order, key)
		}
	}
	if len(w.order) > 0 {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (w *watcher) next() (key string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.order) == 0 {
		w.order = nil
		return "", false
	}
	key, w.order = w.order[0], w.order[1:]
	delete(w.pending, key)
	return key, true
}

// Watch tells of every change of a document whose key begins with prefix, from
// now on: list after watching, and nothing is missed. Several changes of one
// document may come as one event, with the last version. The channel is closed
// after cancel, which must be called, or when the replica closes.
func (r *Replica) Watch(prefix string) (<-chan Event, func()) {
	w := &watcher{prefix: prefix, wake: make(chan struct{}, 1), stop: make(chan struct{}), pending: map[string]struct{}{}}
	events := make(chan Event)
	r.watchers.mu.Lock()
	defer r.watchers.mu.Unlock()
	if r.watchers.closed {
		close(events)
		return events, func() {}
	}
	r.watchers.all[w] = struct{}{}
	go r.deliver(w, events)
	return events, func() {
		r.watchers.mu.Lock()
		delete(r.watchers.all, w)
		r.watchers.mu.Unlock()
		w.cancel()
	}
}

func (r *Replica) deliver(w *watcher, events chan<- Event) {
	defer close(events)
	for {
		key, ok := w.next()
		if !ok {
			select {
			case <-w.wake:
				continue
			case <-w.stop:
				return
			}
		}
		d, err := r.store.document(key)
		if err != nil {
			return
		}
		select {
		case events <- Event{Key: key, Document: d}:
		case <-w.stop:
			return
		}
	}
}
