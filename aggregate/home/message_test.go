package home

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/atoll-mesh/atoll/aggregate/engine"
	"github.com/atoll-mesh/atoll/aggregate/slots"
)

func someMessage(r *rand.Rand) *message {
	m := &message{boot: r.Uint64(), to: r.Uint64(), view: r.Uint64(), done: r.IntN(2) == 0, full: r.IntN(2) == 0, round: uint8(r.IntN(256)), poll: r.IntN(2) == 0, ack: r.Uint64()}
	for range r.IntN(4) {
		c := claim{Series: engine.Series{ID: r.Uint64() | 1, Ref: r.Uint32()}, kind: claimKind(r.IntN(int(claimKinds)))}
		if c.kind == claimTook {
			c.from = r.Uint64()
		}
		m.claims = append(m.claims, c)
	}
	for _, list := range []*[]watch{&m.watches, &m.asks, &m.tooks} {
		for range r.IntN(4) {
			w := watch{id: r.Uint64(), there: r.Uint32(), here: r.Uint32(), t: math.MinInt64}
			if r.IntN(2) == 0 {
				w.t, w.v = r.Int64N(1<<52)-1<<51, r.Float64()
			}
			*list = append(*list, w)
		}
	}
	for range r.IntN(3) {
		m.wills = append(m.wills, will{id: r.Uint64(), t: r.Int64N(1<<52) - 1<<51, v: r.Float64(), step: uint8(r.IntN(256))})
	}
	return m
}

func someReply(r *rand.Rand) *reply {
	p := &reply{boot: r.Uint64(), taken: r.IntN(2) == 0, polled: r.IntN(2) == 0, seq: r.Uint64(), through: r.Int64N(1 << 50), due: -r.Int64N(1 << 50), newest: r.Int64N(1 << 50)}
	for range r.IntN(4) {
		v := verdict{kind: verdictKind(r.IntN(int(verdictKinds)))}
		if v.kind == verdictElse {
			v.home, v.there = r.Uint64(), r.Uint32()
		}
		p.verdicts = append(p.verdicts, v)
	}
	for range r.IntN(4) {
		s := state{id: r.Uint64(), here: r.Uint32(), kind: stateKind(1 + r.IntN(int(stateKinds)-1)), t: math.MinInt64}
		switch s.kind {
		case stateMoved:
			s.home, s.there = r.Uint64(), r.Uint32()
		case stateOffer, stateGiven:
			s.step, s.ended = uint8(r.IntN(256)), r.IntN(2) == 0
			if r.IntN(2) == 0 {
				s.t, s.v = r.Int64N(1<<50), r.Float64()
			}
		}
		p.states = append(p.states, s)
	}
	return p
}

func TestMessages(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		m := someMessage(r)
		if got, err := decodeMessage(m.encode()); err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("message is %+v, want %+v (%v)", got, m, err)
		}
		p := someReply(r)
		if got, err := decodeReply(p.encode()); err != nil || !reflect.DeepEqual(got, p) {
			t.Fatalf("reply is %+v, want %+v (%v)", got, p, err)
		}
	}
}

// A new series costs 14 bytes once: 13 to its directory, 1 back.
func TestClaimIsSmall(t *testing.T) {
	const n = 1000
	m, p := &message{}, &reply{}
	for i := range n {
		m.claims = append(m.claims, claim{Series: engine.Series{ID: uint64(i) + 1, Ref: uint32(i)}})
		p.verdicts = append(p.verdicts, verdict{})
	}
	bare := len((&message{}).encode()) + len((&reply{}).encode())
	if size := len(m.encode()) + len(p.encode()) - bare; size > 15*n {
		t.Errorf("%d claims take %d bytes, want at most %d", n, size, 15*n)
	}
}

func FuzzMessage(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 5 {
		f.Add(someMessage(r).encode())
		f.Add(someReply(r).encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeMessage(b); err == nil {
			if again, err := decodeMessage(m.encode()); err != nil || len(again.claims) != len(m.claims) || !bytes.Equal(again.encode(), m.encode()) {
				t.Errorf("message changes: %+v, %+v (%v)", m, again, err)
			}
		}
		if p, err := decodeReply(b); err == nil {
			if again, err := decodeReply(p.encode()); err != nil || !bytes.Equal(again.encode(), p.encode()) {
				t.Errorf("reply changes: %+v, %+v (%v)", p, again, err)
			}
		}
	})
}

// What a directory answers does not depend on who asks first where one has it.
func TestDirectory(t *testing.T) {
	const a, b, c = 1, 2, 3
	here := map[uint64]bool{a: true, b: true, c: true}
	member := func(m uint64) bool { return here[m] }
	var d directory
	d.own(slots.New([]string{"x", "y"}), slots.New([]string{"x", "y"}).First[slots.Of(7)], 1000)
	x := claim{Series: engine.Series{ID: 7, Ref: 70}}
	is := func(what string, got verdict, want verdict) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	is("young, new", d.claim(a, x, 0, 2000, member), verdict{kind: verdictWait})
	had := claim{Series: engine.Series{ID: 7, Ref: 72}, kind: claimAgain}
	is("young, counted before", d.claim(b, had, 0, 2000, member), verdict{kind: verdictWait})
	is("counted by another before", d.claim(a, x, 0, 1000+ripeAfter, member), verdict{kind: verdictSeen})
	d.sweep(a, 9, 0, slots.Count)
	d.forget(3000 + againFor)
	d.unheard = true
	is("old enough, and one was not heard", d.claim(a, x, 0, 1000+ripeAfter, member), verdict{kind: verdictSeen})
	d.sweep(a, 9, 0, slots.Count)
	d.unheard = false
	is("old enough", d.claim(a, x, 0, 1000+ripeAfter, member), verdict{})
	is("had by another", d.claim(b, x, 0, 20_000, member), verdict{kind: verdictElse, home: a, there: 70})
	took := claim{Series: engine.Series{ID: 7, Ref: 71}, kind: claimTook, from: c}
	is("took from one that has not got it", d.claim(b, took, 0, 20_000, member), verdict{kind: verdictElse, home: a, there: 70})
	took.from = a
	is("took over", d.claim(b, took, 0, 20_000, member), verdict{})
	is("its former home", d.claim(a, x, 0, 20_000, member), verdict{kind: verdictElse, home: b, there: 71})
	delete(here, b)
	is("of one that is lost", d.claim(a, x, 0, 20_000, member), verdict{kind: verdictSeen})
	d.sweep(a, 1, 0, slots.Count)
	if n := d.len(); n != 0 {
		t.Errorf("%d series after a round that told none, want 0", n)
	}
	d.lost, d.since[slots.Of(7)] = 30_000, 30_000
	is("new where a lost one had the directory", d.claim(a, x, 0, 50_000, member), verdict{kind: verdictSeen})
}
