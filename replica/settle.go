package replica

import (
	"bytes"
	"time"

	"go.etcd.io/bbolt"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// learn hands all documents of trust to the rights. The caller holds the turn.
func (r *Replica) learn() {
	docs, err := r.store.documents(r.index.keys("", func(e *entry) bool { return e.trust }))
	if err != nil {
		r.logger.Warn("read the documents of trust", "err", err)
		return
	}
	r.refusals.clear()
	r.sessions.forgive()
	r.unsettled = true
	r.o.Rights.Learn(docs)
}

// settleNow ends a row of requests that put it off.
func (r *Replica) settleNow() error {
	r.turn.Lock()
	defer r.turn.Unlock()
	if !r.unsettled || r.closed.Load() {
		return nil
	}
	return r.settle()
}

// maxRounds bounds how often documents of trust are judged again because others
// of them fell; rights hang on each other at most as deep as there are kinds.
const maxRounds = 8

// settle asks about every document again: those of trust until none falls or
// rises any more, then all others. The caller holds the turn.
//
// What is void gives way to the newest version in the history that is not. So a
// revoked island's edits are undone rather than leaving holes, and a right that
// comes back brings its documents back: what is in force follows from the
// documents known, not from the order in which they were heard of.
func (r *Replica) settle() error {
	start := time.Now()
	for range maxRounds {
		changed, err := r.rejudge(true)
		if err != nil {
			return err
		}
		if !changed {
			break
		}
		r.learn()
	}
	if _, err := r.rejudge(false); err != nil {
		return err
	}
	r.unsettled = false
	r.m.rejudged.Observe(time.Since(start).Seconds())
	return nil
}

func (r *Replica) rejudge(isTrust bool) (changed bool, err error) {
	st := r.newStage()
	own := r.o.Author().Public()
	err = r.store.view(func(tx *bbolt.Tx) error {
		for _, e := range r.index.all(sectionOf(isTrust)) {
			d, err := r.store.in(tx, e.key)
			if err != nil || d == nil {
				continue
			}
			if err := r.o.Rights.Permit(d); err != nil {
				r.drop(st, d, err, own)
			}
		}
		return r.restore(tx, st, isTrust)
	})
	if err != nil {
		return false, err
	}
	return len(st.order) > 0, r.commit(st)
}

func (r *Replica) drop(st *stage, d *replicapb.Document, why error, own trust.Key) {
	st.drop(d.GetKey(), why.Error(), true)
	r.m.dropped.WithLabelValues("void").Inc()
	r.logger.Warn("document is void", "document", d.GetKey(), "time", d.GetTime(), "reason", why)
	if bytes.Equal(d.GetAuthor(), own.Bytes()) {
		r.warn.ownVoid.Set("document %q: %v", d.GetKey(), why)
	}
}

// restore puts back the newest version that is permitted, for keys that lose
// theirs now and for keys that lost one before.
func (r *Replica) restore(tx *bbolt.Tx, st *stage, isTrust bool) error {
	keys := append([]string(nil), st.order...)
	err := tx.Bucket(r.store.b.void).ForEach(func(k, _ []byte) error {
		if st.changes[string(k)] == nil && trust.IsTrustKind(string(k)) == isTrust {
			keys = append(keys, string(k))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range keys {
		held, err := r.heldIn(tx, st, key)
		if err != nil {
			return err
		}
		for _, v := range r.store.versions(tx, key) {
			if held != nil && !trust.Newer(v.Document, held) || v.Reason != "" && !v.Void {
				break
			}
			if r.o.Rights.Permit(v.Document) != nil {
				continue
			}
			st.put(v.Document)
			r.m.restored.Inc()
			r.logger.Info("older version of a document is back in force", "document", key, "time", v.Document.GetTime())
			break
		}
	}
	return nil
}

func (r *Replica) heldIn(tx *bbolt.Tx, st *stage, key string) (*replicapb.Document, error) {
	if c := st.changes[key]; c != nil {
		return c.doc, nil
	}
	return r.store.in(tx, key)
}
