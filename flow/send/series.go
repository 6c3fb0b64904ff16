package send

import (
	"math"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
)

// maxHeldExemplars bounds the exemplars that wait for their series' next sample.
const maxHeldExemplars = 8

// series is what the queue knows of one series in the WAL.
type series struct {
	// hash is of the labels as stored; it names the series in gaps and picks the shard.
	hash uint64
	// labels are what the receiver sees; keep is false if relabelling dropped them.
	labels labels.Labels
	keep   bool
	// meta is read by the workers while the WAL reader replaces it.
	meta atomic.Pointer[metadata.Metadata]
	// newest is the highest timestamp (ms) read from the WAL so far.
	newest int64
	// segment is the last WAL segment that is known to need this entry.
	segment int
	// batch and slot say where the last sample stands in the batch being built.
	batch uint64
	slot  int
	held  []exemplar.Exemplar
}

// item is one sample on its way out.
type item struct {
	series *series
	at     position
	st, t  int64
	v      float64
	h      *histogram.Histogram
	fh     *histogram.FloatHistogram
	ex     []exemplar.Exemplar
}

// position is a place in the WAL: the end of a record in a segment, and how many
// samples of that record are meant.
type position struct {
	Segment int   `json:"s"`
	Offset  int64 `json:"o"`
	Index   int   `json:"i"`
}

// wholeRecord as Index means every sample of the record.
const wholeRecord = math.MaxInt32

func (p position) after(q position) bool {
	if p.Segment != q.Segment {
		return p.Segment > q.Segment
	}
	if p.Offset != q.Offset {
		return p.Offset > q.Offset
	}
	return p.Index > q.Index
}

// labeler turns stored labels into sent ones.
type labeler struct {
	external []labels.Label
	rules    []*relabel.Config
	builder  *labels.Builder
}

func newLabeler(s *spec) *labeler {
	l := &labeler{rules: s.config.WriteRelabelConfigs, builder: labels.NewBuilder(labels.EmptyLabels())}
	s.external.Range(func(e labels.Label) { l.external = append(l.external, e) })
	return l
}

// apply adds the external labels where the series has none of that name, then relabels.
func (l *labeler) apply(stored labels.Labels) (labels.Labels, bool) {
	l.builder.Reset(stored)
	for _, e := range l.external {
		if l.builder.Get(e.Name) == "" {
			l.builder.Set(e.Name, e.Value)
		}
	}
	if !relabel.ProcessBuilder(l.builder, l.rules...) {
		return labels.EmptyLabels(), false
	}
	return l.builder.Labels(), true
}

// table holds the series that the WAL refers to by number.
type table struct {
	labeler *labeler
	byRef   map[chunks.HeadSeriesRef]*series
}

func newTable(s *spec) *table {
	return &table{labeler: newLabeler(s), byRef: map[chunks.HeadSeriesRef]*series{}}
}

func (t *table) store(ref chunks.HeadSeriesRef, stored labels.Labels, segment int) {
	hash := stored.Hash()
	if s, ok := t.byRef[ref]; ok && s.hash == hash {
		s.segment = max(s.segment, segment)
		return
	}
	s := &series{hash: hash, newest: math.MinInt64, segment: segment}
	s.labels, s.keep = t.labeler.apply(stored)
	t.byRef[ref] = s
}

// expire forgets the series no record from segment on can refer to.
func (t *table) expire(segment int) {
	for ref, s := range t.byRef {
		if s.segment < segment {
			delete(t.byRef, ref)
		}
	}
}

// describe notes metadata for the requests of remote write 2.0.
func (t *table) describe(m record.RefMetadata) {
	if s, ok := t.byRef[m.Ref]; ok {
		s.meta.Store(&metadata.Metadata{Type: record.ToMetricType(m.Type), Unit: m.Unit, Help: m.Help})
	}
}

// metadata indexes what is known by the hash of the stored labels.
func (t *table) metadata() map[uint64]*metadata.Metadata {
	found := map[uint64]*metadata.Metadata{}
	for _, s := range t.byRef {
		if m := s.meta.Load(); m != nil {
			found[s.hash] = m
		}
	}
	return found
}
