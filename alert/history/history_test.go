package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/health"
)

func open(t *testing.T, dir string, change func(*Options)) (*Store, *health.List) {
	t.Helper()
	h := health.New(nil)
	o := Options{Config: Default(), Dir: dir, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Health: h}
	if change != nil {
		change(&o)
	}
	s := New(o)
	s.Open()
	return s, h
}

// running runs the store until the returned function is called.
func running(t *testing.T, s *Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func fire(name, fp string, at time.Time) Event {
	return Event{At: at, Kind: Firing, Alertname: name, Severity: "page", Fingerprint: fp, StartedAt: at, Labels: map[string]string{"alertname": name, "host": fp}}
}

func resolve(name, fp string, began, at time.Time) Event {
	e := fire(name, fp, began)
	e.At, e.Kind = at, Resolved
	return e
}

// all pages through everything, so many at a time.
func all(t *testing.T, s *Store, ask Ask, limit int) (out []Event) {
	t.Helper()
	ask.Limit = limit
	for pages := 0; ; pages++ {
		p, err := s.Query(ask)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Items) > limit {
			t.Fatalf("a page of %d, asked for %d", len(p.Items), limit)
		}
		if out = append(out, p.Items...); p.Next == "" {
			return out
		}
		if ask.Cursor = p.Next; pages > 1000 {
			t.Fatal("pages without end")
		}
	}
}

func TestPagesComeInOrderAndAreWhole(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, dir, nil)
		stop := running(t, s)
		start := time.Now()
		for n := range 50 {
			name := []string{"Disk", "Load"}[n%2]
			// Two at the same moment, as one evaluation gives them.
			s.Record(fire(name, fmt.Sprintf("h%02d", n), start.Add(time.Duration(n/2)*time.Second)))
		}
		time.Sleep(time.Minute)
		whole := Ask{From: start, To: start.Add(time.Hour)}
		for _, limit := range []int{1, 7, 50, 1000} {
			got := all(t, s, whole, limit)
			if len(got) != 50 {
				t.Fatalf("limit %d: %d events, want 50", limit, len(got))
			}
			for n := 1; n < len(got); n++ {
				if got[n].At.After(got[n-1].At) {
					t.Fatalf("limit %d: event %d is newer than the one before", limit, n)
				}
			}
		}
		some := whole
		some.Alertname, some.Text = "Load", "H1"
		if got := all(t, s, some, 3); len(got) != 5 {
			t.Errorf("%d events of Load on h1x, want 5", len(got))
		}
		cut := Ask{From: start.Add(3 * time.Second), To: start.Add(4 * time.Second)}
		if got := all(t, s, cut, 3); len(got) != 4 {
			t.Errorf("%d events in two seconds, want 4: both ends belong to it", len(got))
		}
		if _, err := s.Query(Ask{Cursor: "nonsense!"}); !errors.Is(err, ErrCursor) {
			t.Errorf("a cursor of somebody else: %v", err)
		}
		stop()
	})
}

func TestRecordNeverWaits(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		full.Store(true)
		s, h := open(t, dir, func(o *Options) {
			o.fail = func() error {
				if full.Load() {
					return fmt.Errorf("write: %w", syscall.ENOSPC)
				}
				return nil
			}
		})
		stop := running(t, s)
		begin := time.Now()
		for n := range 3 * queueCapacity {
			s.Record(fire("Disk", fmt.Sprint(n), begin))
			if n%100 == 0 {
				synctest.Wait()
			}
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("recording took %s of virtual time", took)
		}
		time.Sleep(time.Minute)
		dropped := testutil.ToFloat64(s.metrics.dropped)
		if dropped < queueCapacity {
			t.Errorf("%v events dropped, want all that have no room", dropped)
		}
		if active := h.Active(); len(active) != 1 || !strings.Contains(active[0].Text, "the disk is full") {
			t.Errorf("warnings %v", active)
		}
		full.Store(false)
		time.Sleep(time.Minute)
		if active := h.Active(); len(active) != 0 {
			t.Errorf("the warning stays: %v", active)
		}
		kept := float64(len(all(t, s, Ask{From: begin, To: begin.Add(time.Hour)}, MaxLimit)))
		if recorded := testutil.ToFloat64(s.metrics.recorded); kept+dropped != recorded {
			t.Errorf("%v kept and %v dropped are not the %v recorded", kept, dropped, recorded)
		}
		stop()
	})
}

func TestBounds(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, dir, func(o *Options) {
			o.Config = Config{Retention: model.Duration(time.Hour), MaxBytes: 1 << 20}
		})
		stop := running(t, s)
		start := time.Now()
		e := fire("Disk", "h", start)
		e.Summary = strings.Repeat("é", maxText) // twice as many bytes as fit
		for n := range 2000 {
			e.At = start.Add(time.Duration(n) * time.Millisecond)
			s.Record(e)
		}
		time.Sleep(time.Minute)
		if got := s.bytes.Load(); got > 1<<20 || got < 1<<19 {
			t.Errorf("%d bytes are kept, want somewhat below 1 MiB", got)
		}
		got := all(t, s, Ask{From: start, To: start.Add(time.Hour)}, MaxLimit)
		if len(got) == 0 || !got[0].At.Equal(e.At) {
			t.Fatal("the newest event is gone")
		}
		if n := len(got[0].Summary); n > maxText+len("…") {
			t.Errorf("a summary of %d bytes is kept", n)
		}
		time.Sleep(2 * time.Hour)
		if got := all(t, s, Ask{From: start, To: start.Add(24 * time.Hour)}, MaxLimit); len(got) != 0 {
			t.Errorf("%d events are kept beyond retention", len(got))
		}
		if n := s.bytes.Load(); n != 0 {
			t.Errorf("%d bytes are counted of nothing", n)
		}
		stop()
	})
}

func TestSurvivesAndPutsDamageAside(t *testing.T) {
	dir := t.TempDir()
	start := time.Now()
	s, _ := open(t, dir, nil)
	stop := running(t, s)
	s.Record(fire("Disk", "a", start))
	s.Record(fire("Disk", "b", start))
	s.Record(resolve("Disk", "b", start, start.Add(time.Minute)))
	s.Flush(t.Context())
	// What a killed process leaves is the file as it is now.
	content, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	killed := t.TempDir()
	if err := os.WriteFile(filepath.Join(killed, File), content, 0o600); err != nil {
		t.Fatal(err)
	}
	again, h := open(t, killed, nil)
	if got := all(t, again, Ask{To: start.Add(time.Hour)}, 10); len(got) != 3 {
		t.Errorf("%d events after the kill, want 3", len(got))
	}
	opened, err := again.Opened()
	if err != nil || len(opened) != 1 || opened[0].Fingerprint != "a" || len(h.Active()) != 0 {
		t.Errorf("open %v, %v, warnings %v", opened, err, h.Active())
	}
	if again.bytes.Load() == 0 {
		t.Error("the bytes of what was there are not counted")
	}
	running(t, again)()

	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, File), []byte(strings.Repeat("not a database ", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh, h := open(t, damaged, nil)
	if got := all(t, fresh, Ask{To: start.Add(time.Hour)}, 10); len(got) != 0 || len(h.Active()) != 1 {
		t.Errorf("events %v, warnings %v", got, h.Active())
	}
	if kept, _ := filepath.Glob(filepath.Join(damaged, File+".damaged-*")); len(kept) != 1 {
		t.Error("the damaged file is gone")
	}
	running(t, fresh)()
}

func TestFigures(t *testing.T) {
	s, _ := open(t, t.TempDir(), nil)
	stop := running(t, s)
	defer stop()
	day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return day.Add(time.Duration(minutes) * time.Minute) }
	for _, e := range []Event{
		fire("Old", "o", at(-300)), resolve("Old", "o", at(-300), at(-200)),
		fire("Before", "b", at(-60)), resolve("Before", "b", at(-60), at(30)),
		fire("Disk", "a", at(10)), fire("Disk", "c", at(15)), resolve("Disk", "a", at(10), at(20)), resolve("Disk", "c", at(15), at(25)),
		fire("Disk", "a", at(40)), // and fires on
		{At: at(11), Kind: Notified, Alertname: "Disk", Receiver: "hook"},
		{At: at(12), Kind: Failed, Alertname: "Disk", Receiver: "mail", Error: "refused"},
		{At: at(70), Kind: Notified, Alertname: "Disk"},
		fire("After", "z", at(90)),
	} {
		s.Record(e)
	}
	s.Flush(t.Context())
	got, err := s.Statistics(at(0), at(60))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Items) != 2 {
		t.Fatalf("names %+v, want Disk and Before", got.Items)
	}
	disk, before := got.Items[0], got.Items[1]
	if disk.Alertname != "Disk" || disk.Fired != 3 || disk.FiringSeconds != 40*60 || disk.LongestSeconds != 20*60 ||
		disk.FiringNow != 1 || disk.Series != 2 || disk.Notifications != 1 || disk.Failed != 1 || !disk.LastFiredAt.Equal(at(40)) {
		t.Errorf("Disk %+v", disk)
	}
	if before.Alertname != "Before" || before.Fired != 0 || before.FiringSeconds != 30*60 {
		t.Errorf("Before %+v", before)
	}
	lanes, err := s.Timeline(at(0), at(60))
	if err != nil || len(lanes.Items) != 2 {
		t.Fatalf("lanes %+v, %v", lanes, err)
	}
	if spans := lanes.Items[0].Spans; lanes.Items[0].Alertname != "Disk" || len(spans) != 2 || spans[0].Alerts != 2 || !spans[0].To.Equal(at(25)) || !spans[1].To.Equal(at(60)) {
		t.Errorf("spans %+v", lanes.Items[0])
	}
}
