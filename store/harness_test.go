package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a store that runs for the length of a test or until stop.
type running struct {
	*Store
	t      *testing.T
	reg    *prometheus.Registry
	health *health.List
	log    *logBuffer
	cancel context.CancelFunc
	done   chan error
}

func config(dir string) Config {
	c := Default()
	c.Path = dir
	c.ScrubRate = 0
	return c
}

// quick makes the store look at its disk often; it is never compacted by chance.
var quick = intervals{poll: 10 * time.Millisecond, maintain: time.Hour, scrubAfter: time.Hour, close: 10 * time.Second, retry: 10 * time.Millisecond}

func start(t *testing.T, c Config, change ...func(*Store)) *running {
	t.Helper()
	r := launch(t, c, change...)
	select {
	case <-r.Ready():
	case err := <-r.done:
		t.Fatalf("Run: %v\n%s", err, r.log)
	case <-time.After(time.Minute):
		t.Fatalf("not ready after a minute\n%s", r.log)
	}
	return r
}

func launch(t *testing.T, c Config, change ...func(*Store)) *running {
	t.Helper()
	r := &running{t: t, reg: prometheus.NewPedanticRegistry(), log: &logBuffer{}, done: make(chan error, 1)}
	r.health = health.New(r.reg)
	s, err := New(Options{Config: c, Logger: slog.New(slog.NewTextHandler(r.log, nil)), Registerer: r.reg, Health: r.health})
	if err != nil {
		t.Fatal(err)
	}
	s.every = quick
	for _, f := range change {
		f(s)
	}
	r.Store = s
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if r.done != nil {
			<-r.done
		}
	})
	return r
}

// stop ends the store as an orderly stop does.
func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Fatalf("Run: %v\n%s", err, r.log)
	}
	r.done = nil
}

// warning returns the text of an active health warning, or "".
func (r *running) warning(code string) string {
	for _, a := range r.health.Active() {
		if a.Code == code {
			return a.Text
		}
	}
	return ""
}

func (r *running) metric(name string) float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	sum, found := 0.0, false
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		found = true
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if !found {
		r.t.Fatalf("no metric %s", name)
	}
	return sum
}

// eventually polls until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within 30 s", what)
		case <-tick.C:
		}
	}
}

func series(i int) labels.Labels {
	return labels.FromStrings("__name__", "m", "i", fmt.Sprint(i))
}

// appendFloats commits one sample for each of n series at time ts, in ms.
func appendFloats(s storage.AppendableV2, ts int64, n int) error {
	app := s.AppenderV2(context.Background())
	for i := range n {
		if _, err := app.Append(0, series(i), 0, ts, float64(ts), nil, nil, storage.AOptions{}); err != nil {
			return errors.Join(err, app.Rollback())
		}
	}
	return app.Commit()
}

func mustAppend(t *testing.T, s storage.AppendableV2, ts int64, n int) {
	t.Helper()
	if err := appendFloats(s, ts, n); err != nil {
		t.Fatal(err)
	}
}

// samples reads everything of metric m as "i" → time → value.
type samples map[string]map[int64]float64

func read(t *testing.T, s storage.Queryable) samples {
	t.Helper()
	out, err := tryRead(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryRead(s storage.Queryable) (samples, error) {
	q, err := s.Querier(0, 1<<60)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	out := samples{}
	set := q.Select(context.Background(), false, nil, labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, "m"))
	for set.Next() {
		got := map[int64]float64{}
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			_, v := it.At()
			got[it.AtT()] = v
		}
		if err := it.Err(); err != nil {
			return nil, err
		}
		out[set.At().Labels().Get("i")] = got
	}
	return out, set.Err()
}

func (s samples) count() (n int) {
	for _, m := range s {
		n += len(m)
	}
	return n
}

// copyDir takes an image of a directory while it is being written, as a crash
// would leave it.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "image")
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, p)
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o777)
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o666)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// flip inverts n bytes of a file at an offset; a negative one counts from the end.
func flip(t *testing.T, name string, at int64, n int) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if at < 0 {
		at += int64(len(b))
	}
	for i := range n {
		b[at+int64(i)] ^= 0xff
	}
	if err := os.WriteFile(name, b, 0o666); err != nil {
		t.Fatal(err)
	}
}

func glob(t *testing.T, pattern ...string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(pattern...))
	if err != nil || len(files) == 0 {
		t.Fatalf("no file matches %s (%v)", filepath.Join(pattern...), err)
	}
	return files
}

func wantText(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q does not mention %q", text, p)
		}
	}
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
