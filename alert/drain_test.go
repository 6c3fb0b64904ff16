package alert

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
)

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		s := &drainStage{next: notify.StageFunc(func(ctx context.Context, _ *slog.Logger, _ ...*amalert.Alert) (context.Context, []*amalert.Alert, error) {
			calls++
			select {
			case <-time.After(3 * time.Second):
			case <-ctx.Done():
			}
			return ctx, nil, ctx.Err()
		})}
		ctx, cancel := context.WithCancel(t.Context())
		exec := func() chan error {
			done := make(chan error, 1)
			go func() { _, _, err := s.Exec(ctx, nil); done <- err }()
			synctest.Wait()
			return done
		}
		running := exec()
		start := time.Now()
		if !s.drain(10 * time.Second) {
			t.Error("not drained although the time was enough")
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("drained after %s, want 3s", d)
		}
		if err := <-running; err != nil {
			t.Errorf("what was under way ended with %v", err)
		}
		held := exec()
		if calls != 1 {
			t.Errorf("a notification was let in while draining")
		}
		cancel()
		if err := <-held; !errors.Is(err, context.Canceled) {
			t.Errorf("what was held back ended with %v", err)
		}
	})
}

func TestDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &drainStage{next: notify.StageFunc(func(ctx context.Context, _ *slog.Logger, _ ...*amalert.Alert) (context.Context, []*amalert.Alert, error) {
			<-release
			return ctx, nil, nil
		})}
		go s.Exec(t.Context(), nil)
		synctest.Wait()
		start := time.Now()
		if s.drain(5 * time.Second) {
			t.Error("drained although something still runs")
		}
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("gave up after %s, want 5s", d)
		}
		close(release)
	})
}

// A notification that is on its way when the configuration is reloaded, or the
// island stops, is delivered once.
func TestNotificationUnderWayIsNotRepeated(t *testing.T) {
	for name, interrupt := range map[string]func(*rig, *hook){
		"reload": func(r *rig, h *hook) {
			if err := r.reload(r.prom(""), webhookTo(r.t, h.URL, "")); err != nil {
				r.t.Fatal(err)
			}
		},
		"restart": func(r *rig, h *hook) {
			r.stop()
			r.start(r.prom(""), webhookTo(r.t, h.URL, ""))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, h := newRig(t), newHook(t)
			entered := make(chan struct{}, 10)
			inner := h.Config.Handler
			h.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				inner.ServeHTTP(w, req)
				entered <- struct{}{}
				// Long enough to be cut off, shorter than what reloads wait.
				select {
				case <-time.After(300 * time.Millisecond):
				case <-req.Context().Done():
				}
			})
			r.file("rules.yml", highLoad)
			r.set(9, "__name__", "load", "host", "db1")
			r.start(r.prom(""), webhookTo(t, h.URL, ""))
			<-entered
			interrupt(r, h)
			during(t, time.Second, "the same notification twice", func() bool { return h.count("firing", "HighLoad") > 1 })
		})
	}
}
