package replica

import (
	"fmt"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/trust"
)

// TestWatch: a reader however slow sees the last version of every key, and only of
// those it asked for.
func TestWatch(t *testing.T) {
	f := newFleet(t, 1)
	x := f.nodes[0]
	events, cancel := x.Watch("rules/")
	x.set("rules/a", "1") // the delivering goroutine takes this one at once
	for i := range 50 {
		x.set("rules/b", fmt.Sprint(i))
		x.set("owner/b", fmt.Sprint(i))
	}
	_, err := x.Delete(t.Context(), "rules/a", 0)
	f.must(err)
	got := map[string][]string{}
	last := map[string]bool{}
	for !last["rules/a"] || got["rules/b"] == nil || got["rules/b"][len(got["rules/b"])-1] != "49" {
		select {
		case e := <-events:
			got[e.Key] = append(got[e.Key], string(e.Document.GetValue()))
			last[e.Key] = e.Document.GetDeleted()
		case <-time.After(10 * time.Second):
			t.Fatalf("got %v, then nothing more", got)
		}
	}
	if len(got) != 2 || len(got["rules/b"]) > 10 {
		t.Errorf("keys %v: want two, their versions coalesced", got)
	}
	cancel()
	cancel()
	eventually(t, "the channel closed after cancel", func() bool {
		select {
		case _, ok := <-events:
			return !ok
		default:
			return false
		}
	})
	if x.watchers.len() != 0 {
		t.Error("the watch is still there")
	}
}

// TestWatchVoid: a document given up is an event without a document.
func TestWatchVoid(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.nodes[0], f.nodes[1]
	b.set("rules/of-b", "x")
	f.settle()
	events, cancel := a.Watch("rules/")
	defer cancel()
	f.must(a.Put(t.Context(), f.revocation(b.key.Public(), a.Now())))
	if e := <-events; e.Key != "rules/of-b" || e.Document != nil {
		t.Errorf("event %+v, want rules/of-b without a document", e)
	}
}

func TestWatchEndsWithReplica(t *testing.T) {
	f := newFleet(t, 1)
	x := f.nodes[0]
	events, cancel := x.Watch("")
	defer cancel()
	f.must(x.Close())
	for range events {
	}
	if late, _ := x.Watch(""); late != nil {
		if _, ok := <-late; ok {
			t.Error("a watch on a closed replica tells something")
		}
	}
}

// TestHistoryIsBounded by number, and by bytes.
func TestHistoryIsBounded(t *testing.T) {
	f := newFleet(t, 1)
	x := f.nodes[0]
	for i := range 30 {
		x.set("rules/many", fmt.Sprint(i))
	}
	h := x.History("rules/many")
	if len(h) != 20 || string(h[0].GetValue()) != "28" || string(h[19].GetValue()) != "9" {
		t.Errorf("%d versions, from %q to %q; want 20, from 28 to 9", len(h), h[0].GetValue(), h[len(h)-1].GetValue())
	}
	large := make([]byte, trust.MaxDocumentValue*2/5)
	for range 5 {
		_, err := x.Set(t.Context(), "rules/large", large, 0)
		f.must(err)
	}
	if n := len(x.History("rules/large")); n != 2 {
		t.Errorf("%d large versions, want the two that fit", n)
	}
	held := x.store.historyBytes.Load()
	f.must(x.Close())
	x.srv.Stop()
	x.open()
	if got := x.store.historyBytes.Load(); got != held || held < int64(len(large)*2) {
		t.Errorf("history of %d bytes, %d after a restart", held, got)
	}
}
