package replicate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/flow/columnar"
	"github.com/atoll-mesh/atoll/wire/replicatepb"
)

// session is what the receiver keeps of a stream's state, also over a cut.
type session struct {
	copy   *kept
	m      *copyMetrics
	series uint64 // most in the store
	dec    *columnar.Decoder
	frame  columnar.Frame
	refs   []entry // by Ref
	// broken says that the decoder is ahead of the store.
	broken bool
	// known is the newest sample by hash of labels while a catalog is answered.
	known map[uint64]int64
}

// entry is a series of the dictionary.
type entry struct {
	ref    storage.SeriesRef // of the copy's store, 0 if it has none yet
	labels labels.Labels
	newest int64
	over   bool // it is beyond the limit of series
}

func newSession(c *kept, series int, m *copyMetrics) (*session, error) {
	dec, err := columnar.NewDecoder(streamLimits(min(series, mostSeries)))
	if err != nil {
		return nil, err
	}
	return &session{copy: c, dec: dec, m: m, series: uint64(series)}, nil
}

// resumes says whether a sender that can go back to a frame can go on.
func (s *session) resumes(m *replicatepb.Open) (epoch, seq uint64, ok bool) {
	epoch, seq, ok = s.dec.Position()
	return epoch, seq, ok && !s.broken && m.GetEpoch() == epoch && m.GetSeq() <= seq
}

// take stores what a frame holds. It returns what is to be said.
func (s *session) take(ctx context.Context, push *replicatepb.Push) (*replicatepb.Reply, error) {
	f := &s.frame
	if err := s.dec.Decode(push.GetFrame(), f); err != nil {
		return nil, refuse("frame", "%v", err)
	}
	s.broken = true // until it is stored
	s.dictionary(f)
	reply := &replicatepb.Reply{}
	if push.GetCatalog() {
		newest, err := s.have(ctx, f)
		if err != nil {
			return nil, err
		}
		reply.Have = &replicatepb.Have{Newest: appendHave(nil, newest)}
	} else {
		s.known = nil
	}
	if err := s.store(ctx, f, push.GetOverlap()); err != nil {
		return nil, err
	}
	s.broken = false
	s.m.bytes.Add(float64(len(push.GetFrame())))
	reply.Ack = &replicatepb.Ack{Epoch: f.Epoch, Seq: f.Seq + 1}
	return reply, nil
}

// dictionary follows the series that leave and enter.
func (s *session) dictionary(f *columnar.Frame) {
	if f.Reset {
		s.refs, s.known = nil, nil
	}
	for _, ref := range f.Drop {
		s.refs[ref] = entry{}
	}
	for _, n := range f.New {
		for int(n.Ref) >= len(s.refs) {
			s.refs = append(s.refs, entry{})
		}
		s.refs[n.Ref] = entry{labels: n.Labels, newest: math.MinInt64}
	}
}

// store appends the frame's samples in one transaction. A sample that the copy
// cannot take is left out and counted.
func (s *session) store(ctx context.Context, f *columnar.Frame, overlap bool) error {
	if len(f.Samples) == 0 {
		return nil
	}
	var there map[place]struct{}
	var err error
	if overlap {
		if there, err = s.overlapping(ctx, f); err != nil {
			return err
		}
	}
	now := time.Now().UnixMilli()
	low, high := now-maxKeep.Milliseconds(), now+future.Milliseconds()
	if keep := s.copy.keep; keep > 0 {
		low = now - keep - future.Milliseconds()
	}
	app := s.copy.store.AppenderV2(flow.Strict(ctx))
	taken := 0
	for i := range f.Samples {
		p := &f.Samples[i]
		e := &s.refs[p.Ref]
		if p.T < low || p.T > high {
			s.m.time.Inc()
			continue
		}
		if _, is := there[place{p.Ref, p.T}]; is || e.over || e.ref == 0 && s.full(e) {
			continue
		}
		ref, err := app.Append(e.ref, e.labels, 0, p.T, p.V, p.H, p.FH, storage.AOptions{})
		if err != nil && ref == 0 {
			if errors.Is(err, flow.ErrUnavailable) {
				return errors.Join(fmt.Errorf("store the samples: %w", err), app.Rollback())
			}
			s.m.unfit.Inc()
			continue
		}
		e.ref, e.newest = ref, max(e.newest, p.T)
		taken++
	}
	if err := app.Commit(); err != nil {
		return fmt.Errorf("store the samples: %w", err)
	}
	s.m.samples.Add(float64(taken))
	return nil
}

// full reports whether a series that the store may not have is one too many.
func (s *session) full(e *entry) bool {
	if s.copy.store.NumSeries() < s.series {
		return false
	}
	e.over = true
	s.m.over.Inc()
	return true
}

type place struct {
	ref columnar.Ref
	t   int64
}

// overlapping finds which of the frame's samples are there already.
func (s *session) overlapping(ctx context.Context, f *columnar.Frame) (map[place]struct{}, error) {
	from, to := int64(math.MaxInt64), int64(math.MinInt64)
	asked := map[uint64]columnar.Ref{}
	for i := range f.Samples {
		if p := &f.Samples[i]; p.T <= s.refs[p.Ref].newest {
			from, to = min(from, p.T), max(to, p.T)
			asked[s.refs[p.Ref].labels.Hash()] = p.Ref
		}
	}
	if len(asked) == 0 {
		return nil, nil
	}
	there := map[place]struct{}{}
	err := s.each(ctx, from, to, func(ls labels.Labels, t int64) {
		if ref, ok := asked[ls.Hash()]; ok && labels.Equal(s.refs[ref].labels, ls) {
			there[place{ref, t}] = struct{}{}
		}
	})
	return there, err
}

// have tells the newest sample of each series that enters.
func (s *session) have(ctx context.Context, f *columnar.Frame) ([]int64, error) {
	if s.known == nil {
		s.known = map[uint64]int64{}
		_, newest := s.copy.store.Span()
		late := time.Duration(s.copy.info().LateMs) * time.Millisecond
		err := s.each(ctx, newest-lookBack(late), math.MaxInt64, func(ls labels.Labels, t int64) {
			h := ls.Hash()
			if old, ok := s.known[h]; !ok || t > old {
				s.known[h] = t
			}
		})
		if err != nil {
			return nil, err
		}
	}
	out := make([]int64, len(f.New))
	for i, n := range f.New {
		out[i] = math.MinInt64
		if t, ok := s.known[n.Labels.Hash()]; ok {
			out[i] = t
		}
		s.refs[n.Ref].newest = out[i]
	}
	return out, nil
}

// each visits the samples of the copy in a stretch of time.
func (s *session) each(ctx context.Context, from, to int64, do func(labels.Labels, int64)) (err error) {
	q, err := s.copy.store.Querier(from, to)
	if err != nil {
		return fmt.Errorf("read the copy: %w", err)
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	all := labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".*")
	set := q.Select(ctx, false, &storage.SelectHints{Start: from, End: to}, all)
	var it chunkenc.Iterator
	for set.Next() {
		series := set.At()
		it = series.Iterator(it)
		for it.Next() != chunkenc.ValNone {
			do(series.Labels(), it.AtT())
		}
		if err := it.Err(); err != nil {
			return fmt.Errorf("read the copy: %w", err)
		}
	}
	if err := set.Err(); err != nil {
		return fmt.Errorf("read the copy: %w", err)
	}
	return nil
}
