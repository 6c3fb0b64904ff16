package portal

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/atoll-mesh/atoll/health"
)

func TestReportReadsWhatThePortalAnswers(t *testing.T) {
	list := health.New(nil)
	w := list.Declare(health.Warning{Code: "store-disk-full", Severity: health.SeverityCritical, Title: "the disk is nearly full", Remedy: "free space"})
	r := run(t, Options{Health: list, Status: func() Status {
		return Status{Name: "paris", HeadSeries: 42, Network: &NetworkStatus{Name: "acme", ID: "x", Members: 5, Connected: 3}, Rooms: []RoomStatus{{Name: "store", State: RoomFailed, Error: "no space"}},
			Budgets: []BudgetStatus{{Name: "memory", Unit: "bytes", Used: 1 << 20, Limit: 2 << 20}}}
	}})
	defer http.DefaultClient.CloseIdleConnections()

	calm, err := Ask(t.Context(), http.DefaultClient, r.base+"/")
	if err != nil {
		t.Fatal(err)
	}
	if calm.Troubled() || calm.Status.HeadSeries != 42 || !calm.Status.Ready {
		t.Errorf("calm: %+v", calm)
	}
	w.Set("812 MiB free")
	bad, err := Ask(t.Context(), http.DefaultClient, r.base)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := bad.WriteText(&text); err != nil || !bad.Troubled() {
		t.Errorf("troubled %v, %v", bad.Troubled(), err)
	}
	for _, want := range []string{"island paris is ready", "CRITICAL: the disk is nearly full (store-disk-full", "812 MiB free", "to do: free space", "failed: no space", "acme, 5 members, connected with 3 of 4 others"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("misses %q in:\n%s", want, text.String())
		}
	}
	text.Reset()
	if err := (&Report{}).WriteText(&text); err != nil || !strings.Contains(text.String(), "belongs to no network") {
		t.Errorf("an island without a network, %v:\n%s", err, text.String())
	}
	if alone := (&NetworkStatus{Name: "acme", Members: 1}).text(); !strings.Contains(alone, "acme, with no other island yet") {
		t.Errorf("an island alone: %s", alone)
	}
	if _, err := Ask(t.Context(), http.DefaultClient, r.base+"/metrics"); err == nil {
		t.Error("took another answer for an island's")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Ask(gone, http.DefaultClient, r.base); err == nil {
		t.Error("no error from a request that was cancelled")
	}
}
