package replica

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// Where a version came from.
const (
	sourceLocal = "local"
	sourceSync  = "sync"
	sourceHint  = "hint"
)

// intent is a document to be signed here, once it is known what it replaces.
type intent struct {
	key     string
	value   []byte
	deleted bool
	expect  uint64
}

// item is one document on its way in, and what became of it.
type item struct {
	doc    *replicapb.Document
	intent *intent
	err    error
	forged bool // its signature or shape is bad: whoever sent it is to blame
	known  bool // held already, or a newer one is
	stored bool
}

func (it *item) trust() bool { return it.intent == nil && trust.IsTrustKind(it.doc.GetKey()) }

// request is what one caller brings; requests that wait for the disk together are
// written together.
type request struct {
	source string
	items  []*item
	later  bool
	done   bool // guarded by Replica.turn
}

func (q *request) errors() (errs []error) {
	for _, it := range q.items {
		if it.err != nil {
			errs = append(errs, it.err)
		}
	}
	return errs
}

// submit returns when the request was applied. Whoever gets the turn first applies
// all that are queued in one transaction, so many writers share a flush.
func (r *Replica) submit(req *request) {
	r.queueing.Lock()
	r.queue = append(r.queue, req)
	r.queueing.Unlock()

	r.turn.Lock()
	defer r.turn.Unlock()
	if req.done {
		return
	}
	r.queueing.Lock()
	batch := r.queue
	r.queue = nil
	r.queueing.Unlock()
	r.apply(batch)
	for _, q := range batch {
		q.done = true
	}
}

// apply judges and stores: documents of trust first, since rights follow from them.
func (r *Replica) apply(batch []*request) {
	if r.closed.Load() {
		for _, q := range batch {
			for _, it := range q.items {
				it.err = ErrClosed
			}
		}
		return
	}
	var trusted, others []sourced
	later := true
	for _, q := range batch {
		later = later && q.later
		for _, it := range q.items {
			switch {
			case it.err != nil:
			case it.trust():
				trusted = append(trusted, sourced{it, q.source})
			default:
				others = append(others, sourced{it, q.source})
			}
		}
	}
	r.applyTrust(trusted)
	if r.unsettled && (!later || len(others) > 0) {
		if err := r.settle(); err != nil {
			fail(others, err)
			return
		}
	}
	r.applyAll(others)
}

type sourced struct {
	*item
	source string
}

func fail(items []sourced, err error) {
	for _, it := range items {
		if it.err == nil {
			it.err = err
		}
	}
}

// applyTrust goes over documents of trust until no more of them are permitted: the
// right to write one may follow from another in the same batch.
func (r *Replica) applyTrust(items []sourced) {
	slices.SortStableFunc(items, func(a, b sourced) int {
		return trust.Order(a.doc.GetKey()) - trust.Order(b.doc.GetKey())
	})
	for len(items) > 0 {
		for i := range items {
			items[i].err = nil
		}
		if r.applyAll(items) == 0 {
			return
		}
		r.unsettled = true
		r.learn()
		items = slices.DeleteFunc(items, func(it sourced) bool { return it.err == nil || !errors.Is(it.err, ErrRefused) })
	}
}

// applyAll stages, writes and publishes; it returns how many versions are new.
func (r *Replica) applyAll(items []sourced) int {
	if len(items) == 0 {
		return 0
	}
	st := r.newStage()
	var staged []sourced
	for _, it := range items {
		switch changed, err := r.judge(st, it.item); {
		case err != nil:
			it.err = err
			r.refuse(it, err)
		case changed:
			staged = append(staged, it)
		default:
			it.known = true
		}
	}
	if len(staged) == 0 {
		return 0
	}
	if err := r.commit(st); err != nil {
		fail(staged, err)
		return 0
	}
	for _, it := range staged {
		it.stored = true
		r.m.accepted.WithLabelValues(it.source).Inc()
		r.rumours.tell(entryOf(it.doc), it.doc, it.source)
	}
	return len(staged)
}

// judge decides on one document against what the stage will hold.
func (r *Replica) judge(st *stage, it *item) (changed bool, err error) {
	if it.intent != nil {
		if it.doc, err = r.sign(st, it.intent); err != nil {
			return false, err
		}
	}
	d := it.doc
	if r.clock.tooFar(d.GetTime()) {
		return false, deferred(d.GetKey())
	}
	cur := st.held(d.GetKey())
	if cur != nil {
		h := hashOf(d)
		if cur.hash == h {
			return false, nil
		}
		newer, err := r.newer(st, d, cur)
		if err != nil {
			return false, err
		}
		if !newer {
			return false, outdated(d.GetKey(), d.GetTime(), cur.time)
		}
	} else if d.GetDeleted() && r.expired(d.GetTime()) && it.intent == nil {
		return false, nil
	}
	if err := r.o.Rights.Permit(d); err != nil {
		return false, refused(d.GetKey(), err)
	}
	if err := r.room(st, d, cur); err != nil {
		return false, err
	}
	r.clock.saw(d.GetTime())
	st.put(d)
	return true, nil
}

func (r *Replica) sign(st *stage, in *intent) (*replicapb.Document, error) {
	cur := st.held(in.key)
	exists := cur != nil && !cur.deleted
	switch {
	case in.expect == Absent && exists:
		return nil, conflict(in.key, in.expect, cur.time)
	case in.expect != 0 && in.expect != Absent && (!exists || cur.time != in.expect):
		var got uint64
		if exists {
			got = cur.time
		}
		return nil, conflict(in.key, in.expect, got)
	case in.deleted && !exists:
		return nil, notFound(in.key)
	}
	if cur != nil {
		r.clock.saw(cur.time)
	}
	author := r.o.Author()
	if author.IsZero() { // the island left its network while somebody here still writes
		return nil, refused(in.key, errors.New("cannot be signed: this island has no key of the network any more"))
	}
	return trust.NewDocument(r.o.Network, author, in.key, in.value, r.clock.next(), in.deleted), nil
}

// newer compares with what is held, reading it only where the times do not decide.
func (r *Replica) newer(st *stage, d *replicapb.Document, cur *entry) (bool, error) {
	if d.GetTime() != cur.time && d.GetKey() != trust.NetworkDocument {
		return d.GetTime() > cur.time, nil
	}
	held, err := st.document(d.GetKey())
	if err != nil {
		return false, fmt.Errorf("compare document %q: %w", d.GetKey(), err)
	}
	return held == nil || trust.Newer(d, held), nil
}

// room keeps to the limits. Documents of trust are counted apart. A document held
// already may be replaced by one no larger, and deleted, at any time.
func (r *Replica) room(st *stage, d *replicapb.Document, cur *entry) error {
	c := r.cfg.Load()
	have := st.totals(trust.IsTrustKind(d.GetKey()))
	size, was := int64(proto.Size(d)), int64(0)
	if cur != nil {
		was = int64(cur.size)
	}
	if cur == nil && have.documents >= c.MaxDocuments {
		return full(d.GetKey(), "max_documents", c.MaxDocuments)
	}
	if size > was && have.bytes+size-was > int64(c.MaxBytes) {
		return full(d.GetKey(), "max_bytes", c.MaxBytes)
	}
	return nil
}

// refuse counts, remembers and warns.
func (r *Replica) refuse(it sourced, err error) {
	reason := "rights"
	switch {
	case errors.Is(err, ErrDeferred):
		reason = "deferred"
		if it.source != sourceLocal || it.intent == nil {
			r.waiting.add(it.doc)
		}
		r.warn.clock.Set("document %q has time %s, %s ahead", it.doc.GetKey(), TimeOf(it.doc.GetTime()).UTC().Format(time.RFC3339),
			TimeOf(it.doc.GetTime()).Sub(r.o.wall()).Round(time.Second))
	case errors.Is(err, ErrFull):
		reason = "full"
		r.warn.full.Set("%v", err)
		r.wasFull.Store(true)
		r.refusals.add(it.doc, err)
	case errors.Is(err, ErrOutdated):
		reason = "outdated"
	case errors.Is(err, ErrRefused):
		r.refusals.add(it.doc, err)
	default: // conflict, not found: the caller's own affair
		return
	}
	r.m.refused.WithLabelValues(reason).Inc()
	if it.source != sourceLocal {
		r.logger.Debug("document not taken over", "document", it.doc.GetKey(), "source", it.source, "err", err)
	}
}
