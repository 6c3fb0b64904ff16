package replica

import (
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/replicapb"
)

const (
	maxRefusals     = 16384
	maxWaiting      = 256
	maxWaitingBytes = 8 << 20
)

// refusals remembers versions whose author has no right, or for which there is no
// room, so that comparisons do not move them again and again. Only versions with a
// good signature get in: otherwise a forger could bar the genuine one, whose hash
// is the same. The oldest half is forgotten when it is full.
type refusals struct {
	mu       sync.Mutex
	now, old map[uint64]string
}

func newRefusals() *refusals { return &refusals{now: map[uint64]string{}} }

func (f *refusals) add(d *replicapb.Document, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.now) >= maxRefusals/2 {
		f.now, f.old = map[uint64]string{}, f.now
	}
	f.now[hashOf(d)] = err.Error()
}

func (f *refusals) has(hash uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.now[hash]
	if !ok {
		_, ok = f.old[hash]
	}
	return ok
}

func (f *refusals) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now, f.old = map[uint64]string{}, nil
}

func (f *refusals) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.now) + len(f.old)
}

// waiting holds verified documents of the future, the nearest ones if there are
// too many.
type waiting struct {
	mu    sync.Mutex
	docs  map[uint64]*replicapb.Document
	bytes int
}

func newWaiting() *waiting { return &waiting{docs: map[uint64]*replicapb.Document{}} }

func (w *waiting) add(d *replicapb.Document) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := hashOf(d)
	if w.docs[h] != nil {
		return
	}
	w.docs[h] = d
	w.bytes += proto.Size(d)
	for len(w.docs) > maxWaiting || w.bytes > maxWaitingBytes {
		w.removeLocked(w.farthestLocked())
	}
}

func (w *waiting) farthestLocked() (hash uint64) {
	var far *replicapb.Document
	for h, d := range w.docs {
		if far == nil || d.GetTime() > far.GetTime() {
			far, hash = d, h
		}
	}
	return hash
}

func (w *waiting) removeLocked(hash uint64) {
	w.bytes -= proto.Size(w.docs[hash])
	delete(w.docs, hash)
}

// due takes out the documents that need not wait any longer.
func (w *waiting) due(tooFar func(time uint64) bool) (docs []*replicapb.Document) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for h, d := range w.docs {
		if !tooFar(d.GetTime()) {
			docs = append(docs, d)
			w.removeLocked(h)
		}
	}
	return docs
}

func (w *waiting) has(hash uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.docs[hash] != nil
}

func (w *waiting) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.docs)
}

// unwanted reports whether a version is known not to be taken over for now.
func (r *Replica) unwanted(hash uint64) bool { return r.refusals.has(hash) || r.waiting.has(hash) }
