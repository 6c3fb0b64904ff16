package share

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

func exampleMessage(r *rule.Rule) *message {
	ls := labels.FromStrings("__name__", "m", "job", "a")
	var a partial.Acc
	a.Observe(r.Needs(), 99_000, 7)
	a.Increase.Add(3.25)
	total := partial.Acc{Increase: partial.Sum2{Hi: 100, Lo: 1e-20}}
	return &message{
		life: 3, stance: stance{1 << 60, 3}, done: true, boot: 9, plans: []*plan{newPlan(4, []move{{7, "n1", "n0"}, {9, "n0", "n2"}})},
		views:   []viewRef{{[]string{"n0", "n1"}, false, 8}, {[]string{"n0"}, true, 0}},
		islands: []island{{"n2", 4000, 5000}}, sealed: []mark{{r.Hash, 90_000}},
		words: []saying{{r.Hash, 1, "n0", 80_000}}, loadView: 5, loads: []loadOf{{3, 1000}},
		states: []state{{rule: r, groups: []stateGroup{{
			labels: ls, hash: ls.Hash(),
			counts: []count{{source: source{"n0", 1}, asOf: 90_000, seq: 4, acc: partial.Acc{Increase: partial.Sum2{Hi: 5}}}},
			in:     spans{{10_000, 50_000}, {70_000, 70_000}}, apart: spans{{60_000, 60_000}}, claims: []claim{{60_000, true, 3, a}}, left: []leftPart{{70_000, true, true, said{source{"n3", 2}, 1, a}}}, changed: []int64{30_000},
		}}}},
		parts: []*part{
			{rule: r, end: 100_000, revision: 2, late: true, last: true, asOf: 110_001, seq: 8, needs: r.Needs(), rows: []row{{partial.Row{Group: ls, Hash: ls.Hash(), Acc: a}, &total}}},
			{rule: r, end: 110_000, last: true, asOf: 110_000, seq: 9, needs: r.Needs()},
		},
	}
}

func TestMessageThereAndBack(t *testing.T) {
	set := load(t, ruleText)
	r := set.Rules[0]
	find := func(hash uint64) *rule.Rule {
		if hash == r.Hash {
			return r
		}
		return nil
	}
	b := exampleMessage(r).append(nil)
	m, err := decodeMessage(b, find)
	if err != nil {
		t.Fatal(err)
	}
	if again := m.append(nil); !bytes.Equal(b, again) {
		t.Errorf("other bytes after decoding: %s", cmp.Diff(b, again))
	}
	if len(m.parts) != 2 || m.parts[0].rows[0].total.Increase != (partial.Sum2{Hi: 100, Lo: 1e-20}) || !m.parts[0].late {
		t.Errorf("parts are %+v", m.parts)
	}
	m, err = decodeMessage(b, func(uint64) *rule.Rule { return nil })
	if err != nil || len(m.parts) != 0 || len(m.unknown) != 3 {
		t.Errorf("without the rule: %+v, %v; want nothing but three unknown ones", m, err)
	}
	for n := range b {
		if _, err := decodeMessage(b[:n], find); err == nil {
			t.Fatalf("%d of %d bytes were taken for a message", n, len(b))
		}
	}
}

// What is taken for a message stays one when it is written again; no bytes of a
// stranger panic.
func FuzzMessage(f *testing.F) {
	set := load(f, ruleText)
	r := set.Rules[0]
	f.Add(exampleMessage(r).append(nil))
	f.Add((&reply{boot: 3, taken: true, rules: []told{{1, 2, 3}}}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeReply(b)
		m, err := decodeMessage(b, func(uint64) *rule.Rule { return r })
		if err != nil || len(m.parts) > 64 || len(m.states) > 64 {
			return
		}
		if _, err := decodeMessage(m.append(nil), func(uint64) *rule.Rule { return r }); err != nil {
			t.Errorf("not a message when written again: %v", err)
		}
	})
}

// Parts of three islands of 1M series each in 1k groups are far below 2 % of what
// the same samples take as raw remote write (20.9 bytes each, measured).
func TestBytesOnTheWire(t *testing.T) {
	const (
		islands, series, groups = 3, 1_000_000, 1000
		perWindow               = 6 // samples of a series: every 10 s, windows of 1m
		rawBytes                = 20.9
	)
	set := load(t, "- {interval: 1m, without: [instance, pod], outputs: [total]}\n")
	r := set.Rules[0]
	v := newView([]string{"island-a", "island-b", "island-c"}, false, nil)
	c, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	sent := 0
	for range islands {
		w := &partial.Window{Rule: r, End: 60_000}
		for g := range groups {
			ls := labels.FromStrings("__name__", "http_requests_total", "job", fmt.Sprint("service-", g/10), "code", fmt.Sprint(200+g%10), "namespace", fmt.Sprint("team-", g%37))
			a := partial.Acc{Increase: partial.Sum2{Hi: float64(rnd.IntN(1e6)) + rnd.Float64()}}
			w.Rows = append(w.Rows, partial.Row{Group: ls, Hash: ls.Hash(), Acc: a})
		}
		rs := newRuleState(r, 1)
		p := rs.part(source{"island-a", 1}, w, false)
		for to := range islands {
			one := *p
			one.rows = append([]row(nil), p.rows...)
			one.cut(v, int16(to), 0, &room{groups, 1, 1 << 30})
			m := &message{life: 1, boot: 2, views: []viewRef{{v.Members, false, 0}}, parts: []*part{&one}}
			sent += len(c.pack(m.append(nil)))
		}
	}
	raw := float64(islands * series * perWindow * rawBytes)
	share := float64(sent) / raw
	t.Logf("%d bytes of parts, %.4f %% of %.0f MB of raw remote write", sent, 100*share, raw/1e6)
	if share > 0.02 || sent < islands*groups {
		t.Errorf("%d bytes are %.3f %% of raw remote write; want at most 2 %%", sent, 100*share)
	}
}
