package peer

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/atoll-mesh/atoll/query/global"
	"github.com/atoll-mesh/atoll/query/result"
	"github.com/atoll-mesh/atoll/wire/querypb"
)

const (
	mostNotes = 1000
	mostNote  = 4 << 10
)

// grid is the leaf's, or that of its tail.
func grid(l global.Leaf, tail bool) result.Grid {
	if tail {
		l = l.Tail()
	}
	if l.Start > l.End {
		return result.Grid{Start: l.Start, Step: l.Step}
	}
	return result.Grid{Start: l.Start, Step: l.Step, Count: int((l.End-l.Start)/l.Step) + 1}
}

// message has of the rows' labels at most so many bytes apart.
func (c *Codec) message(a *global.Answer, r *global.Request, apart int) (*querypb.Answer, error) {
	m := &querypb.Answer{Oldest: a.Oldest, Newest: a.Newest, Epoch: a.Epoch, Settled: a.Settled}
	if a.Promise != nil {
		if m.Promise = a.Promise.Number; r.Tell {
			m.Promised = promiseMessage(a.Promise)
		}
	}
	for i := range a.Leaves {
		leaf := &a.Leaves[i]
		rows, names, err := c.EncodeApart(nil, &result.Result{Grid: grid(r.Leaves[i], leaf.Tail), Series: leaf.Rows}, apart)
		if err != nil {
			return nil, fmt.Errorf("encode leaf %d: %w", i, err)
		}
		apart -= len(names)
		m.Leaves = append(m.Leaves, &querypb.LeafAnswer{Rows: rows, Labels: names, Notes: noteMessages(leaf.Notes), Mixed: leaf.Mixed, Read: leaf.Read, Tail: leaf.Tail})
	}
	for i := range a.Raw {
		raw := &a.Raw[i]
		series, err := chunkSeries(raw.Series)
		if err != nil {
			return nil, fmt.Errorf("encode selection %d: %w", i, err)
		}
		data, err := c.Encode(nil, &result.Result{Grid: result.Grid{Step: 1, Count: 1}, Chunks: series})
		if err != nil {
			return nil, fmt.Errorf("encode selection %d: %w", i, err)
		}
		m.Raw = append(m.Raw, &querypb.RawAnswer{Series: data, Notes: noteMessages(raw.Notes)})
	}
	return m, nil
}

func chunkSeries(list []global.RawSeries) ([]result.ChunkSeries, error) {
	out := make([]result.ChunkSeries, 0, len(list))
	for _, s := range list {
		one := result.ChunkSeries{Labels: s.Labels}
		for _, c := range s.Chunks {
			chunk, err := chunkenc.FromData(c.Encoding, c.Data)
			if err != nil {
				return nil, err
			}
			one.Chunks = append(one.Chunks, chunks.Meta{Chunk: chunk, MinTime: c.MinTime, MaxTime: c.MaxTime})
		}
		out = append(out, one)
	}
	return out, nil
}

// answer reads what an island said to r.
func (c *Codec) answer(m *querypb.Answer, r *global.Request) (*global.Answer, error) {
	if len(m.GetLeaves()) != len(r.Leaves) || len(m.GetRaw()) != len(r.Raw) {
		return nil, fmt.Errorf("%d leaves and %d selections: %d and %d were asked for", len(m.GetLeaves()), len(m.GetRaw()), len(r.Leaves), len(r.Raw))
	}
	a := &global.Answer{Oldest: m.GetOldest(), Newest: m.GetNewest(), Epoch: m.GetEpoch(), Settled: m.GetSettled()}
	for i, leaf := range m.GetLeaves() {
		res, err := c.decode(leaf.GetRows(), leaf.GetLabels(), r.Share)
		if err != nil {
			return nil, fmt.Errorf("leaf %d: %w", i, err)
		}
		if want := grid(r.Leaves[i], leaf.GetTail()); len(res.Series) > 0 && res.Grid != want {
			return nil, fmt.Errorf("leaf %d: a grid from %d by %d ms of %d steps: %d by %d ms of %d were asked for",
				i, res.Grid.Start, res.Grid.Step, res.Grid.Count, want.Start, want.Step, want.Count)
		}
		a.Leaves = append(a.Leaves, global.LeafAnswer{Rows: res.Series, Notes: notes(leaf.GetNotes()), Mixed: leaf.GetMixed(), Read: leaf.GetRead(), Tail: leaf.GetTail()})
		a.Stats.Series += int64(len(res.Series))
		for _, s := range res.Series {
			a.Stats.Samples += int64(len(s.Floats) + len(s.Histograms))
		}
	}
	for i, raw := range m.GetRaw() {
		res, err := c.decode(raw.GetSeries(), nil, r.Share)
		if err != nil {
			return nil, fmt.Errorf("selection %d: %w", i, err)
		}
		one := global.RawAnswer{Notes: notes(raw.GetNotes())}
		for _, s := range res.Chunks {
			series := global.RawSeries{Labels: s.Labels}
			for _, meta := range s.Chunks {
				series.Chunks = append(series.Chunks, global.Chunk{
					MinTime: meta.MinTime, MaxTime: meta.MaxTime, Encoding: meta.Chunk.Encoding(), Data: meta.Chunk.Bytes(),
				})
				a.Stats.Samples += int64(meta.Chunk.NumSamples())
			}
			one.Series = append(one.Series, series)
		}
		a.Stats.Series += int64(len(one.Series))
		a.Raw = append(a.Raw, one)
	}
	return a, nil
}

// decode takes the memory for what it makes from the question's.
func (c *Codec) decode(data, names []byte, share *global.Share) (res *result.Result, err error) {
	err = share.With(func(left int64) (int64, error) {
		res, err = c.DecodeApart(data, names, left)
		if errors.Is(err, result.ErrLimit) && left >= 0 {
			return 0, share.TooMuch()
		}
		return res.Size(), err
	})
	return res, err
}

func noteMessages(list []global.Note) []*querypb.Note {
	var out []*querypb.Note
	for _, n := range list[:min(len(list), mostNotes)] {
		out = append(out, &querypb.Note{Text: n.Text[:min(len(n.Text), mostNote)], Info: n.Info})
	}
	return out
}

func notes(list []*querypb.Note) []global.Note {
	var out []global.Note
	for _, n := range list[:min(len(list), mostNotes)] {
		text := n.GetText()
		out = append(out, global.Note{Text: text[:min(len(text), mostNote)], Info: n.GetInfo()})
	}
	return out
}

// Codec is how rows and samples travel, for clients and servers. It is safe for
// concurrent use.
type Codec struct {
	*result.Codec
	hedges   *hedges
	promises promises
}

// Register adds the metrics of second questions.
func (c *Codec) Register(reg prometheus.Registerer) { reg.MustRegister(c.hedges.total) }

// NewCodec bounds what is taken apart by result.DefaultLimits.
func NewCodec() (*Codec, error) {
	c, err := result.New(result.DefaultLimits())
	if err != nil {
		return nil, err
	}
	return &Codec{Codec: c, hedges: newHedges(), promises: promises{by: map[string]promised{}}}, nil
}
