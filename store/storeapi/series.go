package storeapi

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/wire/thanospb"
)

// frameBytes is what one message holds at most, give or take a chunk; gRPC
// clients take 4 MiB by default.
const frameBytes = 1 << 20

// Series implements thanos.Store. The answer is gathered before it is sent: with
// the external labels among them, series sort otherwise than in the store.
func (s *Server) Series(r *thanospb.SeriesRequest, stream grpc.ServerStreamingServer[thanospb.SeriesResponse]) error {
	a, err := s.ask(r.GetMatchers(), r.GetWithoutReplicaLabels())
	if err != nil || a == nil {
		return err
	}
	q, err := s.o.Store.ChunkQuerier(r.GetMinTime(), r.GetMaxTime())
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	defer q.Close()
	hints := &storage.SelectHints{Start: r.GetMinTime(), End: r.GetMaxTime(), Limit: int(r.GetLimit()), DisableTrimming: true}
	if r.GetSkipChunks() {
		hints.Func = "series"
	}
	g := gathering{a: a, skipChunks: r.GetSkipChunks(), limit: r.GetLimit()}
	missing, err := g.gather(stream.Context(), q.Select(stream.Context(), true, hints, a.matchers...))
	if err != nil {
		return err
	}
	if len(missing) > 0 && strict(r) {
		return status.Error(codes.Aborted, strings.Join(missing, "; "))
	}
	slices.SortStableFunc(g.out, func(x, y entry) int { return labels.Compare(x.key, y.key) })
	out := sender{stream: stream, batch: int(r.GetResponseBatchSize())}
	for _, e := range g.out {
		if err := out.series(e.Series); err != nil {
			return err
		}
	}
	if err := out.flush(); err != nil {
		return err
	}
	s.m.series.Add(float64(len(g.out)))
	s.m.bytes.Add(float64(g.bytes))
	for _, w := range missing {
		if err := stream.Send(&thanospb.SeriesResponse{Result: &thanospb.SeriesResponse_Warning{Warning: w}}); err != nil {
			return err
		}
	}
	return nil
}

type partial interface {
	GetPartialResponseDisabled() bool
	GetPartialResponseStrategy() thanospb.PartialResponseStrategy
}

// strict reports whether the caller wants all or nothing.
func strict(r partial) bool {
	return r.GetPartialResponseDisabled() || r.GetPartialResponseStrategy() == thanospb.PartialResponseStrategy_ABORT
}

type entry struct {
	key labels.Labels
	*thanospb.Series
}

// gathering is an answer in the making.
type gathering struct {
	a          *asked
	skipChunks bool
	limit      int64
	out        []entry
	bytes      int64
}

// gather reads all series. What could not be read is missing; an error is a bound
// that was passed.
func (g *gathering) gather(ctx context.Context, set storage.ChunkSeriesSet) (missing []string, err error) {
	cfg := g.a.cfg
	it := chunks.Iterator(nil)
	for set.Next() {
		if err := ctx.Err(); err != nil {
			return nil, status.FromContextError(err).Err()
		}
		if g.limit > 0 && int64(len(g.out)) >= g.limit {
			break
		}
		if len(g.out) >= cfg.MaxSeries {
			return nil, status.Errorf(codes.ResourceExhausted, "more than %d series match; ask for fewer, or raise store.thanos.max_series", cfg.MaxSeries)
		}
		at := set.At()
		key, out := g.a.labels(at.Labels())
		one := &thanospb.Series{Labels: out}
		g.bytes += int64(key.ByteSize())
		if !g.skipChunks {
			it = at.Iterator(it)
			if err := g.chunks(one, it); err != nil {
				missing = append(missing, fmt.Sprintf("%s: %v", key, err))
			}
		}
		if g.bytes > int64(cfg.MaxBytes) {
			return nil, status.Errorf(codes.ResourceExhausted, "the answer has more than %s; ask for less, or raise store.thanos.max_bytes", cfg.MaxBytes.Short())
		}
		if g.skipChunks || len(one.Chunks) > 0 {
			g.out = append(g.out, entry{key, one})
		}
	}
	if err := set.Err(); err != nil {
		missing = append(missing, err.Error())
	}
	for _, w := range set.Warnings() {
		missing = append(missing, w.Error())
	}
	return missing, nil
}

// encodings are the chunks that Thanos knows.
var encodings = map[chunkenc.Encoding]thanospb.Chunk_Encoding{
	chunkenc.EncXOR:            thanospb.Chunk_XOR,
	chunkenc.EncHistogram:      thanospb.Chunk_HISTOGRAM,
	chunkenc.EncFloatHistogram: thanospb.Chunk_FLOAT_HISTOGRAM,
}

func (g *gathering) chunks(one *thanospb.Series, it chunks.Iterator) error {
	for it.Next() {
		m := it.At()
		known, ok := encodings[m.Chunk.Encoding()]
		if !ok {
			return fmt.Errorf("a chunk has the encoding %s, which Thanos does not know", m.Chunk.Encoding())
		}
		data := slices.Clone(m.Chunk.Bytes())
		one.Chunks = append(one.Chunks, &thanospb.AggrChunk{
			MinTime: m.MinTime, MaxTime: m.MaxTime,
			Raw: &thanospb.Chunk{Type: known, Data: data, Hash: xxhash.Sum64(data)},
		})
		if g.bytes += int64(len(data)) + chunkOverhead; g.bytes > int64(g.a.cfg.MaxBytes) {
			return nil // the caller refuses it
		}
	}
	return it.Err()
}

// chunkOverhead is what a chunk takes beside its data, in memory.
const chunkOverhead = 128

// sender puts series into messages: by itself or as many as the caller asked for,
// and those that are larger than a message in several.
type sender struct {
	stream grpc.ServerStreamingServer[thanospb.SeriesResponse]
	batch  int
	held   []*thanospb.Series
	size   int
}

func (s *sender) series(one *thanospb.Series) error {
	for first := true; first || len(one.Chunks) > 0; first = false {
		n, size := 0, 64*len(one.Labels)
		for n < len(one.Chunks) && (n == 0 || size < frameBytes) {
			size += len(one.Chunks[n].Raw.Data)
			n++
		}
		part := &thanospb.Series{Labels: one.Labels, Chunks: one.Chunks[:n]}
		one.Chunks = one.Chunks[n:]
		if s.size+size > frameBytes {
			if err := s.flush(); err != nil {
				return err
			}
		}
		s.held, s.size = append(s.held, part), s.size+size
		if len(s.held) >= max(s.batch, 1) {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *sender) flush() error {
	if len(s.held) == 0 {
		return nil
	}
	r := &thanospb.SeriesResponse{Result: &thanospb.SeriesResponse_Series{Series: s.held[0]}}
	if s.batch > 1 {
		r.Result = &thanospb.SeriesResponse_Batch{Batch: &thanospb.SeriesBatch{Series: s.held}}
	}
	s.held, s.size = nil, 0
	return s.stream.Send(r)
}
