package global

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// spoil damages an answer; false if there is nothing in it to damage.
type spoil struct {
	name string
	do   func(*Request, *Answer) bool
}

// rows damages one row of an answer.
func rows(do func(*promql.Series) bool) func(*Request, *Answer) bool {
	return func(_ *Request, a *Answer) bool {
		for i := range a.Leaves {
			for j := range a.Leaves[i].Rows {
				if do(&a.Leaves[i].Rows[j]) {
					return true
				}
			}
		}
		return false
	}
}

// raws damages one raw series.
func raws(do func(*RawSeries) bool) func(*Request, *Answer) bool {
	return func(_ *Request, a *Answer) bool {
		for i := range a.Raw {
			for j := range a.Raw[i].Series {
				if do(&a.Raw[i].Series[j]) {
					return true
				}
			}
		}
		return false
	}
}

// spoils are what a broken or lying island may send.
var spoils = []spoil{
	{"points out of order", rows(func(s *promql.Series) bool {
		slices.Reverse(s.Floats)
		return len(s.Floats) > 1
	})},
	{"a point twice", rows(func(s *promql.Series) bool {
		if len(s.Floats) == 0 {
			return false
		}
		s.Floats = append(s.Floats, s.Floats[len(s.Floats)-1])
		return true
	})},
	{"a point beside the grid", rows(func(s *promql.Series) bool {
		if len(s.Floats) == 0 {
			return false
		}
		s.Floats[len(s.Floats)-1].T += 1 << 40
		return true
	})},
	{"a staleness marker", rows(func(s *promql.Series) bool {
		if len(s.Floats) == 0 {
			return false
		}
		s.Floats[0].F = math.Float64frombits(value.StaleNaN)
		return true
	})},
	{"no points", rows(func(s *promql.Series) bool {
		s.Floats, s.Histograms = nil, nil
		return true
	})},
	{"another's label", rows(func(s *promql.Series) bool {
		s.Metric = with(s.Metric, "isle-9")
		return true
	})},
	{"an empty label", rows(func(s *promql.Series) bool {
		s.Metric = emptyLabel(s.Metric)
		return true
	})},
	{"a histogram that is none", rows(func(s *promql.Series) bool {
		if len(s.Floats) == 0 {
			return false
		}
		s.Histograms = []promql.HPoint{{T: s.Floats[0].T, H: &histogram.FloatHistogram{PositiveSpans: []histogram.Span{{Length: 1 << 30}}}}}
		s.Floats = nil
		return true
	})},
	{"nil histogram", rows(func(s *promql.Series) bool {
		if len(s.Histograms) == 0 {
			return false
		}
		s.Histograms[0].H = nil
		return true
	})},
	{"a row twice", func(_ *Request, a *Answer) bool {
		for i := range a.Leaves {
			if l := &a.Leaves[i]; len(l.Rows) > 0 {
				l.Rows = append(l.Rows, l.Rows[0])
				return true
			}
		}
		return false
	}},
	{"one leaf too many", func(_ *Request, a *Answer) bool {
		a.Leaves = append(a.Leaves, LeafAnswer{})
		return true
	}},
	{"too much", func(r *Request, a *Answer) bool {
		if len(r.Leaves) == 0 {
			return false
		}
		flood := make([]promql.Series, 3000)
		for i := range flood {
			flood[i] = promql.Series{Metric: labels.FromStrings("n", fmt.Sprint(i)), Floats: []promql.FPoint{{T: r.Leaves[0].Start, F: math.NaN()}}}
		}
		a.Leaves[0].Rows = flood
		return true
	}},
	{"noise for chunks", raws(func(s *RawSeries) bool {
		for i := range s.Chunks[0].Data {
			s.Chunks[0].Data[i] = byte(i*i + 255)
		}
		return true
	})},
	{"a chunk cut short", raws(func(s *RawSeries) bool {
		s.Chunks[0].Data = s.Chunks[0].Data[:3]
		return true
	})},
	{"a chunk of one byte", raws(func(s *RawSeries) bool {
		s.Chunks[0].Data = s.Chunks[0].Data[:1]
		return true
	})},
	{"an unknown encoding", raws(func(s *RawSeries) bool {
		s.Chunks[0].Encoding = chunkenc.Encoding(99)
		return true
	})},
	{"chunks out of order", raws(func(s *RawSeries) bool {
		s.Chunks = append(s.Chunks, s.Chunks[0])
		return true
	})},
	{"series that were not asked for", raws(func(s *RawSeries) bool {
		s.Labels = labels.NewBuilder(s.Labels).Set(labels.MetricName, "other").Labels()
		return true
	})},
}

// emptyLabel returns ls with a label of no value, which no builder would make.
func emptyLabel(ls labels.Labels) labels.Labels {
	var b labels.ScratchBuilder
	ls.Range(func(l labels.Label) { b.Add(l.Name, l.Value) })
	b.Add("zzz", "")
	return b.Labels()
}

// flaky is an island with one fault for one query.
type flaky struct {
	Island
	fault   string      // "", or the name of a fault or spoil
	hurt    atomic.Bool // it did harm
	release chan struct{}
}

func (f *flaky) Answer(ctx context.Context, r *Request) (*Answer, error) {
	switch f.fault {
	case "":
		return f.Island.Answer(ctx, r)
	case "unreachable":
		f.hurt.Store(true)
		return nil, errors.New("no route to it")
	case "slow":
		f.hurt.Store(true)
		<-ctx.Done()
		return nil, ctx.Err()
	case "deaf": // does not even end with its context
		f.hurt.Store(true)
		<-f.release
		return nil, errors.New("too late")
	case "panics":
		f.hurt.Store(true)
		panic("in a decoder")
	case "says nothing":
		f.hurt.Store(true)
		return nil, nil
	case "claims an error", "claims an error and hides":
		if len(r.Leaves) > 0 {
			f.hurt.Store(true)
			return nil, fault(FaultQuery, "the question is wrong")
		}
		if f.fault == "claims an error and hides" {
			f.hurt.Store(true)
			return nil, errors.New("no series for you")
		}
	case "claims too much":
		f.hurt.Store(true)
		return nil, fault(FaultLimit, "it is too large for you")
	case "refuses":
		f.hurt.Store(true)
		return nil, fault(FaultUnsupported, "of another kind")
	}
	a, err := f.Island.Answer(ctx, r)
	if err != nil {
		return a, err
	}
	for _, s := range spoils {
		if s.name == f.fault {
			if s.do(r, a) {
				f.hurt.Store(true)
			}
		}
	}
	return a, nil
}

// lacking is a store without the series of some islands.
type lacking struct {
	storage.Storage
	missing []string
}

func (l lacking) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := l.Storage.Querier(mint, maxt)
	return lackingQuerier{q, l.missing}, err
}

type lackingQuerier struct {
	storage.Querier
	missing []string
}

func (l lackingQuerier) Select(ctx context.Context, sorted bool, h *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	ms = append(slices.Clone(ms), labels.MustNewMatcher(labels.MatchNotRegexp, label, strings.Join(l.missing, "|")))
	return l.Querier.Select(ctx, sorted, h, ms...)
}

// spoilt is how many islands sent what must be refused.
func spoilt(all []*flaky) (n float64) {
	for _, one := range all {
		if one.hurt.Load() && slices.ContainsFunc(spoils, func(s spoil) bool { return s.name == one.fault }) {
			n++
		}
	}
	return n
}

func tooLarge(all []*flaky) (n int) {
	for _, one := range all {
		if one.fault == "claims too much" && one.hurt.Load() {
			n++
		}
	}
	return n
}

// TestFaults asks random questions of islands of which some fail in any way that
// can be told: the answer is that of the data of the others, and says so.
func TestFaults(t *testing.T) {
	fleets, each := 3, 120
	if long() {
		fleets, each = 30, 1000
	}
	counts := map[string]int{}
	faults := []string{"unreachable", "slow", "deaf", "panics", "says nothing", "refuses", "claims an error", "claims an error and hides", "claims too much"}
	for _, s := range spoils {
		faults = append(faults, s.name)
	}
	for seed := range fleets {
		r := rand.New(rand.NewPCG(uint64(seed), 11))
		f := newFleet(t, r, 4, false, func(o *Options) {
			o.Deadline = 5 * time.Second
			o.Limits = Limits{Series: 2500}
		})
		for i := range each {
			q := randomQuestion(r)
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				defer close(release)
				var flakies []*flaky
				var islands []Island
				for _, island := range f.islands {
					one := &flaky{Island: island, release: release}
					if r.IntN(3) == 0 {
						one.fault = pick(r, faults...)
					}
					flakies = append(flakies, one)
					islands = append(islands, one)
				}
				e := *f.engine
				e.options.Islands = func(context.Context) []Island { return islands }
				deny := r.IntN(4) == 0
				began, refused := time.Now(), testutil.ToFloat64(e.metrics.refused)
				got, receipt := q.ask(WithAsk(t.Context(), Ask{Deny: deny}), &e, nil)
				if n := spoilt(flakies); testutil.ToFloat64(e.metrics.refused)-refused < n && got.Err == nil {
					t.Errorf("seed %d/%d: fewer than %v answers are counted as refused", seed, i, n)
				}
				if took := time.Since(began); took > time.Duration(max(receipt.Rounds, 1))*5*time.Second {
					t.Errorf("seed %d/%d: took %v in %d rounds of at most 5s", seed, i, took, receipt.Rounds)
				}
				missing := receipt.missing()
				if got.Err != nil && got.Err.Error() == "it is too large for you" {
					counts["too large, say two"]++
					if tooLarge(flakies) < 2 {
						t.Errorf("seed %d/%d: one island alone ended the question: %s", seed, i, q)
					}
					return
				}
				for _, one := range flakies {
					counts["fault "+one.fault]++
					if name := one.Facts().Name; one.hurt.Load() && !slices.Contains(missing, name) && got.Err == nil {
						t.Errorf("seed %d/%d: %s %s and is not among the missing %q: %s", seed, i, name, one.fault, missing, q)
					} else if slices.Contains(missing, name) && !one.hurt.Load() {
						t.Errorf("seed %d/%d: %s is missing without a fault: %+v", seed, i, name, receipt)
					}
				}
				if len(missing) == 0 {
					counts["complete"]++
				} else {
					counts["partial"]++
				}
				var partial ErrPartial
				if deny && len(missing) > 0 {
					if !errors.As(got.Err, &partial) && got.Err == nil {
						t.Errorf("seed %d/%d: partial answers are denied, error %v", seed, i, got.Err)
					}
					return
				}
				for _, name := range missing {
					if !slices.ContainsFunc(texts(got.Warnings), func(s string) bool { return strings.Contains(s, fmt.Sprintf("island %q is missing", name)) }) {
						t.Errorf("seed %d/%d: no warning about %s: %q", seed, i, name, texts(got.Warnings))
					}
				}
				part := &fleet{ref: f.ref, merged: lacking{f.merged, missing}, almost: lacking{f.almost, missing}}
				want, _ := q.ask(t.Context(), part.ref, part.merged)
				d := differ(want, got)
				if d == "" {
					return
				}
				if why := part.legal(t, q, want, got); why != "" {
					counts["legal: "+why]++
					return
				}
				t.Errorf("seed %d/%d without %q: %s\n%s", seed, i, missing, q, d)
			})
		}
	}
	t.Log(counts)
	if counts["partial"] < 50 || counts["complete"] < 10 {
		t.Error("too few schedules of a kind")
	}
}
