package receive

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/flow"
)

// ledger writes down what is committed.
type ledger struct {
	entries []string
	raw     int // of them taken by the bytes of their labels
	// known are series by those bytes; nil if it does not take them so.
	known map[string]labels.Labels
}

func (l *ledger) AppenderV2(context.Context) storage.AppenderV2 {
	if l.known == nil {
		return &ledgerAppender{l: l}
	}
	return &rawLedgerAppender{ledgerAppender{l: l}}
}

type ledgerAppender struct {
	l       *ledger
	entries []string
}

func (a *ledgerAppender) Append(_ storage.SeriesRef, ls labels.Labels, _, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, _ storage.AOptions) (storage.SeriesRef, error) {
	a.entries = append(a.entries, fmt.Sprintf("%s %d %x %v %v", ls, t, math.Float64bits(v), h, fh))
	return 0, nil
}

func (a *ledgerAppender) AppendExemplars(_ storage.SeriesRef, ls labels.Labels, es []exemplar.Exemplar) (storage.SeriesRef, error) {
	a.entries = append(a.entries, fmt.Sprintf("%s %v", ls, es))
	return 0, nil
}

func (a *ledgerAppender) Commit() error {
	a.l.entries = append(a.l.entries, a.entries...)
	return nil
}

func (a *ledgerAppender) Rollback() error { return nil }

type rawLedgerAppender struct{ ledgerAppender }

func (a *rawLedgerAppender) AppendRaw(samples []flow.RawSample) {
	for i := range samples {
		s := &samples[i]
		ls, ok := a.l.known[string(s.Labels)]
		if s.Taken = ok; ok {
			a.l.raw++
			_, _ = a.Append(0, ls, 0, s.T, s.V, nil, nil, storage.AOptions{})
		}
	}
}

func (a *rawLedgerAppender) LearnRaw(raw []byte, ls labels.Labels) bool {
	if ls.Hash()%3 == 0 {
		return false
	}
	a.l.known[string(raw)] = ls.Copy()
	return true
}

// An appender that takes series by the bytes of their labels is given the same as one
// that does not, of requests of all kinds, whole and damaged.
func TestRawIsGivenTheSame(t *testing.T) {
	plain, raw := &ledger{}, &ledger{known: map[string]labels.Labels{}}
	theirs, ours := NewRemoteWrite(options(plain)), NewRemoteWrite(options(raw))
	g, rng := newGenerator(3, time.Now().Add(-4*time.Hour)), rand.New(rand.NewPCG(3, 3))
	refused := 0
	for i := range 2000 {
		r := toV1(g.request())
		if i%2 == 0 { // one sample each, as of most senders
			for n := range r.Timeseries {
				ts := &r.Timeseries[n]
				ts.Histograms, ts.Exemplars = nil, nil
				ts.Samples = []prompb.Sample{{Timestamp: g.now, Value: float64(n)}}
			}
		}
		p, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		switch n := rng.IntN(20); {
		case len(p) > 0 && n == 0:
			p = p[:rng.IntN(len(p))]
		case len(p) > 0 && n == 1:
			p[rng.IntN(len(p))] ^= byte(1 << rng.IntN(8))
		}
		body := snappy.Encode(nil, p)
		want, got := post(theirs, typeV1, body), post(ours, typeV1, body)
		if got.Code != want.Code || got.Body.String() != want.Body.String() {
			t.Fatalf("request %d: status %d, want %d\n%s\nwant: %s", i, got.Code, want.Code, got.Body, want.Body)
		}
		if want.Code != http.StatusNoContent {
			refused++
		}
	}
	slices.Sort(plain.entries)
	slices.Sort(raw.entries)
	if diff := cmp.Diff(plain.entries, raw.entries); diff != "" {
		t.Fatalf("what is appended differs (+ with raw series):\n%.4000s", diff)
	}
	if raw.raw < len(raw.entries)/10 || refused == 0 {
		t.Fatalf("%d of %d samples were taken raw, %d requests refused: it was not mixed", raw.raw, len(raw.entries), refused)
	}
}

// Limits count what was taken as well.
func TestRawLimits(t *testing.T) {
	raw := &ledger{known: map[string]labels.Labels{}}
	o := options(raw)
	o.Config.RemoteWrite.MaxSeries = 10
	h := NewRemoteWrite(o)
	names := strings.Fields("a b c d e f g h i j k l")
	now := time.Now().UnixMilli()
	mustPost(t, h, typeV1, encode(t, v1(now, names[:10]...)), http.StatusNoContent)
	mustPost(t, h, typeV1, encode(t, v1(now+1, names[:10]...)), http.StatusNoContent)
	if len(raw.entries) != 20 || raw.raw == 0 {
		t.Fatalf("%d samples, %d of them raw; want 20, and some", len(raw.entries), raw.raw)
	}
	mustPost(t, h, typeV1, encode(t, v1(now+2, names[:11]...)), http.StatusRequestEntityTooLarge)
	if len(raw.entries) != 20 {
		t.Errorf("%d samples after a request of too many series, want 20 as before", len(raw.entries))
	}
}
