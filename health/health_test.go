package health

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestSetAndClear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		l := New(reg)
		full := l.Declare(Warning{Code: "store-full", Severity: SeverityCritical, Title: "the disk is full", Remedy: "free space"})
		info := l.Declare(Warning{Code: "alert-no-receiver", Severity: SeverityInfo})

		info.Set("nobody is told")
		time.Sleep(time.Second)
		start := time.Now()
		full.Set("%d bytes free", 7)
		time.Sleep(time.Minute)
		full.Set("%d bytes free", 3)

		got := l.Active()
		if len(got) != 2 || got[0].Code != "store-full" || got[1].Code != "alert-no-receiver" {
			t.Fatalf("active %+v, want the critical one first", got)
		}
		if got[0].Text != "3 bytes free" || !got[0].Since.Equal(start) {
			t.Errorf("text %q since %v, want the newest text and the beginning of the spell", got[0].Text, got[0].Since)
		}
		full.Clear()
		full.Clear()
		if got := l.Active(); len(got) != 1 {
			t.Errorf("after Clear %d hold, want 1", len(got))
		}
		want := `
# HELP atoll_health_warning_active 1 while the declared warning holds.
# TYPE atoll_health_warning_active gauge
atoll_health_warning_active{code="alert-no-receiver",severity="info"} 1
atoll_health_warning_active{code="store-full",severity="critical"} 0
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	})
}

func TestDeclareTwicePanics(t *testing.T) {
	l := New(nil)
	l.Declare(Warning{Code: "a"})
	defer func() {
		if recover() == nil {
			t.Error("a second declaration of one code went through")
		}
	}()
	l.Declare(Warning{Code: "a"})
}

func TestLease(t *testing.T) {
	reg := prometheus.NewRegistry()
	l := New(reg)
	lease, end := l.Lease()
	first := lease.Declare(Warning{Code: "mesh-alone", Severity: SeverityWarning})
	first.Set("nobody answers")
	if got := l.Active(); len(got) != 1 || got[0].Text != "nobody answers" {
		t.Fatalf("active: %v, want what was set on the lease", got)
	}
	end()
	first.Set("too late")
	if got := l.Active(); len(got) != 0 || len(l.Declared()) != 0 {
		t.Fatalf("after the end: active %v, declared %v, want neither", got, l.Declared())
	}
	again, _ := l.Lease()
	again.Declare(Warning{Code: "mesh-alone", Severity: SeverityWarning}).Set("again")
	if got := l.Active(); len(got) != 1 || got[0].Text != "again" {
		t.Fatalf("active: %v, want the second lease's", got)
	}
}
