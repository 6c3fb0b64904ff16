package aggregate

import (
	"context"
	"fmt"
	"sync"
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
// are handed out as they are.
func (a *Aggregator) Appendable(next storage.AppendableV2) storage.AppendableV2 {
	return &door{a: a, next: next}
}

type door struct {
	a      *Aggregator
	next   storage.AppendableV2
	stored storedRefs
}

func (d *door) AppenderV2(ctx context.Context) storage.AppenderV2 {
	next := d.next.AppenderV2(ctx)
	e := d.a.engine
	if e.Idle() {
		return next
	}
	app := &appender{next: next, a: d.a, stored: &d.stored, batch: e.Begin(flow.Sender(ctx)), epoch: uint64(e.Epoch())}
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
//	bits 48-61  epoch of the rules; one of another epoch counts as unknown
type appender struct {
	next      storage.AppenderV2
	exemplars storage.ExemplarAppenderV2 // nil if next has none
	refs      storage.GetRef             // nil if next has none
	a         *Aggregator
	stored    *storedRefs
	batch     *engine.Batch
	epoch     uint64
}

const (
	refDoor    = 1 << 63
	refMatched = 1 << 62
	epochBits  = 14
	refBits    = 48
	refMask    = 1<<refBits - 1
)

func (p *appender) tag(payload, kind uint64) storage.SeriesRef {
	if payload == 0 || payload > refMask {
		return 0
	}
	return storage.SeriesRef(refDoor | kind | p.epoch&(1<<epochBits-1)<<refBits | payload)
}

// split returns what ref says to the engine and to the store, and whether the
// rules are known not to match.
func (p *appender) split(ref storage.SeriesRef) (ours engine.Ref, store storage.SeriesRef, unmatched bool) {
	r := uint64(ref)
	switch {
	case r&refDoor == 0:
		return 0, ref, false // from before there were rules, or of GetRef
	case r>>refBits&(1<<epochBits-1) != p.epoch&(1<<epochBits-1):
		return 0, 0, false
	case r&refMatched == 0:
		return 0, storage.SeriesRef(r & refMask), true
	}
	ours = engine.Ref(r & refMask)
	return ours, p.stored.get(ours), false
}

// Append shows the sample to the rules and hands it on where it is to be kept.
func (p *appender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	ours, stored, unmatched := p.split(ref)
	if unmatched {
		stored, err := p.next.Append(stored, ls, st, t, v, h, fh, opts)
		return p.tag(uint64(stored), 0), err
	}
	var verdict engine.Verdict
	switch {
	case fh != nil:
		ours, verdict = p.batch.AppendHistogram(ours, ls, st, t, fh)
	case h != nil:
		ours, verdict = p.batch.AppendHistogram(ours, ls, st, t, h.ToFloat(nil))
	default:
		ours, verdict = p.batch.Append(ours, ls, st, t, v)
	}
	if verdict&engine.Drop != 0 {
		return p.tag(uint64(ours), refMatched), nil
	}
	kept, err := p.next.Append(stored, ls, st, t, v, h, fh, opts)
	if verdict&engine.Matched == 0 {
		return p.tag(uint64(kept), 0), err
	}
	if kept != stored {
		p.stored.set(ours, kept)
	}
	return p.tag(uint64(ours), refMatched), err
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
	if !unmatched && ours != 0 && stored == 0 {
		return ref, nil
	}
	got, err := p.exemplars.AppendExemplars(stored, ls, es)
	if unmatched {
		return p.tag(uint64(got), 0), err
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

// Commit stores first: what the store refuses, the sender will send again.
func (p *appender) Commit() error {
	if err := p.next.Commit(); err != nil {
		p.batch.Rollback()
		return err
	}
	return p.a.commit(p.batch)
}

// Rollback forgets the transaction here and there.
func (p *appender) Rollback() error {
	p.batch.Rollback()
	return p.next.Rollback()
}

// storedRefs keeps the store's reference of each matched series that is stored
// too: 8 bytes each, by the engine's index, with the engine's generation in the
// upper 16 bits so that a reused index is not believed.
type storedRefs struct {
	mu     sync.Mutex
	chunks atomic.Pointer[[]*refChunk]
}

const refChunkSize = 4096

type refChunk [refChunkSize]atomic.Uint64

func (s *storedRefs) get(r engine.Ref) storage.SeriesRef {
	chunks := s.chunks.Load()
	i := r.Index()
	if chunks == nil || int(i/refChunkSize) >= len(*chunks) {
		return 0
	}
	v := (*chunks)[i/refChunkSize][i%refChunkSize].Load()
	if uint16(v>>refBits) != r.Gen() {
		return 0
	}
	return storage.SeriesRef(v & refMask)
}

// set keeps nothing of a reference too large for its place: it is looked up by
// the labels then.
func (s *storedRefs) set(r engine.Ref, ref storage.SeriesRef) {
	if ref > refMask || r == 0 {
		return
	}
	i := r.Index()
	s.chunk(int(i / refChunkSize))[i%refChunkSize].Store(uint64(r.Gen())<<refBits | uint64(ref))
}

func (s *storedRefs) chunk(n int) *refChunk {
	if chunks := s.chunks.Load(); chunks != nil && n < len(*chunks) {
		return (*chunks)[n]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var chunks []*refChunk
	if old := s.chunks.Load(); old != nil {
		chunks = append(chunks, *old...)
	}
	for len(chunks) <= n {
		chunks = append(chunks, new(refChunk))
	}
	s.chunks.Store(&chunks)
	return chunks[n]
}
