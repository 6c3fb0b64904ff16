package probe

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// book is a ledger with a clock of its own and what it wrote.
type book struct {
	*ledger
	at    time.Time
	lines []string
	fails error
}

func newBook() *book {
	b := &book{at: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	b.ledger = newLedger(func(actor, action, subject, detail string) error {
		if b.fails == nil {
			b.lines = append(b.lines, strings.Join([]string{actor, action, subject, detail}, "|"))
		}
		return b.fails
	})
	b.now = func() time.Time { return b.at }
	return b
}

func TestLedger(t *testing.T) {
	b := newBook()
	note := func(actor, target string) {
		t.Helper()
		if err := b.note(entry{actor, "probe", target, "module m"}); err != nil {
			t.Error(err)
		}
	}
	pass := func(d time.Duration) {
		t.Helper()
		b.at = b.at.Add(d)
		if err := b.flush(false); err != nil {
			t.Error(err)
		}
	}
	for range 100 { // a scrape every 15 s
		note("prom", "x")
		pass(15 * time.Second)
	}
	note("me", "x")
	pass(2 * time.Hour)
	want := []string{"prom|probe|x|module m", "me|probe|x|module m", "prom|probe-again|x|99 more times, the last at 2026-11-23T12:24:45Z; module m"}
	if diff := cmp.Diff(want, b.lines); diff != "" {
		t.Errorf("what is repeated is two lines (-want +got):\n%s", diff)
	}

	b.lines = nil
	for range 26 { // for ever, every hour but a little
		note("prom", "x")
		pass(59 * time.Minute)
	}
	if len(b.lines) != 3 || !strings.HasPrefix(b.lines[1], "prom|probe-again|x|24 more times") {
		t.Errorf("a day of it: %s", strings.Join(b.lines, "\n"))
	}

	b.lines = nil
	for i := range 1000 { // a scan
		note("bad", fmt.Sprint("t", i))
	}
	pass(time.Minute)
	if n := len(b.lines); n != mostLines+1 || b.lines[n-1] != "bad|probe-more|940 probes|not listed one by one: at most 60 lines a minute" {
		t.Errorf("a scan is %d lines, the last: %s", n, b.lines[n-1])
	}

	b.fails = errors.New("disk full")
	for range 2 {
		if err := b.note(entry{"me", "probe", "new", ""}); err == nil {
			t.Error("what cannot be written is let pass")
		}
	}
}

// TestLedgerIsBounded has more callers and targets than are told apart.
func TestLedgerIsBounded(t *testing.T) {
	b := newBook()
	for i := range 3 * mostEntries {
		if err := b.note(entry{fmt.Sprint("caller", i), "probe", fmt.Sprint("t", i), ""}); err != nil {
			t.Fatal(err)
		}
		b.at = b.at.Add(10 * time.Millisecond)
	}
	if len(b.known) > mostEntries || len(b.left) > mostLinesAll+1 || len(b.lines) > 6*mostLinesAll {
		t.Errorf("%d entries, %d actors, %d lines", len(b.known), len(b.left), len(b.lines))
	}
}
