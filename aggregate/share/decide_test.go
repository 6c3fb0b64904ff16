package share

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// pages are a journal in memory.
type pages struct{ frames [][]byte }

func (p *pages) Append(frame []byte) error {
	p.frames = append(p.frames, slices.Clone(frame))
	return nil
}

// An island that dies after it published a window, or before it knows that, and has
// only its journal, publishes no other value of it, whatever it sees of it then;
// where the values may not have left they come again.
func TestPublishedOnceOverADeath(t *testing.T) {
	for _, late := range []string{"carry", "correct"} {
		for _, at := range []string{"before the values leave", "before they leave, after a snapshot", "before it is noted that they left", "later"} {
			t.Run(late+" "+at, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { dieAfterDeciding(t, late, at) })
			})
		}
	}
}

func dieAfterDeciding(t *testing.T, late, at string) {
	n, p := newNet(t), &pages{}
	n.listed = []string{"a"}
	set := load(t, textOf(late))
	end := set.Rules[0].Window(time.Now().UnixMilli())
	s, stop := n.start("a", set, func(o *Options) {
		o.Journal = p
		if strings.HasPrefix(at, "before the") {
			o.Publish = func(context.Context, []partial.Sample) error { return errors.New("it dies here") }
		}
	})
	first := empty(s, end)
	first.Rows = append(first.Rows, row1("j", 5))
	seal(t, s, first)
	time.Sleep(15 * time.Second)
	var state bytes.Buffer
	if strings.HasSuffix(at, "snapshot") {
		if err := s.Snapshot(&state); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if at != "later" {
		p.frames = p.frames[:1] // also the word that they left was lost
	}
	s, err := New(Options{
		Self: "a", Rules: set, Members: n.members, Transport: line{n, "a"}, Start: uint64(time.Now().UnixNano()), Journal: p,
		Publish: func(context.Context, []partial.Sample) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if state.Len() > 0 {
		if err := s.Restore(&state); err != nil {
			t.Fatal(err)
		}
	}
	for _, frame := range p.frames {
		if err := s.Replay(frame); err != nil {
			t.Fatal(err)
		}
	}
	var got []partial.Sample
	s.o.Publish = func(_ context.Context, samples []partial.Sample) error {
		got = append(got, samples...)
		return nil
	}
	again := empty(s, end)
	again.Rows = append(again.Rows, row1("j", 3)) // less than it was
	seal(t, s, again)
	go func() {
		for k := range int64(6) {
			time.Sleep(10 * time.Second)
			seal(t, s, empty(s, end+10_000*(k+1)))
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	least := slices.IndexFunc(got, func(x partial.Sample) bool { return x.T == end })
	if at == "later" && least >= 0 && got[least].Revision == 0 || at != "later" && least < 0 {
		t.Errorf("it publishes %v again", got)
	}
	for _, x := range got {
		if x.T == end && x.Revision == 0 && x.Labels.Get("__name__") == "m:10s_by_job_increase" && x.V != 5 {
			t.Errorf("it publishes %v, want 5 or nothing", x)
		}
	}
	if len(n.in("increase", "j", end)) != 1 && !strings.HasPrefix(at, "before the") {
		t.Errorf("before it died it published %v", n.in("increase", "j", end))
	}
}

// Notes are packed well below what the results take themselves, and each batch is
// bounded, however much is due at a time.
func TestNotesAreSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const groups = 15_000
		n, p := newNet(t), &pages{}
		n.listed = []string{"a"}
		set := load(t, "- {interval: 1m, without: [instance, pod], outputs: [total]}\n")
		largest, samples := 0, 0
		s, stop := n.start("a", set, func(o *Options) {
			o.Journal = p
			o.Publish = func(_ context.Context, x []partial.Sample) error {
				largest, samples = max(largest, len(x)), samples+len(x)
				return nil
			}
		})
		defer stop()
		rnd := rand.New(rand.NewPCG(1, 2))
		base := set.Rules[0].Window(time.Now().UnixMilli())
		w := &partial.Window{Rule: set.Rules[0], End: base}
		for g := range groups {
			ls := labels.FromStrings("__name__", "http_requests_total", "job", fmt.Sprint("service-", g/10), "code", fmt.Sprint(200+g%10), "namespace", fmt.Sprint("team-", g%37))
			a := partial.Acc{Increase: partial.Sum2{Hi: float64(rnd.IntN(1e6))}}
			w.Rows = append(w.Rows, partial.Row{Group: ls, Hash: ls.Hash(), Acc: a})
		}
		seal(t, s, w)
		time.Sleep(time.Minute)
		bytes := 0
		for _, frame := range p.frames {
			bytes += len(frame)
		}
		per := float64(bytes) / groups
		t.Logf("%.1f bytes of journal for each group and window; %d notes, %d samples at most at a time", per, len(p.frames), largest)
		if samples != groups || per > 40 || largest == groups {
			t.Errorf("%d samples in batches of at most %d, %.1f bytes each; want %d in several, at most 40 bytes", samples, largest, per, groups)
		}
	})
}

func TestDropOfASpan(t *testing.T) {
	for end, want := range map[int64]spans{
		10: {{20, 30}, {50, 50}}, 20: {{10, 10}, {30, 30}, {50, 50}}, 30: {{10, 20}, {50, 50}}, 40: {{10, 30}, {50, 50}}, 50: {{10, 30}},
	} {
		s := spans{{10, 30}, {50, 50}}
		if s.drop(end, 10); !slices.Equal(s, want) {
			t.Errorf("without %d: %v, want %v", end, s, want)
		}
	}
}

// What is no note is refused.
func FuzzNote(f *testing.F) {
	set := load(f, ruleText)
	r := set.Rules[0]
	b := begin(7, nil)
	rs := newRuleState(r, 1)
	x := row1("j", 5)
	b.window(rs, 10_000, false)
	b.add(rs, 10_000, &verdict{x.Group, true, 3, x.Acc, &x.Acc})
	f.Add(b.note)
	f.Fuzz(func(t *testing.T, note []byte) {
		s, err := New(Options{
			Self: "a", Rules: set, Members: func() []string { return nil }, Transport: line{}, Start: 1,
			Publish: func(context.Context, []partial.Sample) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		err = s.restoreNote(note)
		s.mu.Unlock()
		if err != nil || s.decided == nil {
			return
		}
		before := len(s.decided.samples)
		again, _ := New(s.o)
		again.mu.Lock()
		err = again.restoreNote(s.decided.note)
		again.mu.Unlock()
		if err != nil || len(again.decided.samples) != before {
			t.Errorf("not the same when written again: %v", err)
		}
	})
}
