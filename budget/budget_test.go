package budget

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fixture struct {
	*Budget
	reg    *prometheus.Registry
	health *health.List
	free   atomic.Uint64
}

func newBudget(t testing.TB, c Config, numSeries func() uint64) *fixture {
	t.Helper()
	f := &fixture{reg: prometheus.NewPedanticRegistry()}
	f.health = health.New(f.reg)
	b, err := New(Options{Config: c, Registerer: f.reg, Health: f.health, Dir: t.TempDir(), NumSeries: numSeries})
	if err != nil {
		t.Fatal(err)
	}
	f.Budget = b
	return f
}

// fakeDisk replaces the file system by two numbers, the first of which can change.
func (f *fixture) fakeDisk(free, total uint64) {
	f.free.Store(free)
	f.space = func(string) (uint64, uint64, error) { return f.free.Load(), total, nil }
}

func (f *fixture) warning(code string) string {
	for _, a := range f.health.Active() {
		if a.Code == code {
			return a.Text
		}
	}
	return ""
}

// metric sums a family; kv are label pairs that must match.
func (f *fixture) metric(t testing.TB, name string, kv ...string) (sum float64) {
	t.Helper()
	families, err := f.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, fam := range families {
		for _, m := range fam.GetMetric() {
			match := fam.GetName() == name
			for _, l := range m.GetLabel() {
				match = match && (len(kv) == 0 || l.GetName() == kv[0] && l.GetValue() == kv[1])
			}
			if match {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func openTSDB(t testing.TB) *tsdb.DB {
	t.Helper()
	o := tsdb.DefaultOptions()
	o.EnableExemplarStorage, o.MaxExemplars = true, 10
	db, err := tsdb.Open(t.TempDir(), nil, nil, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func limitedTo(n uint64) Config {
	c := Default()
	c.Series = n
	c.Disk.Reserve = Reserve{}
	return c
}

func series(i int) labels.Labels {
	return labels.FromStrings("__name__", "m", "i", fmt.Sprint(i))
}

func TestSeriesLimit(t *testing.T) {
	db := openTSDB(t)
	b := newBudget(t, limitedTo(3), db.Head().NumSeries)
	chain := b.Limit(db)
	for round := range int64(2) {
		app := chain.AppenderV2(t.Context())
		for i := range 5 {
			ref, err := app.Append(0, series(i), 0, round, 1, nil, nil, storage.AOptions{})
			if err != nil || (ref == 0) != (i >= 3) {
				t.Errorf("round %d, series %d: reference %d, %v", round, i, ref, err)
			}
			es := []exemplar.Exemplar{{Labels: labels.FromStrings("a", fmt.Sprint(i)), Ts: round}}
			if _, err := app.(storage.ExemplarAppenderV2).AppendExemplars(ref, series(i), es); err != nil {
				t.Errorf("exemplars of series %d: %v", i, err)
			}
			empty := labels.FromStrings("__name__", "m", "i", "0", "none", "")
			if ref, err := app.Append(0, empty, 0, round, 1, nil, nil, storage.AOptions{}); i > 0 && (ref == 0 || err != nil) {
				t.Errorf("an existing series with an empty label: %d, %v", ref, err)
			}
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if n := db.Head().NumSeries(); n != 3 {
		t.Errorf("the store holds %d series, the limit is 3", n)
	}
	if n := b.metric(t, "atoll_budget_dropped_samples_total", "reason", "series_limit"); n != 4 {
		t.Errorf("counted %v dropped samples, want 4", n)
	}
	if text := b.warning("budget-series-limit"); text != "the store holds 3 series, budget.series allows 3: samples of new series are dropped" {
		t.Errorf("warning %q", text)
	}

	next := limitedTo(4)
	commit, _, err := b.Prepare(next)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	app := chain.AppenderV2(t.Context())
	ref, err := app.Append(0, series(9), 0, 5, 1, nil, nil, storage.AOptions{})
	if ref == 0 || errors.Join(err, app.Commit()) != nil {
		t.Errorf("after raising the limit: reference %d, %v", ref, err)
	}
}

func TestStrictLearnsOfTheLimit(t *testing.T) {
	db := openTSDB(t)
	b := newBudget(t, limitedTo(1), db.Head().NumSeries)
	app := b.Limit(db).AppenderV2(flow.Strict(t.Context()))
	if _, err := app.Append(0, series(0), 0, 1, 1, nil, nil, storage.AOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := app.Append(0, series(1), 0, 1, 1, nil, nil, storage.AOptions{})
	if !errors.Is(err, ErrSeriesLimit) || !errors.Is(err, flow.ErrOverLimit) || errors.Is(err, flow.ErrUnavailable) {
		t.Errorf("Append: %v", err)
	}
	if want := "new series dropped: budget.series allows 1; raise it or send fewer series"; err.Error() != want {
		t.Errorf("Append: %q, want %q", err, want)
	}
	_, err = app.(storage.ExemplarAppenderV2).AppendExemplars(0, series(1), []exemplar.Exemplar{{Ts: 1}})
	if !errors.Is(err, ErrSeriesLimit) {
		t.Errorf("AppendExemplars: %v", err)
	}
	if err := app.Commit(); err != nil {
		t.Errorf("the rest of the transaction: %v", err)
	}
}

func TestNoLimitIsNoWrapper(t *testing.T) {
	db := openTSDB(t)
	b := newBudget(t, limitedTo(0), db.Head().NumSeries)
	app := b.Limit(db).AppenderV2(t.Context())
	if _, wrapped := app.(*limited); wrapped {
		t.Error("an appender was wrapped for no limit")
	}
	if err := app.Rollback(); err != nil {
		t.Fatal(err)
	}
}

// TestScrapeAtTheLimit: a target that grows beyond the limit stays up, and what
// it had before goes on being stored.
func TestScrapeAtTheLimit(t *testing.T) {
	db := openTSDB(t)
	b := newBudget(t, limitedTo(9), db.Head().NumSeries) // 3 of the target, 6 about it
	grown := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := 3
		select {
		case <-grown:
			n = 10
		default:
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		for i := range n {
			fmt.Fprintf(w, "m{i=\"%d\"} %d\n", i, time.Now().UnixNano())
		}
	}))
	defer srv.Close()
	m, err := scrape.NewManager(&scrape.Options{}, nil, nil, nil, b.Limit(db), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := promconfig.Load("scrape_configs: [{job_name: j, scrape_interval: 50ms, scrape_timeout: 50ms}]", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.ApplyConfig(cfg); err != nil {
		t.Fatal(err)
	}
	targets := make(chan map[string][]*targetgroup.Group, 1)
	targets <- map[string][]*targetgroup.Group{"j": {{Source: "t", Targets: []model.LabelSet{
		{model.AddressLabel: model.LabelValue(strings.TrimPrefix(srv.URL, "http://"))},
	}}}}
	done := make(chan error)
	go func() { done <- m.Run(targets) }()
	defer func() { m.Stop(); <-done }()

	poll(t, "the target is scraped", func() bool { return count(t, db, "up") >= 2 })
	before := count(t, db, "m")
	close(grown)
	poll(t, "samples are dropped", func() bool {
		return b.metric(t, "atoll_budget_dropped_samples_total", "reason", "series_limit") >= 14
	})
	if n := db.Head().NumSeries(); n > 9 {
		t.Errorf("the store holds %d series, the limit is 9", n)
	}
	poll(t, "old series go on", func() bool { return count(t, db, "m") >= before+6 })
	q, err := db.Querier(0, 1<<60)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "up"))
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() != 0 {
			if _, v := it.At(); v != 1 {
				t.Errorf("up is %v: the limit failed a scrape", v)
			}
		}
	}
}

func count(t *testing.T, db *tsdb.DB, name string) (n int) {
	t.Helper()
	q, err := db.Querier(0, 1<<60)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", name))
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() != 0 {
			n++
		}
	}
	return n
}

func poll(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline, tick := time.After(30*time.Second), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within 30 s", what)
		case <-tick.C:
		}
	}
}

func TestDiskGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Default()
		c.Disk.Reserve = Reserve{Bytes: 200 << 20}
		b := newBudget(t, c, nil)
		b.fakeDisk(500<<20, 1<<30)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		chain := b.Limit(appendable{})
		state := func(free uint64, stopped bool) {
			t.Helper()
			b.free.Store(free)
			<-time.After(fresh + 1) // in fake time: the glance of the next transaction is not served from memory
			app := chain.AppenderV2(ctx)
			_, err := app.Append(0, series(1), 0, 1, 1, nil, nil, storage.AOptions{})
			if stopped != errors.Is(err, ErrDisk) || stopped != errors.Is(err, flow.ErrUnavailable) || stopped != errors.Is(app.Commit(), ErrDisk) {
				t.Errorf("%d MiB free: %v; want it stopped: %v", free>>20, err, stopped)
			}
			if (b.warning("budget-disk-reserve") != "") != stopped || (b.metric(t, "atoll_budget_ingestion_stopped") == 1) != stopped {
				t.Errorf("%d MiB free: warning %q", free>>20, b.warning("budget-disk-reserve"))
			}
		}
		state(500<<20, false)
		state(200<<20, false)
		state(93<<20, true)
		want := "ingestion stopped: 93 MiB free on " + b.dir + ", reserve is 200 MiB; free space or lower budget.disk.reserve"
		if got := b.warning("budget-disk-reserve"); got != want {
			t.Errorf("warning %q, want %q", got, want)
		}
		state(201<<20, true) // a tenth above the reserve must be free
		state(220<<20, false)
		state(100<<20, true)
		if n := b.metric(t, "atoll_budget_dropped_samples_total", "reason", "disk_reserve"); n != 3 {
			t.Errorf("counted %v dropped samples, want 3", n)
		}
		c.Disk.Reserve = Reserve{Percent: 5}
		commit, _, err := b.Prepare(c)
		if err != nil {
			t.Fatal(err)
		}
		commit()
		synctest.Wait()
		state(100<<20, false)
		b.free.Store(10 << 20) // nobody appends: the poll finds it
		<-time.After(time.Duration(c.Disk.Poll) + 1)
		synctest.Wait()
		if b.warning("budget-disk-reserve") == "" {
			t.Error("the poll did not look at the disk")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestSeriesWarningEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, limitedTo(1), func() uint64 { return 1 })
		b.fakeDisk(1<<30, 1<<30)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		b.drop(1)
		<-time.After(calm - time.Second)
		if b.warning("budget-series-limit") == "" {
			t.Error("the warning ended too early")
		}
		<-time.After(10 * time.Second)
		if text := b.warning("budget-series-limit"); text != "" {
			t.Errorf("still warned: %s", text)
		}
		cancel()
		<-done
	})
}

func TestSpaceOfADirectoryToBeMade(t *testing.T) {
	b := newBudget(t, Default(), nil)
	b.dir += "/not/made/yet"
	b.look()
	if b.metric(t, "atoll_budget_disk_free_bytes") == 0 {
		t.Error("no free space was read")
	}
}

// appendable takes everything and keeps nothing.
type appendable struct{}

func (a appendable) AppenderV2(context.Context) storage.AppenderV2 { return a }
func (appendable) Commit() error                                   { return nil }
func (appendable) Rollback() error                                 { return nil }

func (appendable) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AOptions) (storage.SeriesRef, error) {
	return 1, nil
}
