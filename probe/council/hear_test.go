package council

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/emit"
	"github.com/atoll-mesh/atoll/probe/verdict"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// alone is a Council that nothing runs.
func alone(t testing.TB, d Definition) *Council {
	t.Helper()
	e, err := emit.New(&memory{last: map[string]float64{}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{Self: func() verdict.Vantage { return verdict.Vantage{Name: "here"} }, Emitter: e})
	if err != nil {
		t.Fatal(err)
	}
	c.Define(map[string]Definition{d.Name: d})
	return c
}

func voteOn(id uint64, instance string, change func(*probepb.Vote)) *probepb.Vote {
	v := &probepb.Vote{Id: id, Target: &probepb.Target{Definition: "web", Instance: instance}, State: 3, Code: "status", Bad: 1, Of: 3}
	if change != nil {
		change(v)
	}
	return v
}

// TestRefused: votes that do not count, and those which do beside them.
func TestRefused(t *testing.T) {
	d := webs(2, 3)
	from, err := definition.Read("web", "web.yml", []byte("targets: [host-0]\nfrom: '{region=\"eu\"}'\n"))
	if err != nil {
		t.Fatal(err)
	}
	d.From = from.From
	pairs := func(p ...string) func(*probepb.Vote) { return func(v *probepb.Vote) { v.Target.Labels = p } }
	for name, test := range map[string]struct {
		region string
		vote   *probepb.Vote
		want   bool
	}{
		"as it should be":     {"eu", voteOn(1, "host-0", nil), true},
		"with labels":         {"eu", voteOn(1, "host-0", pairs("a", "b")), true},
		"not selected":        {"us", voteOn(1, "host-0", nil), false},
		"no such target":      {"eu", voteOn(1, "host-7", nil), false},
		"no such definition":  {"eu", voteOn(1, "host-0", func(v *probepb.Vote) { v.Target.Definition = "x" }), false},
		"no target":           {"eu", &probepb.Vote{Id: 1}, false},
		"no such state":       {"eu", voteOn(1, "host-0", func(v *probepb.Vote) { v.State = 9 }), false},
		"more bad than there": {"eu", voteOn(1, "host-0", func(v *probepb.Vote) { v.Bad = 4 }), false},
		"words for a code":    {"eu", voteOn(1, "host-0", func(v *probepb.Vote) { v.Code = "A b\n" }), false},
		"address":             {"eu", voteOn(1, "host-0", func(v *probepb.Vote) { v.Target.Address = "x" }), false},
		"too many phases":     {"eu", voteOn(1, "host-0", func(v *probepb.Vote) { v.PhasesUs = make([]uint64, 7) }), false},
		"name of a series":    {"eu", voteOn(1, "host-0", pairs("__name__", "up")), false},
		"label of ours":       {"eu", voteOn(1, "host-0", pairs("job", "x")), false},
		"odd labels":          {"eu", voteOn(1, "host-0", pairs("a")), false},
		"labels twice":        {"eu", voteOn(1, "host-0", pairs("a", "1", "a", "2")), false},
		"bytes":               {"eu", voteOn(1, "host-0", pairs("a", "\xff\xfe")), false},
		"another server":      {"eu", voteOn(1, "host-0", pairs("server_name", "x")), false},
		"no failure's ID":     {"eu", voteOn(1, "host-0", func(v *probepb.Vote) { v.Failure = "01x" }), false},
		"turns in disorder":   {"eu", voteOn(1, "host-0", func(v *probepb.Vote) { v.Turns = []*probepb.Turn{{AgoMs: 1}, {AgoMs: 2}} }), false},
		"too many turns":      {"eu", voteOn(1, "host-0", func(v *probepb.Vote) { v.Turns = make([]*probepb.Turn, verdict.MostTurns+1) }), false},
		"long":                {"eu", voteOn(1, "host-0", pairs("a", strings.Repeat("x", 5000))), false},
	} {
		t.Run(name, func(t *testing.T) {
			c := alone(t, d)
			r := &probepb.CastRequest{Session: 5, Begin: true, Held: 1, Votes: []*probepb.Vote{test.vote}}
			answer, err := c.Hear(Voter{Name: "there", Labels: map[string]string{"region": test.region}}, r)
			if err != nil || answer.GetAgain() {
				t.Fatalf("%v, %v", answer, err)
			}
			if got := len(c.dockets) == 1; got != test.want {
				t.Errorf("counts: %v, want %v", got, test.want)
			}
			if refused := answer.GetRefused(); len(refused) != 0 == test.want {
				t.Errorf("the voter is told %v", refused)
			}
		})
	}
}

// TestSession: what is told again, and what makes it so.
func TestSession(t *testing.T) {
	c := alone(t, webs(3, 3))
	there := Voter{Name: "there"}
	hear := func(r *probepb.CastRequest) *probepb.CastResponse {
		t.Helper()
		answer, err := c.Hear(there, r)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if !hear(&probepb.CastRequest{Session: 1, Held: 1}).GetAgain() {
		t.Error("an unknown session is taken")
	}
	hear(&probepb.CastRequest{Session: 1, Begin: true, Held: 2, Votes: []*probepb.Vote{voteOn(1, "host-0", nil), voteOn(2, "host-1", nil)}})
	if hear(&probepb.CastRequest{Session: 1, Held: 2}).GetAgain() {
		t.Error("all votes are there")
	}
	if !hear(&probepb.CastRequest{Session: 1, Held: 3}).GetAgain() {
		t.Error("one vote is missing, which is not said")
	}
	seen := hear(&probepb.CastRequest{Session: 1, Held: 1, Withdrawn: []uint64{2}, Asked: []uint64{1, 2, 77}}).GetSeen()
	if len(seen) != 1 || seen[0].GetId() != 1 || len(c.dockets[NewTarget("web", "host-1", noAddress, labels.EmptyLabels())].ballots) != 0 {
		t.Errorf("a vote that was withdrawn still counts: %v", seen)
	}
	// A definition that comes later has the votes on it told again.
	d := webs(3, 3)
	hear(&probepb.CastRequest{Session: 1, Held: 2, Votes: []*probepb.Vote{voteOn(3, "host-0", func(v *probepb.Vote) { v.Target.Definition = "new" })}})
	later := *d.Definition
	later.Name = "new"
	c.Define(map[string]Definition{"web": d, "new": {Definition: &later, Shared: true, Expected: 3}})
	if !hear(&probepb.CastRequest{Session: 1, Held: 2}).GetAgain() {
		t.Error("a vote on a definition that is new is not asked for")
	}
	if _, err := c.Hear(Voter{Name: "here"}, &probepb.CastRequest{}); err == nil {
		t.Error("somebody votes in the name of this island")
	}
	c.Retain([]string{"here"})
	if len(c.voters) != 0 {
		t.Error("one that is no member still votes")
	}
}

var noAddress netip.Addr

// TestOldIsland does not know what votes are: the others judge.
func TestOldIsland(t *testing.T) {
	inBubble(t, func(ctx context.Context, s *sea) {
		s.old = map[string]bool{"cn-0": true}
		all := six(ctx, s, webs(8, 6))
		time.Sleep(2 * time.Minute)
		for n := range 8 {
			v := all[2].verdict(fmt.Sprintf("host-%d", n))
			if v.Judge == "cn-0" || len(v.Fine) < 5 {
				t.Errorf("%s says: %s", v.Judge, v.Words)
			}
		}
	})
}

var errOld = grpcstatus.Error(codes.Unimplemented, "unknown service")

// TestLocal is judged here alone, and leaves with its target.
func TestLocal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newSea(t)
		d := webs(1, 0)
		d.Shared = false
		i, other := s.isle(ctx, "a", "eu", "", d), s.isle(ctx, "b", "eu", "", d)
		i.fail("host-0", "status")
		time.Sleep(time.Minute)
		if v, _ := i.Here(Filter{}); len(v) != 1 || v[0].State != verdict.Down || !v[0].Page || len(v[0].Failing) != 1 {
			t.Errorf("here: %+v", v)
		}
		if v, _ := other.Here(Filter{}); len(v) != 1 || v[0].State != verdict.Up || len(v[0].Fine) != 1 {
			t.Errorf("elsewhere: %+v", v)
		}
		if s.n != 0 {
			t.Errorf("%d messages about what is an island's own", s.n)
		}
		i.Define(nil)
		time.Sleep(2 * time.Second)
		if got := slices.Concat(i.store.series(State), i.store.series(Page), i.store.series(Info)); len(got) != 0 {
			t.Errorf("series of what is gone: %q", got)
		}
		cancel()
		<-i.done
		<-other.done
	})
}

// TestCutOff: with nobody to ask, most targets failing is said to be the way out.
func TestCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newSea(t)
		d := webs(5, 0)
		d.Shared = false
		i := s.isle(ctx, "a", "eu", "", d)
		time.Sleep(time.Minute)
		i.fail("*", "connect_timeout")
		time.Sleep(time.Minute)
		if v := i.verdict("host-1"); v.State != verdict.Unknown || v.Page || len(v.Blind) != 1 {
			t.Errorf("%s, page %v: %s", v.State, v.Page, v.Words)
		}
		if got := i.store.series(Blind); len(got) != 1 || !strings.HasSuffix(got[0], " 2") {
			t.Errorf("series of the vantage: %q", got)
		}
		cancel()
		<-i.done
	})
}

// FuzzHear holds whatever peers send against what is kept of it.
func FuzzHear(f *testing.F) {
	seed, err := proto.Marshal(&probepb.CastRequest{Session: 5, Begin: true, Held: 1, Votes: []*probepb.Vote{voteOn(1, "host-0", nil)}, Withdrawn: []uint64{1}, Asked: []uint64{1}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, seed)
	answer := &probepb.Answer{Edge: "192.0.2.1", Status: 200, Size: 3, Sha256: make([]byte, 32), Headers: []string{"Etag", "x", "Server", "y"}, AgeMs: 60_000}
	told, err := proto.Marshal(&probepb.CastRequest{Session: 5, Begin: true, Held: 1, Votes: []*probepb.Vote{voteOn(1, "host-0", func(v *probepb.Vote) { v.Answer = answer })}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, told)
	f.Fuzz(func(t *testing.T, one, two []byte) {
		d := webs(2, 3)
		d.Compare = &definition.Compare{Headers: []string{"ETag"}, MaxAge: model.Duration(time.Minute)}
		c := alone(t, d)
		for _, text := range [][]byte{one, two} {
			r := &probepb.CastRequest{}
			if proto.Unmarshal(text, r) != nil {
				return
			}
			if _, err := c.Hear(Voter{Name: "there"}, r); err != nil {
				t.Fatal(err)
			}
		}
		for target, d := range c.dockets {
			if target.Instance != "host-0" && target.Instance != "host-1" {
				t.Errorf("a docket of %q", target.Instance)
			}
			_ = target.series(c.defs["web"])
			c.count(d, time.Now())
			c.compare(d)
			for _, b := range d.ballots {
				if b.answer != nil && (!b.answer.Plain() || len(b.answer.Header) > 1) {
					t.Errorf("kept of an answer: %+v", b.answer)
				}
			}
			if len(d.ballots) > 1 {
				t.Errorf("one island has %d votes", len(d.ballots))
			}
		}
		_ = c.Answer(&probepb.ListRequest{})
	})
}

// FuzzRead takes what another island says of its verdicts.
func FuzzRead(f *testing.F) {
	seed, err := proto.Marshal(&probepb.ListResponse{Verdicts: []*probepb.Verdict{{
		Target: &probepb.Target{Definition: "web", Instance: "x"}, State: 3, Words: "down", Ballots: []*probepb.Ballot{{Vantage: "a", Counted: 1}},
		Differences: []*probepb.Difference{{What: "body", Vantages: []string{"a"}, Edges: []string{"192.0.2.1"}, Want: "x", Got: "y"}},
	}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, text []byte) {
		r := &probepb.ListResponse{}
		if proto.Unmarshal(text, r) != nil {
			return
		}
		for _, v := range (Filter{}).read("there", r) {
			if v.State > verdict.Down || len(v.Words) > longestSentence || v.Instance == "" {
				t.Errorf("%+v", v)
			}
			if len(v.Differences) > mostDifferences {
				t.Errorf("%d differences", len(v.Differences))
			}
			for _, d := range v.Differences {
				if len(d.Vantages) > mostConcerned || len(d.String()) > 20_000 {
					t.Errorf("a difference of %d bytes", len(d.String()))
				}
			}
		}
	})
}
