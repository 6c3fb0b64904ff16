package council

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/probe/compare"
	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// got is an answer with this body from this edge.
func got(edge, body string) compare.Answer {
	return compare.Answer{Edge: edge, Status: 200, Size: int64(len(body)), SHA256: sha256.Sum256([]byte(body))}
}

func (i *isle) gets() *compare.Answer {
	i.mu.Lock()
	defer i.mu.Unlock()
	a := i.edge
	return &a
}

func (i *isle) serve(a compare.Answer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.edge = a
}

// ask is Options.Origin.
func (i *isle) ask(_ context.Context, _, url, host string) (*compare.Answer, string) {
	i.sea.mu.Lock()
	defer i.sea.mu.Unlock()
	i.sea.asked[i.name+" "+url+" "+host]++
	if a, ok := i.sea.origin[url+" "+host]; ok {
		return &a, ""
	}
	return nil, "connection refused"
}

func (s *sea) behind(origin map[string]compare.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.origin = origin
}

func compared(rules definition.Compare) Definition {
	d := webs(1, 6)
	d.Compare = &rules
	d.Targets[0].Host = "cdn.example.com/a?b=c"
	return d
}

const compareTarget = "cdn.example.com/a?b=c"

// wantDifferences asks the island for the differences of the only target, and its judge
// for the series that say so.
func (i *isle) wantDifferences(when string, series map[string]string, want ...string) {
	t := i.sea.t
	t.Helper()
	v := i.verdict(compareTarget)
	var lines []string
	for _, d := range v.Differences {
		lines = append(lines, strings.ReplaceAll(d.String(), v.Judge, "JUDGE"))
	}
	for n := range want {
		want[n] = strings.ReplaceAll(want[n], v.Judge, "JUDGE")
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("%s: differences (-want +got):\n%s", when, diff)
	}
	found := map[string]string{}
	for _, line := range i.sea.all[v.Judge].store.series(Mismatch) {
		_, line, _ = strings.Cut(line, `what="`)
		what, value, _ := strings.Cut(line, `"} `)
		found[what] = value
	}
	if diff := cmp.Diff(series, found); diff != "" {
		t.Errorf("%s: series (-want +got):\n%s", when, diff)
	}
	if v.State.String() != "up" {
		t.Errorf("%s: the target is %s", when, v.State)
	}
}

const (
	oldBody = "4 bytes (sha256 f28d6cfd0ebc…)"
	newBody = "3 bytes (sha256 11507a0e2f5e…)"
)

// TestCompareEdges: two of six get another body from another edge, then an old copy, then
// nothing at all.
func TestCompareEdges(t *testing.T) {
	inBubble(t, func(ctx context.Context, s *sea) {
		all := six(ctx, s, compared(definition.Compare{MaxAge: model.Duration(10 * time.Minute), Headers: []string{"etag"}}))
		osaka, tokyo := all[0], all[2] // cn-0, cn-1
		fine := map[string]string{"status": "0", "body": "0", "age": "0", "Etag": "0"}
		time.Sleep(time.Minute)
		all[1].wantDifferences("at first", fine)

		osaka.serve(got("203.0.113.7", "old!"))
		tokyo.serve(got("203.0.113.7", "old!"))
		time.Sleep(25 * time.Second)
		all[1].wantDifferences("another body", map[string]string{"status": "0", "body": "1", "age": "0", "Etag": "0"},
			"body: cn-0, cn-1 get "+oldBody+" from 203.0.113.7, want "+newBody)

		aged := got("203.0.113.7", "new")
		aged.Age = 20 * time.Minute
		osaka.serve(aged)
		tagged := got("192.0.2.1", "new")
		tagged.Header = map[string]string{"Etag": "x", "Server": "not asked for"}
		tokyo.serve(tagged)
		time.Sleep(25 * time.Second)
		all[3].wantDifferences("an old copy", map[string]string{"status": "0", "body": "0", "age": "1", "Etag": "1"},
			`Etag: cn-1 gets "x" from 192.0.2.1, want none`,
			"age: cn-0 gets a copy of more than 20m0s from 203.0.113.7, want at most 10m0s")

		// One probe without an answer says nothing of what is served; a vantage that is
		// down gets nothing.
		osaka.fail("*", "connect_timeout")
		tokyo.serve(got("192.0.2.1", "new"))
		time.Sleep(45 * time.Second)
		all[3].wantDifferences("down from one", fine)

		// The judge dies: the next one compares.
		osaka.fail("*", "")
		time.Sleep(25 * time.Second)
		judge := s.all[all[1].verdict(compareTarget).Judge]
		judge.end()
		time.Sleep(leeway + 15*time.Second)
		all = slices.DeleteFunc(all, func(i *isle) bool { return i == judge })
		if judge != osaka {
			all[0].wantDifferences("another judge", map[string]string{"status": "0", "body": "0", "age": "1", "Etag": "0"},
				"age: cn-0 gets a copy of more than 20m0s from 203.0.113.7, want at most 10m0s")
		}

		// Without the key nothing is left of it.
		for _, i := range all {
			d := compared(definition.Compare{})
			d.Compare = nil
			i.Define(map[string]Definition{d.Name: d})
		}
		time.Sleep(25 * time.Second)
		all[1].wantDifferences("not compared any more", map[string]string{})
	})
}

// TestCompareOrigin: the judge, and it alone, asks the origin for the target's path.
func TestCompareOrigin(t *testing.T) {
	inBubble(t, func(ctx context.Context, s *sea) {
		const at = "https://192.0.2.9/a?b=c cdn.example.com"
		s.behind(map[string]compare.Answer{at: got("192.0.2.9", "new")})
		all := six(ctx, s, compared(definition.Compare{Origin: "https://192.0.2.9"}))
		fine := map[string]string{"status": "0", "body": "0", "origin": "0"}
		time.Sleep(time.Minute)
		all[1].wantDifferences("at first", fine)

		s.behind(map[string]compare.Answer{at: got("192.0.2.9", "old!")})
		time.Sleep(25 * time.Second)
		every := "body: cn-0, cn-1, cn-2, eu-0 and 2 more get " + newBody + " from 192.0.2.1, want " + oldBody
		all[2].wantDifferences("another origin", map[string]string{"status": "0", "body": "1", "origin": "0"}, every)

		// It is not forgotten at once, and without it vantages are compared.
		s.behind(nil)
		time.Sleep(9 * time.Second)
		all[2].wantDifferences("it failed once", map[string]string{"status": "0", "body": "1", "origin": "0"}, every)
		all[0].serve(got("203.0.113.7", "old!"))
		time.Sleep(30 * time.Second)
		all[2].wantDifferences("no origin", map[string]string{"status": "0", "body": "1", "origin": "1"},
			"origin: JUDGE gets no answer (connection refused) from https://192.0.2.9/a?b=c, want one to compare with",
			"body: cn-0 gets "+oldBody+" from 203.0.113.7, want "+newBody)

		s.behind(map[string]compare.Answer{at: got("192.0.2.9", "new")})
		all[0].serve(got("203.0.113.7", "new"))
		time.Sleep(30 * time.Second)
		all[2].wantDifferences("as it was", fine)

		judge := all[2].verdict(compareTarget).Judge
		s.mu.Lock()
		defer s.mu.Unlock()
		for who, n := range s.asked {
			if name, where, _ := strings.Cut(who, " "); where != at || name != judge && n > 2 || n > 20 {
				t.Errorf("%s: asked %d times", who, n)
			}
		}
	})
}

// TestOriginsAtOnce: those that are one are asked once, and only so many at a time.
func TestOriginsAtOnce(t *testing.T) {
	const targets = 40
	for origin, want := range map[string]int{"https://origin.example.com/one": 1, "https://origin.example.com": originsAtOnce} {
		d := webs(targets, 1)
		d.Shared, d.Compare = false, &definition.Compare{Origin: origin}
		for n := range d.Targets {
			d.Targets[n].Host += "/" + strings.Repeat("x", n)
		}
		c := alone(t, d)
		c.o.Origin = func(context.Context, string, string, string) (*compare.Answer, string) { return nil, "no" }
		now := time.Now()
		for _, target := range d.Targets {
			c.leads(c.open(NewTarget(d.Name, target.Text(), noAddress, labels.EmptyLabels())))
		}
		asked := 0
		for {
			asks := c.inquiries(now)
			if len(asks) == 0 {
				break
			}
			if len(asks) > want {
				t.Errorf("%s: %d are asked at once, want %d", origin, len(asks), want)
			}
			asked += len(asks)
			if len(c.inquiries(now)) != 0 {
				t.Errorf("%s: more are asked meanwhile", origin)
			}
			for _, o := range asks {
				c.ask(t.Context(), o)
			}
		}
		if all := len(c.origins); asked != all || all != 1 && all != targets {
			t.Errorf("%s: %d questions to %d origins", origin, asked, all)
		}
		clear(c.dockets)
		if c.inquiries(now.Add(time.Hour)); len(c.origins) != 0 {
			t.Errorf("%s: %d origins of nothing", origin, len(c.origins))
		}
	}
}

// TestCompareOldIsland: the votes of islands that tell no answers count, and nothing is
// compared of them.
func TestCompareOldIsland(t *testing.T) {
	inBubble(t, func(ctx context.Context, s *sea) {
		all := six(ctx, s, compared(definition.Compare{}))
		fine := map[string]string{"status": "0", "body": "0"}
		time.Sleep(time.Minute)
		old := all[0]
		if all[1].verdict(compareTarget).Judge == old.name {
			old = all[1]
		}
		mute := func(yes bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.mute[old.name] = yes
		}
		mute(true)
		old.serve(got("203.0.113.7", "old!"))
		time.Sleep(25 * time.Second)
		all[2].wantDifferences("no answer of one", fine)
		if v := all[2].verdict(compareTarget); len(v.Fine) != 6 {
			t.Errorf("votes without answers: %s", v.Words)
		}
		mute(false)
		old.serve(got("203.0.113.8", "old!"))
		time.Sleep(25 * time.Second)
		all[2].wantDifferences("an answer of all", map[string]string{"status": "0", "body": "1"},
			"body: "+old.name+" gets "+oldBody+" from 203.0.113.8, want "+newBody)
	})
}

// TestRefusedAnswers: what no island can have got.
func TestRefusedAnswers(t *testing.T) {
	for name, answer := range map[string]*probepb.Answer{
		"edge":            {Status: 200, Edge: "nowhere"},
		"zone":            {Status: 200, Edge: "fe80::1%x"},
		"status":          {Status: 20},
		"size":            {Status: 200, Size: -1},
		"hash":            {Status: 200, Sha256: []byte("short")},
		"odd headers":     {Status: 200, Headers: []string{"A"}},
		"long header":     {Status: 200, Headers: []string{"A", strings.Repeat("x", 200)}},
		"control":         {Status: 200, Headers: []string{"A", "x\ny"}},
		"too many":        {Status: 200, Headers: slices.Repeat([]string{"A", "b"}, 200)},
		"older than time": {Status: 200, AgeMs: 1 << 63},
	} {
		t.Run(name, func(t *testing.T) {
			d := webs(1, 3)
			d.Compare = &definition.Compare{}
			c := alone(t, d)
			r := &probepb.CastRequest{Session: 5, Begin: true, Held: 1, Votes: []*probepb.Vote{voteOn(1, "host-0", func(v *probepb.Vote) { v.Answer = answer })}}
			if _, err := c.Hear(Voter{Name: "there"}, r); err != nil {
				t.Fatal(err)
			}
			if len(c.dockets) != 0 {
				t.Error("the vote counts")
			}
		})
	}
}
