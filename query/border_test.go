package query

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/atoll-mesh/atoll/query/global"
)

// facing is a border whose island can change.
type facing struct {
	*border
	file   string
	labels labels.Labels
	since  int64
	known  bool
}

func (f *facing) start() {
	f.border = newBorder(f.file, func() labels.Labels { return f.labels }, func() (int64, bool) { return f.since, f.known },
		slog.New(slog.DiscardHandler))
}

func newFacing(t *testing.T) *facing {
	f := &facing{file: filepath.Join(t.TempDir(), "border.json"), labels: labels.FromStrings("region", "eu"), since: hours(100) + 5, known: true}
	f.start()
	return f
}

func hours(n int64) int64 { return n * time.Hour.Milliseconds() }

// promise looks as others do.
func (f *facing) promise(t *testing.T) global.Promise {
	t.Helper()
	p, ok := f.look(true)
	if !ok || p.Number == 0 {
		t.Fatalf("%+v is not promised", p)
	}
	return p
}

// stays says that what is shown is still this, and is not promised any more.
func (f *facing) stays(t *testing.T, p global.Promise) {
	t.Helper()
	if now, promised := f.look(true); promised || !labels.Equal(now.External, p.External) || now.MinTime != p.MinTime {
		t.Errorf("%+v became %+v, promised %t", p, now, promised)
	}
}

// TestPromisesAreKept: whatever changes, what was promised holds until its time is
// over, also in the next process.
func TestPromisesAreKept(t *testing.T) {
	moved := labels.FromStrings("region", "us")
	for name, c := range map[string]struct {
		change func(*facing)
		want   global.Promise
	}{
		"labels":      {func(f *facing) { f.labels = moved }, global.Promise{External: moved, MinTime: hours(99)}},
		"old samples": {func(f *facing) { f.since = hours(50) }, global.Promise{External: labels.FromStrings("region", "eu"), MinTime: hours(49)}},
		"restart":     {func(f *facing) { f.labels, f.known = moved, false; f.start() }, global.Promise{External: moved, MinTime: hours(99)}},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFacing(t)
			p := f.promise(t)
			if p.MinTime != hours(99) {
				t.Errorf("from %d on", p.MinTime)
			}
			time.Sleep(time.Hour)
			if again := f.promise(t); again.Number != p.Number {
				t.Errorf("the same has number %d, then %d", p.Number, again.Number)
			}
			time.Sleep(global.PromiseTime / 2)
			c.change(f)
			for range 4 { // who asks for it meanwhile does not make it last longer
				f.stays(t, p)
				time.Sleep(global.PromiseTime/8 - 1)
			}
			if name == "restart" {
				f.stays(t, p)
				time.Sleep(global.PromiseTime / 2)
			}
			time.Sleep(4 * time.Nanosecond)
			next := f.promise(t)
			if !labels.Equal(next.External, c.want.External) || next.MinTime != c.want.MinTime || next.Number == p.Number {
				t.Errorf("%s: %+v became %+v", name, p, next)
			}
		})
	}
}

// TestPromisesThatWeaken: what was promised holds all the more where samples are
// gone, and what nobody was promised may change at once.
func TestPromisesThatWeaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFacing(t)
		f.labels = labels.FromStrings("region", "us")
		if p := f.promise(t); !labels.Equal(p.External, f.labels) {
			t.Errorf("%+v", p)
		}
		f.since = hours(200)
		if p := f.promise(t); p.MinTime != hours(199) {
			t.Errorf("%+v", p)
		}
		f.known = false // as without samples
		if p := f.promise(t); p.MinTime != hours(199) {
			t.Errorf("%+v", p)
		}
	})
}

// TestPromisesNeedAFile: what could not be remembered is not promised; what cannot
// be read does not keep an island from starting.
func TestPromisesNeedAFile(t *testing.T) {
	f := newFacing(t)
	if err := os.WriteFile(f.file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.start()
	f.promise(t)
	f.file = filepath.Join(f.file, "no directory")
	f.start()
	if p, promised := f.look(true); promised {
		t.Errorf("%+v is promised", p)
	}
}

// TestBeforeThePromise: to questions that end before what was promised this island
// answers as those see it who leave it out, whatever it has.
func TestBeforeThePromise(t *testing.T) {
	begin := time.Now().Add(-time.Hour).Truncate(time.Second)
	since := func() (int64, bool) { return begin.Add(3 * time.Hour).UnixMilli(), true } // its hour, an hour early, is after begin
	r := newRig(t, func(o *Options) { o.Since = func() (int64, bool) { return since() } })
	r.db.put(t, labels.FromStrings("__name__", "up"), promql.FPoint{T: begin.UnixMilli(), F: 1})
	ask := func(end time.Time) (rows int, promise *global.Promise) {
		t.Helper()
		a, err := r.Itself().Answer(t.Context(), &global.Request{
			Leaves:  []global.Leaf{{Expr: "up", Start: begin.UnixMilli(), End: end.UnixMilli(), Step: 1000}},
			Options: global.EngineOptions{Lookback: 300_000},
		})
		if err != nil {
			t.Fatal(err)
		}
		return len(a.Leaves[0].Rows), a.Promise
	}
	if rows, promise := ask(begin); rows != 0 || promise == nil || promise.MinTime <= begin.UnixMilli() {
		t.Errorf("%d rows, promise %+v", rows, promise)
	}
	since = func() (int64, bool) { return begin.UnixMilli(), true } // as when an old block is put there
	if rows, promise := ask(begin); rows != 0 || promise != nil {
		t.Errorf("%d rows, promise %+v", rows, promise)
	}
	if rows, _ := ask(begin.Add(3 * time.Hour)); rows != 1 {
		t.Errorf("%d rows of a question that is not only about what comes before", rows)
	}
}
