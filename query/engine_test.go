package query

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
)

// Upstream's own acceptance scripts run on the engine as this room builds it,
// with everything turned on that they need.
func TestUpstreamScripts(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.Config.ExperimentalFunctions = true
		o.Config.DelayedNameRemoval = true
		o.Config.StartTimestamps = true
		o.Config.MaxSamples = promqltest.DefaultMaxSamplesPerQuery
		o.Config.SlowQuery = 0
	})
	promqltest.RunBuiltinTests(t, r.Engine())
}

func TestSlowQueryIsLogged(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Config.SlowQuery = model.Duration(time.Nanosecond) })
	if code, _, body := r.get(t, "/api/v1/query?query=up"); code != http.StatusOK {
		t.Fatalf("got %d %s", code, body)
	}
	log := r.log.String()
	for _, want := range []string{`level=WARN msg="slow query" query=up`, "threshold=1ns", "origin=http", "samples=0"} {
		if !strings.Contains(log, want) {
			t.Errorf("log lacks %q:\n%s", want, log)
		}
	}
	r.metric(t, "# HELP atoll_query_slow_total Queries that took longer than query.slow_query.\n"+
		"# TYPE atoll_query_slow_total counter\natoll_query_slow_total 1\n", "atoll_query_slow_total")
}

func TestTimeoutRaisesWarningUntilItIsOld(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Config.Timeout = model.Duration(time.Nanosecond) })
	code, _, body := r.get(t, "/api/v1/query?query=up")
	if code != http.StatusServiceUnavailable || !strings.Contains(body, `"errorType":"timeout"`) {
		t.Fatalf("got %d %s", code, body)
	}
	if got := r.warnings(); !slices.Equal(got, []string{"query-timeout"}) {
		t.Fatalf("warnings: %v", got)
	}
	if text := r.health.Active()[0].Text; !strings.Contains(text, `"up"`) {
		t.Errorf("text does not quote the query: %s", text)
	}
	_, _, body = r.get(t, "/api/v1/notifications")
	if !strings.Contains(body, "Queries run out of time: 1 queries") {
		t.Errorf("not shown as a notification: %s", body)
	}
	r.trouble.expire(time.Now().Add(troubleHold - time.Minute))
	if len(r.warnings()) != 1 {
		t.Error("cleared too early")
	}
	r.trouble.expire(time.Now().Add(troubleHold + time.Minute))
	if got := r.warnings(); len(got) != 0 {
		t.Errorf("still there: %v", got)
	}
	_, _, body = r.get(t, "/api/v1/notifications")
	if !strings.Contains(body, `"data":[]`) {
		t.Errorf("notification stays: %s", body)
	}
}

func TestImpatientClientIsNoTrouble(t *testing.T) {
	r := newRig(t)
	if code, _, body := r.get(t, "/api/v1/query?query=up&timeout=0.000000001"); code != http.StatusServiceUnavailable {
		t.Fatalf("got %d %s", code, body)
	}
	if got := r.warnings(); len(got) != 0 {
		t.Errorf("warnings: %v", got)
	}
	r.metric(t, `# HELP atoll_query_queries_total Queries executed, by who asked (http, rule, other) and how it ended.
# TYPE atoll_query_queries_total counter
atoll_query_queries_total{origin="http",result="timeout"} 1
`, "atoll_query_queries_total")
}

func TestQueueFullIsRefused(t *testing.T) {
	var b *blocker
	r := newRig(t, func(o *Options) {
		o.Config.MaxConcurrency, o.Config.MaxQueue = 1, 1
		b = newBlocker(o.Store)
		o.Store = b
	})
	var wg sync.WaitGroup
	ask := func() {
		wg.Go(func() {
			if code, _, body := r.get(t, "/api/v1/query?query=up"); code != http.StatusOK {
				t.Errorf("got %d %s", code, body)
			}
		})
	}
	ask()
	<-b.entered // holds the only slot
	ask()
	eventually(t, "the second query waits", func() bool { return r.slots.waiting.Load() == 1 })

	for _, path := range []string{"/api/v1/query?query=up", "/federate?match[]=up"} {
		code, _, body := r.get(t, path)
		if code != http.StatusServiceUnavailable || !strings.Contains(body, "query.max_queue") {
			t.Errorf("%s: got %d %s", path, code, body)
		}
	}
	if got := r.warnings(); !slices.Equal(got, []string{"query-queue-full"}) {
		t.Errorf("warnings: %v", got)
	}
	r.metric(t, "# HELP atoll_query_refused_total Queries refused because query.max_queue others were waiting.\n"+
		"# TYPE atoll_query_refused_total counter\natoll_query_refused_total 2\n", "atoll_query_refused_total")
	close(b.release)
	wg.Wait()
	r.metric(t, `# HELP atoll_query_queries_total Queries executed, by who asked (http, rule, other) and how it ended.
# TYPE atoll_query_queries_total counter
atoll_query_queries_total{origin="http",result="refused"} 1
atoll_query_queries_total{origin="http",result="success"} 2
`, "atoll_query_queries_total")
}

func TestLimitsPerQuery(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Config.MaxSeries = 1 })
	now := time.Now().UnixMilli()
	for _, i := range []string{"a", "b"} {
		r.db.put(t, labels.FromStrings("__name__", "m", "i", i), promql.FPoint{T: now, F: 1})
	}
	code, _, body := r.get(t, "/api/v1/query?query=m")
	if code != http.StatusUnprocessableEntity || !strings.Contains(body, "cost_limit") {
		t.Errorf("two series: got %d %s", code, body)
	}
	if code, _, body := r.get(t, "/api/v1/query?query="+url.QueryEscape(`m{i="a"}`)); code != http.StatusOK {
		t.Errorf("one series: got %d %s", code, body)
	}
	code, _, body = r.get(t, "/api/v1/query?query=m&max_series=5")
	if code != http.StatusBadRequest || !strings.Contains(body, "max_series") {
		t.Errorf("asking for more than allowed: got %d %s", code, body)
	}
}

// A query that runs when the process dies is named at the next start.
func TestJournalSurvives(t *testing.T) {
	dir := t.TempDir()
	dead := newSlots(2, newMetrics(nil), func(int64) {})
	if err := dead.open(dir, newRig(t).options.Logger); err != nil {
		t.Fatal(err)
	}
	if _, err := dead.Insert(t.Context(), "heavy_query"); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(o *Options) { o.Dir = dir })
	r.run(t)
	eventually(t, "the unfinished query is logged", func() bool {
		return strings.Contains(r.log.String(), "heavy_query")
	})
	if err := dead.closeJournal(); err != nil {
		t.Fatal(err)
	}
}

// A query may outlive the journal: its line must not be written to memory that
// is no longer mapped.
func TestQueryOutlivesJournal(t *testing.T) {
	s := newSlots(1, newMetrics(nil), func(int64) {})
	if err := s.open(t.TempDir(), newRig(t).options.Logger); err != nil {
		t.Fatal(err)
	}
	i, err := s.Insert(t.Context(), "up")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.closeJournal(); err != nil {
		t.Fatal(err)
	}
	s.Delete(i)
	if i, err = s.Insert(t.Context(), "up"); err != nil || i != unjournaled {
		t.Fatalf("got %d, %v", i, err)
	}
	s.Delete(i)
	if len(s.free) != 0 {
		t.Errorf("%d slots leaked", len(s.free))
	}
}

func TestSlotsWaitEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(1, newMetrics(nil), func(int64) {})
		if _, err := s.Insert(t.Context(), "first"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Insert(ctx, "second"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if n := s.waiting.Load(); n != 0 {
			t.Errorf("%d still count as waiting", n)
		}
	})
}

func TestQueryLogAndReload(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Config.LogFile = "queries.log" })
	r.run(t)
	first := filepath.Join(r.options.Dir, "queries.log")
	eventually(t, "the log is open", func() bool { _, err := os.Stat(first); return err == nil })
	logged := func(path, query string) bool {
		r.get(t, "/api/v1/query?query="+query)
		b, _ := os.ReadFile(path)
		return strings.Contains(string(b), `"query":"`+query+`"`) && strings.Contains(string(b), `"path":"/api/v1/query"`)
	}
	eventually(t, "a query is logged", func() bool { return logged(first, "one") })

	next := r.Config()
	next.LogFile = filepath.Join(t.TempDir(), "other.log")
	next.Timeout = model.Duration(time.Minute)
	_, discard, err := r.Prepare(next, &r.prom)
	if err != nil {
		t.Fatal(err)
	}
	discard()
	if r.Config().Timeout != Default().Timeout || !logged(first, "two") {
		t.Error("discard changed something")
	}
	commit, _, err := r.Prepare(next, &r.prom)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	if !logged(next.LogFile, "three") || logged(first, "four") {
		t.Error("the log did not move")
	}
	if _, _, body := r.get(t, "/api/v1/status/config"); !strings.Contains(body, "query_max_duration: 1m") {
		t.Errorf("the new limit is not shown: %s", body)
	}
	if code, _, _ := r.get(t, "/api/v1/query?query=up&max_query_duration=90s"); code != http.StatusBadRequest {
		t.Errorf("a request above the new limit got %d", code)
	}
}

func TestPrepareRefuses(t *testing.T) {
	r := newRig(t)
	frozen := Default()
	frozen.MaxConcurrency, frozen.LookbackDelta = 5, model.Duration(time.Minute)
	unwritable := Default()
	unwritable.LogFile = filepath.Join(t.TempDir(), "absent", "q.log")
	for name, c := range map[string]struct {
		cfg  Config
		want []string
	}{
		"frozen":     {frozen, []string{"query.max_concurrency: cannot change from 20 to 5", "query.lookback_delta: cannot change from 5m to 1m"}},
		"invalid":    {Config{}, []string{"timeout: got 0s"}},
		"unwritable": {unwritable, []string{"query.log_file: opening", "no such file"}},
	} {
		_, _, err := r.Prepare(c.cfg, &r.prom)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", name, err, want)
			}
		}
	}
}

func TestRunFailsOnBadDir(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(o *Options) { o.Dir = file })
	if err := r.Run(t.Context()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v", err)
	}
}
