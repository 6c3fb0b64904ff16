package global

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// replying is a catalog that answers after a while, or errs.
type replying struct {
	Catalog
	after time.Duration
	err   error
	asked int
}

func (r *replying) Answer(ctx context.Context, _ *Request) (*Answer, error) {
	r.asked++
	select {
	case <-time.After(r.after):
		return &Answer{Newest: r.after.Milliseconds(), Epoch: 7}, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *replying) Series(ctx context.Context, _ *SeriesRequest) ([]labels.Labels, []Note, error) {
	_, err := r.Answer(ctx, nil)
	return nil, nil, err
}

func selectors(t *testing.T, texts ...string) (all [][]*labels.Matcher) {
	t.Helper()
	for _, text := range texts {
		ms, err := parser.NewParser(parser.Options{}).ParseMetricSelector(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ms)
	}
	return all
}

// TestWithCopies: the origin's own word first, then one copy's, in time.
func TestWithCopies(t *testing.T) {
	broken := errors.New("no route to it")
	for name, c := range map[string]struct {
		origin, first, second replying
		match                 []string // of first
		original              bool
		from                  string
		took                  time.Duration
		err                   string
		asked                 [2]int
	}{
		"origin":        {origin: replying{after: time.Second}, took: time.Second},
		"slow origin":   {origin: replying{after: 8 * time.Second}, first: replying{after: time.Second}, took: 8 * time.Second, asked: [2]int{1, 0}},
		"silent origin": {origin: replying{after: time.Hour}, first: replying{after: time.Second}, from: "first", took: 9 * time.Second, asked: [2]int{1, 0}},
		"dead origin":   {origin: replying{err: broken}, first: replying{after: time.Second}, from: "first", took: time.Second, asked: [2]int{1, 0}},
		"dead holder":   {origin: replying{err: broken}, first: replying{err: broken}, second: replying{after: time.Second}, from: "second", took: time.Second, asked: [2]int{1, 1}},
		"all dead":      {origin: replying{err: broken}, first: replying{err: broken}, second: replying{err: broken}, err: "its copy at second: no route", asked: [2]int{1, 1}},
		"silent all":    {origin: replying{after: time.Hour}, first: replying{after: time.Hour}, second: replying{after: time.Hour}, err: "deadline", took: 10 * time.Second, asked: [2]int{1, 1}},
		"bad question":  {origin: replying{err: fault(FaultQuery, "many-to-many")}, err: "many-to-many"},
		"original":      {origin: replying{err: broken}, original: true, err: "no route"},
		"not covered":   {origin: replying{err: broken}, match: []string{`{job="db"}`}, from: "second", asked: [2]int{0, 1}},
		"covered":       {origin: replying{err: broken}, match: []string{`{job=~"db|api"}`}, from: "first", asked: [2]int{1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				i := WithCopies(&c.origin, []Copy{{Holder: "first", Catalog: &c.first, Match: selectors(t, c.match...)}, {Holder: "second", Catalog: &c.second}})
				began := time.Now()
				a, err := i.Answer(ctx, &Request{Original: c.original, Leaves: []Leaf{{Expr: `sum(rate(requests{job="api", code="200"}[5m]))`}}, Raw: []Raw{{Matchers: selectors(t, `up{job="api"}`)[0]}}})
				if took := time.Since(began); took != c.took {
					t.Errorf("took %s, want %s", took, c.took)
				}
				if c.err != "" {
					if err == nil || !strings.Contains(err.Error(), c.err) {
						t.Errorf("error %v, want %q", err, c.err)
					}
				} else if err != nil || a.From != c.from || (a.From != "") != (a.Why != "") || (a.From == "") != (a.Epoch == 7) {
					t.Errorf("answer %+v, %v", a, err)
				}
				cancel()
				synctest.Wait()
				if c.first.asked != c.asked[0] || c.second.asked != c.asked[1] {
					t.Errorf("copies were asked %d and %d times, want %v", c.first.asked, c.second.asked, c.asked)
				}
			})
		})
	}
}

// TestCoverage: a copy of chosen series answers only about those.
func TestCoverage(t *testing.T) {
	for _, c := range []struct {
		match []string
		asked string
		want  bool
	}{
		{nil, `up`, true},
		{[]string{`{job="api"}`}, `up{job="api"}`, true},
		{[]string{`{job="api"}`}, `up`, false},
		{[]string{`{job="api"}`}, `up{job=~"api|db"}`, false},
		{[]string{`{job=~"api|db"}`}, `up{job=~"api|db"}`, true},
		{[]string{`{job=~"api|db"}`}, `up{job="db"}`, true},
		{[]string{`{job="api"}`, `{job="db",code!="200"}`}, `up{job="db"}`, false},
		{[]string{`{job="api"}`, `{job="db",code!="200"}`}, `up{job="db",code="500"}`, true},
		{[]string{`{__name__=~"overview:.*"}`}, `overview:requests`, true},
		{[]string{`{code!="200"}`}, `up{job="db"}`, false},
	} {
		one := Copy{Match: selectors(t, c.match...)}
		if got := one.has(selectors(t, c.asked)); got != c.want {
			t.Errorf("copy of %q has %s: %v, want %v", c.match, c.asked, got, c.want)
		}
	}
}

// TestCopyInReceipt: an answer out of a copy says so, and a denied one is missing.
func TestCopyInReceipt(t *testing.T) {
	newest := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli()
	r := &Receipt{Islands: []IslandReceipt{{Name: "fra", State: StateAnswered, From: "iad", Why: "it is slow", Newest: newest}}}
	as := (&session{}).annotate(r, nil)
	want := `island "fra" did not answer: it is slow; island "iad" answered for it from a copy whose newest sample is of 2026-01-02T03:04:05Z`
	if len(as) != 1 || as.AsErrors()[0].Error() != want {
		t.Errorf("annotations %v, want %s", as, want)
	}
	d := WithCopies(Departed(Facts{Name: "fra"}, "it left the network"), []Copy{{Holder: "iad", Catalog: &replying{}}})
	ctx := WithAsk(t.Context(), Ask{Deny: true})
	if _, _, err := d.Series(ctx, &SeriesRequest{}); err == nil || !strings.Contains(err.Error(), "left") {
		t.Errorf("denied: %v", err)
	}
	if _, said, err := d.Series(t.Context(), &SeriesRequest{}); err != nil || len(said) != 1 || !strings.Contains(said[0].Text, "iad") {
		t.Errorf("allowed: %v, %v", said, err)
	}
}
