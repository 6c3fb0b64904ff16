package replica

import (
	"time"

	"go.etcd.io/bbolt"
)

// collectEvery is also the step to which the horizon is rounded, so that islands
// forget a tombstone at the same time and their digests stay equal.
const collectEvery = time.Hour

// horizon is the document time before which tombstones are forgotten.
func (r *Replica) horizon() uint64 {
	keep := time.Duration(r.cfg.Load().Tombstones)
	return hybrid(r.o.wall().Add(-keep).Truncate(collectEvery))
}

func (r *Replica) expired(t uint64) bool { return t < r.horizon() }

// collect forgets tombstones older than the horizon, their history with them. An
// island that was away too long must compare first: see stale.go.
func (r *Replica) collect() error {
	if r.stale() {
		return nil
	}
	r.turn.Lock()
	defer r.turn.Unlock()
	if r.closed.Load() {
		return nil
	}
	st := r.newStage()
	for _, key := range r.index.keys("", func(e *entry) bool { return e.deleted && r.expired(e.time) }) {
		st.collect(key)
	}
	if err := r.commit(st); err != nil {
		return err
	}
	r.m.tombstones.Add(float64(len(st.order)))
	return nil
}

// saveSync writes down when this island last compared with another, which is how
// it knows after a start for how long it was away.
func (r *Replica) saveSync() error {
	last := uint64(r.lastSync.Load())
	if saved, err := r.store.meta(metaSync); err != nil || saved == last {
		return err
	}
	return r.store.update(func(tx *bbolt.Tx) error { return r.store.setMeta(tx, metaSync, last) })
}
