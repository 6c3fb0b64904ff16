package replica

import (
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// stage collects what one transaction will change. Only the holder of the turn has one.
type stage struct {
	r       *Replica
	changes map[string]*change
	order   []string
	counts  [2]totals
}

// change is what happens to one key.
type change struct {
	doc  *replicapb.Document // nil removes the document
	now  *entry
	gone []Version // replaced within the same stage, or given up
	// why the version on disk is given up; empty where it is replaced by a newer one.
	reason string
	void   bool
	forget bool // the older versions too
}

func (r *Replica) newStage() *stage {
	return &stage{r: r, changes: map[string]*change{},
		counts: [2]totals{r.index.section(otherTree), r.index.section(trustTree)}}
}

// held is what will be held of key, or nil.
func (st *stage) held(key string) *entry {
	if c := st.changes[key]; c != nil {
		return c.now
	}
	return st.r.index.get(key)
}

func (st *stage) document(key string) (*replicapb.Document, error) {
	if c := st.changes[key]; c != nil {
		return c.doc, nil
	}
	return st.r.store.document(key)
}

func (st *stage) totals(isTrust bool) totals { return st.counts[sectionOf(isTrust)] }

func (st *stage) change(key string) *change {
	c := st.changes[key]
	if c == nil {
		c = &change{}
		st.changes[key] = c
		st.order = append(st.order, key)
	}
	return c
}

func (st *stage) put(d *replicapb.Document) {
	key := d.GetKey()
	was := st.held(key)
	c := st.change(key)
	if c.doc != nil {
		c.gone = append(c.gone, Version{Document: c.doc})
	}
	c.doc, c.now = d, entryOf(d)
	st.recount(was, c.now)
}

// drop gives a document up. It stays in the history with its reason.
func (st *stage) drop(key, reason string, void bool) {
	was := st.held(key)
	c := st.change(key)
	c.doc, c.now, c.reason, c.void = nil, nil, reason, void
	st.recount(was, nil)
}

// collect removes a document with its history.
func (st *stage) collect(key string) {
	was := st.held(key)
	c := st.change(key)
	c.doc, c.now, c.forget = nil, nil, true
	st.recount(was, nil)
}

func (st *stage) recount(was, now *entry) {
	for sign, e := range map[int]*entry{-1: was, 1: now} {
		if e != nil {
			t := &st.counts[sectionOf(e.trust)]
			t.documents += sign
			t.bytes += int64(sign) * int64(e.size)
		}
	}
}

// commit writes a stage, then shows it to readers and watchers. What was returned
// as stored is on disk; what is not on disk was never shown.
func (r *Replica) commit(st *stage) error {
	if len(st.order) == 0 {
		return nil
	}
	c := *r.cfg.Load()
	start := time.Now()
	forgotten := 0
	err := r.store.update(func(tx *bbolt.Tx) error {
		forgotten = 0
		for _, key := range st.order {
			n, err := r.store.apply(tx, c, key, st.changes[key], r.o.wall())
			if err != nil {
				return err
			}
			forgotten += n
		}
		return r.store.setMeta(tx, metaClock, r.clock.highest())
	})
	r.m.commitTime.Observe(time.Since(start).Seconds())
	if err != nil {
		r.m.commits.WithLabelValues("failed").Inc()
		r.warn.writes.Set("%v", err)
		return err
	}
	r.m.commits.WithLabelValues("ok").Inc()
	r.m.historyCuts.Add(float64(forgotten))
	r.warn.writes.Clear()
	for _, key := range st.order {
		if now := st.changes[key].now; now != nil {
			r.index.put(now)
		} else {
			r.index.remove(key)
		}
	}
	r.watchers.changed(st.order)
	return nil
}

func (s *store) apply(tx *bbolt.Tx, c Config, key string, ch *change, now time.Time) (forgotten int, err error) {
	docs := tx.Bucket(s.b.documents)
	if ch.forget {
		if err := s.forgetAll(tx, key); err != nil {
			return 0, err
		}
		return 0, docs.Delete([]byte(key))
	}
	old := ch.gone
	if was, err := s.in(tx, key); err == nil && was != nil {
		old = append([]Version{{Document: was, Reason: ch.reason, Void: ch.void}}, old...)
	}
	for _, v := range old {
		v.Until = now.UnixMilli()
		n, err := s.remember(tx, c, v)
		if err != nil {
			return 0, err
		}
		forgotten += n
	}
	if ch.doc == nil {
		return forgotten, docs.Delete([]byte(key))
	}
	raw, err := proto.Marshal(ch.doc)
	if err != nil {
		return 0, err
	}
	if err := docs.Put([]byte(key), raw); err != nil {
		return 0, err
	}
	// A version that is in force again is no longer an older one.
	return forgotten, s.forget(tx, [][]byte{versionKey(key, ch.doc.GetTime(), hashOf(ch.doc))})
}
