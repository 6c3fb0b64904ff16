package island

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestStackStopsInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(slog.New(slog.DiscardHandler))
		var order []string
		for _, name := range []string{"store", "query", "collect"} {
			s.start(name, func(ctx context.Context) error {
				<-ctx.Done()
				order = append(order, name)
				return nil
			})
		}
		if err := s.stop(time.Minute); err != nil {
			t.Fatal(err)
		}
		if want := []string{"collect", "query", "store"}; !slices.Equal(order, want) {
			t.Errorf("stop order %v, want %v", order, want)
		}
	})
}

func TestStackReportsTheFirstFailure(t *testing.T) {
	s := newStack(slog.New(slog.DiscardHandler))
	boom := errors.New("boom")
	s.start("store", func(context.Context) error { return boom })
	err := <-s.failed
	if !errors.Is(err, boom) || !strings.HasPrefix(err.Error(), "store: ") {
		t.Errorf("got %v, want store: boom", err)
	}
	if err := s.stop(time.Minute); !errors.Is(err, boom) {
		t.Errorf("stop returned %v, want boom", err)
	}
}

func TestStackNamesTheStepThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(slog.New(slog.DiscardHandler))
		stopped := false
		release := make(chan struct{})
		s.start("store", func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(grace / 2)
			stopped = true
			return nil
		})
		s.start("alert", func(context.Context) error { <-release; return nil })
		err := s.stop(30 * time.Second)
		if !stopped || strings.Contains(err.Error(), "store") {
			t.Errorf("the step below the hanging one had no time to end: %v", err)
		}
		if err == nil || !strings.Contains(err.Error(), "stop alert: still running after 30s") {
			t.Errorf("got %v, want the hanging step by name", err)
		}
		close(release)
	})
}
