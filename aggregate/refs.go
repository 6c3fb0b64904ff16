package aggregate

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/aggregate/engine"
)

// storedRefs keeps the store's reference of each matched series that is stored
// too: 8 bytes each where any series nearby is stored, by the engine's index, with the engine's generation in the
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
	if chunks == nil || int(i/refChunkSize) >= len(*chunks) || (*chunks)[i/refChunkSize] == nil {
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
	if chunks := s.chunks.Load(); chunks != nil && n < len(*chunks) && (*chunks)[n] != nil {
		return (*chunks)[n]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var old []*refChunk
	if chunks := s.chunks.Load(); chunks != nil {
		old = *chunks
	}
	chunks := make([]*refChunk, max(len(old), n+1))
	copy(chunks, old)
	if chunks[n] == nil {
		chunks[n] = new(refChunk)
	}
	s.chunks.Store(&chunks)
	return chunks[n]
}

// plain is what stands before the store while there are no rules any more: what
// the door gave out before must not be taken for the store's own, nor for a
// series that is known to be stored.
type plain struct {
	storage.AppenderV2
	exemplars storage.ExemplarAppenderV2 // nil if the store's has none
	refs      storage.GetRef             // nil if the store's has none
}

func newPlain(next storage.AppenderV2) *plain {
	p := &plain{AppenderV2: next}
	p.exemplars, _ = next.(storage.ExemplarAppenderV2)
	p.refs, _ = next.(storage.GetRef)
	return p
}

func strip(ref storage.SeriesRef) storage.SeriesRef {
	if ref&refDoor != 0 {
		return 0
	}
	return ref
}

func (p *plain) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	return p.AppenderV2.Append(strip(ref), ls, st, t, v, h, fh, opts)
}

func (p *plain) AppendExemplars(ref storage.SeriesRef, ls labels.Labels, es []exemplar.Exemplar) (storage.SeriesRef, error) {
	if p.exemplars == nil {
		return 0, fmt.Errorf("append exemplars: %T cannot", p.AppenderV2)
	}
	return p.exemplars.AppendExemplars(strip(ref), ls, es)
}

func (p *plain) GetRef(ls labels.Labels, hash uint64) (storage.SeriesRef, labels.Labels) {
	if p.refs == nil {
		return 0, labels.EmptyLabels()
	}
	return p.refs.GetRef(ls, hash)
}
