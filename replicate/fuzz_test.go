package replicate

import (
	"context"
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/flow/columnar"
	"github.com/atoll-mesh/atoll/wire/replicatepb"
)

// sinkStore takes everything and keeps nothing.
type sinkStore struct {
	storage.SampleAndChunkQueryable
	series uint64
}

func (s *sinkStore) Span() (oldest, newest int64)                  { return 1, 2 }
func (s *sinkStore) NumSeries() uint64                             { return s.series }
func (s *sinkStore) Ready() <-chan struct{}                        { return nil }
func (s *sinkStore) Run(context.Context) error                     { return nil }
func (s *sinkStore) AppenderV2(context.Context) storage.AppenderV2 { return sinkAppender{s} }
func (s *sinkStore) Querier(int64, int64) (storage.Querier, error) {
	return storage.NoopQuerier(), nil
}

type sinkAppender struct{ s *sinkStore }

func (a sinkAppender) Append(ref storage.SeriesRef, ls labels.Labels, _, _ int64, _ float64, _ *histogram.Histogram, _ *histogram.FloatHistogram, _ storage.AOptions) (storage.SeriesRef, error) {
	if ls.IsEmpty() {
		panic("a sample without a series")
	}
	if ref == 0 {
		a.s.series++
		ref = storage.SeriesRef(a.s.series)
	}
	return ref, nil
}
func (sinkAppender) Commit() error   { return nil }
func (sinkAppender) Rollback() error { return nil }

// FuzzFrames hands the receiver messages that anyone may have made: it must answer
// each with an acknowledgement or a refusal, and stay within its limits.
func FuzzFrames(f *testing.F) {
	f.Add(conversation(f))
	f.Add([]byte{0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 16
		store := &sinkStore{}
		s, err := newSession(&kept{store: store, keep: 1000}, most, newMetrics(nil).copy(About{}))
		if err != nil {
			t.Fatal(err)
		}
		for len(data) > 2 {
			n := int(binary.LittleEndian.Uint16(data))
			data = data[2:]
			n = min(n, len(data))
			var push replicatepb.Push
			if proto.Unmarshal(data[:n], &push) == nil {
				reply, err := s.take(context.Background(), &push)
				if (reply.GetAck() != nil) == (err != nil) {
					t.Fatalf("reply %v, error %v", reply, err)
				}
				if err != nil && s.broken {
					t.Fatalf("the store took everything, and the state is broken: %v", err)
				}
			}
			data = data[n:]
		}
		if len(s.refs) > most || store.series > most {
			t.Fatalf("%d series in the dictionary, %d in the store, want at most %d", len(s.refs), store.series, most)
		}
	})
}

// conversation is a stream's messages, each after its length in two bytes.
func conversation(t testing.TB) (data []byte) {
	enc := newEncoder(t)
	var refs []columnar.Ref
	for _, name := range []string{"a", "b", "c"} {
		ref, err := enc.Series(labels.FromStrings("__name__", name, "job", "x"))
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, ref)
	}
	catalog, err := enc.Encode(nil, columnar.Batch{Metadata: []columnar.Metadata{{Ref: refs[0]}, {Ref: refs[1]}}})
	if err != nil {
		t.Fatal(err)
	}
	pushes := []*replicatepb.Push{{Frame: catalog, Catalog: true}}
	for i := range int64(3) {
		pushes = append(pushes, &replicatepb.Push{Overlap: i > 0, Frame: frameOf(t, enc,
			columnar.Sample{Ref: refs[0], T: i * 1000, V: float64(i)}, columnar.Sample{Ref: refs[2], T: i * 1000, V: 0.1})})
		enc.Drop(refs[1])
	}
	for _, p := range pushes {
		text, err := proto.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		data = append(binary.LittleEndian.AppendUint16(data, uint16(len(text))), text...)
	}
	return data
}

// FuzzHave reads what a receiver says of its series.
func FuzzHave(f *testing.F) {
	f.Add(appendHave(nil, []int64{5, math.MinInt64, math.MaxInt64, -7, 0}), uint8(5))
	f.Add([]byte{0x80}, uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, n uint8) {
		newest, err := readHave(data, int(n))
		if err != nil {
			return
		}
		again, err := readHave(appendHave(nil, newest), int(n))
		if err != nil || !slices.Equal(newest, again) {
			t.Fatalf("%v became %v, %v", newest, again, err)
		}
	})
}

// FuzzFacts reads documents about copies.
func FuzzFacts(f *testing.F) {
	f.Add([]byte("- origin: a@1\n  name: a\n  stream: buddy\n  match: ['{job=\"x\"}']\n  opened: 2026-01-02T03:04:05Z\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		facts, err := DecodeFacts(text)
		if err != nil {
			return
		}
		for _, one := range facts {
			if len(one.Selectors()) != len(one.Match) {
				t.Fatalf("%d selectors for %q", len(one.Selectors()), one.Match)
			}
		}
		if _, err := EncodeFacts(facts); err != nil {
			t.Fatal(err)
		}
	})
}
