package aggregate

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/aggregate/engine"
	"github.com/atoll-mesh/atoll/flow"
)

// Appendable puts aggregation before next: every sample is shown to the rules,
// and goes on to next unless a rule that matches it says keep_input: false.
//
// A transaction is aggregated when next has committed it, so that a sender that
// is told to try again is not counted twice. Without rules the appenders of next
// are handed out as they are, or, once there were rules, behind one that takes
// back the references of the door.
func (a *Aggregator) Appendable(next storage.AppendableV2) storage.AppendableV2 {
	return &door{a: a, next: next}
}

type door struct {
	a      *Aggregator
	next   storage.AppendableV2
	stored storedRefs
	issued atomic.Bool // references of the door are in somebody's cache
}

func (d *door) AppenderV2(ctx context.Context) storage.AppenderV2 {
	next := d.next.AppenderV2(ctx)
	e := d.a.engine
	if e.Idle() {
		if d.issued.Load() {
			return newPlain(next)
		}
		return next
	}
	if !d.issued.Load() {
		d.issued.Store(true)
	}
	app := &appender{next: next, a: d.a, stored: &d.stored, batch: e.Begin(flow.Sender(ctx)), epoch: uint64(e.Epoch())}
	app.free = app.tag(0, 0) >> refBits
	app.exemplars, _ = next.(storage.ExemplarAppenderV2)
	app.refs, _ = next.(storage.GetRef)
	return app
}

// appender shows one transaction to the engine.
//
// A reference that it gives out carries in its upper bits who can read it:
//
//	bit 63      one of this door
//	bit 62      matched: bits 0 to 47 are the engine's, else the store's
//	bit 61      matched, and not stored
//	bits 48-60  epoch of the rules; one of another epoch counts as unknown
//
// A reference of the store that does not fit is handed out as it is: the engine
// looks at the labels each time then.
type appender struct {
	next      storage.AppenderV2
	exemplars storage.ExemplarAppenderV2 // nil if next has none
	refs      storage.GetRef             // nil if next has none
	a         *Aggregator
	stored    *storedRefs
	batch     *engine.Batch // nil once it was given back
	epoch     uint64
	free      storage.SeriesRef // upper bits of the references of series that no rule takes
	kept      bool              // something went on to next
}

const (
	refDoor    = 1 << 63
	refMatched = 1 << 62
	refDropped = 1 << 61
	epochBits  = 13
	refBits    = 48
	refMask    = 1<<refBits - 1
)

func (p *appender) tag(payload, kind uint64) storage.SeriesRef {
	return storage.SeriesRef(refDoor | kind | p.epoch&(1<<epochBits-1)<<refBits | payload)
}

// tagStored tags a reference of the store, 0 for none, of a series that no rule takes.
func (p *appender) tagStored(ref storage.SeriesRef) storage.SeriesRef {
	switch {
	case ref == 0 || ref&refDoor != 0:
		return 0
	case ref > refMask:
		return ref
	}
	return p.tag(uint64(ref), 0)
}

// split returns what ref says to the engine and to the store, and whether the
// rules are known not to match.
func (p *appender) split(ref storage.SeriesRef) (ours engine.Ref, store storage.SeriesRef, unmatched bool) {
	r := uint64(ref)
	switch {
	case r&refDoor == 0:
		return 0, ref, false // of the store itself
	case r>>refBits&(1<<epochBits-1) != p.epoch&(1<<epochBits-1):
		return 0, 0, false
	case r&refMatched == 0:
		return 0, storage.SeriesRef(r & refMask), true
	}
	ours = engine.Ref(r & refMask)
	return ours, p.stored.get(ours), false
}

// Append shows the sample to the rules and hands it on where it is to be kept.
// That no rule takes a series has to cost next to nothing: a look at the reference.
func (p *appender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	if ref>>refBits != p.free {
		return p.fold(ref, ls, st, t, v, h, fh, &opts)
	}
	p.kept = true
	stored, err := p.next.Append(ref&refMask, ls, st, t, v, h, fh, opts)
	if stored == ref&refMask {
		return ref, err
	}
	return p.tagStored(stored), err
}

func (p *appender) fold(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts *storage.AOptions) (storage.SeriesRef, error) {
	given, stored, _ := p.split(ref)
	ours, verdict, err := p.show(given, ls, st, t, v, h, fh)
	if err != nil {
		return 0, err
	}
	if verdict&engine.Drop != 0 {
		return p.tag(uint64(ours), refMatched|refDropped), nil
	}
	p.kept = true
	kept, err := p.next.Append(stored, ls, st, t, v, h, fh, *opts)
	if verdict&engine.Matched == 0 {
		return p.tagStored(kept), err
	}
	if kept != 0 && (kept != stored || ours != given) {
		p.stored.set(ours, kept)
	}
	return p.tag(uint64(ours), refMatched), err
}

// show gives the sample to the engine, which believes what a histogram says of itself.
func (p *appender) show(ref engine.Ref, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram) (engine.Ref, engine.Verdict, error) {
	switch {
	case fh != nil:
		if err := fh.Validate(); err != nil {
			return 0, 0, err
		}
	case h != nil:
		if err := h.Validate(); err != nil {
			return 0, 0, err
		}
		fh = h.ToFloat(nil)
	default:
		ref, verdict := p.batch.Append(ref, ls, st, t, v)
		return ref, verdict, nil
	}
	ref, verdict := p.batch.AppendHistogram(ref, ls, st, t, fh)
	return ref, verdict, nil
}

// AppendRaw implements flow.RawAppender.
func (p *appender) AppendRaw(samples []flow.RawSample) { p.batch.AppendRaws(samples) }

// LearnRaw implements flow.RawAppender.
func (p *appender) LearnRaw(raw []byte, ls labels.Labels) bool {
	return p.batch.Learn(raw, ls)&engine.Drop != 0
}

// AppendExemplars hands exemplars on; those of a series that is not stored are
// dropped with it.
func (p *appender) AppendExemplars(ref storage.SeriesRef, ls labels.Labels, es []exemplar.Exemplar) (storage.SeriesRef, error) {
	if p.exemplars == nil {
		return 0, fmt.Errorf("append exemplars: %T cannot", p.next)
	}
	ours, stored, unmatched := p.split(ref)
	if ours != 0 && ref&refDropped != 0 {
		return ref, nil
	}
	p.kept = true
	got, err := p.exemplars.AppendExemplars(stored, ls, es)
	if unmatched {
		return p.tagStored(got), err
	}
	return ref, err
}

// GetRef asks the store; what it returns says nothing about the rules.
func (p *appender) GetRef(ls labels.Labels, hash uint64) (storage.SeriesRef, labels.Labels) {
	if p.refs == nil {
		return 0, labels.EmptyLabels()
	}
	return p.refs.GetRef(ls, hash)
}

// Commit stores first: what the store refuses, the sender will send again. A store
// that takes nothing, such as one whose disk is full, is not asked where nothing
// is to be stored.
func (p *appender) Commit() error {
	finish := p.next.Commit
	if !p.kept && p.batch != nil {
		finish = p.next.Rollback
	}
	if err := finish(); err != nil {
		p.forget()
		return err
	}
	if b := p.batch; b != nil {
		p.batch = nil
		p.a.commit(b)
	}
	return nil
}

// Rollback forgets the transaction here and there.
func (p *appender) Rollback() error {
	p.forget()
	return p.next.Rollback()
}

// forget gives the batch back once only: many roll back after a Commit that failed.
func (p *appender) forget() {
	if p.batch != nil {
		p.batch.Rollback()
		p.batch = nil
	}
}
