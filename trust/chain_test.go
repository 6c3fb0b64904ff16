package trust

import (
	"slices"
	"strings"
	"testing"

	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// extend adds an entry with the named roots.
func (w *world) extend(v NetworkValue, by string, minute int, roots ...string) NetworkValue {
	w.tb.Helper()
	var keys []Key
	for _, r := range roots {
		keys = append(keys, pub(r))
	}
	return must[NetworkValue](w.tb)(ExtendChain(v, keys, Key{}, testKey(by), at(minute)))
}

func TestRootRotationSideBySide(t *testing.T) {
	w := newWorld(t)
	first := w.founded()
	both := w.extend(first, "root", 10, "root", "root2")
	second := w.extend(both, "root2", 20, "root2")
	docs := w.reef()[1:]

	s := w.state(append(docs, w.networkDoc("root", both, 10))...)
	if len(s.Roots()) != 2 || !s.IsRoot(pub("root")) || !s.IsRoot(pub("root2")) {
		t.Fatalf("roots %v, want both", s.Roots())
	}
	if len(s.Members()) != 3 {
		t.Errorf("members %q while both roots are trusted", names(s))
	}
	s3 := w.signer("root2", "s3", 11)
	if err := s.Permit(s3); err != nil {
		t.Errorf("new root beside the old: %v", err)
	}

	// Once the old root is out, what it signed is void until the new one signs it.
	s, refusals := Evaluate(w.network, append(docs, w.networkDoc("root2", second, 20)))
	if s.IsRoot(pub("root")) || len(s.Signers()) != 0 || len(s.Members()) != 0 || len(refusals) != 6 {
		t.Errorf("with the old root out: roots %v, signers %v, members %q, %d refused", s.Roots(), s.Signers(), names(s), len(refusals))
	}
	s = w.state(append(docs, w.networkDoc("root2", second, 20), w.signer("root2", "s1", 19), w.signer("root2", "s2", 19))...)
	if len(s.Members()) != 3 {
		t.Errorf("with the signers adopted: members %q", names(s))
	}
	if err := s.Permit(w.networkDoc("root", both, 30)); err == nil {
		t.Error("the old root goes back to the chain that trusts it")
	}
	if got, ok := s.NetworkValue(); !ok || len(got.Chain) != 3 || got.Recovery() != pub("recovery") {
		t.Errorf("network value %+v, %v", got, ok)
	}
}

func TestForks(t *testing.T) {
	w := newWorld(t)
	first := w.founded()
	early := w.extend(first, "root", 10, "s1")
	late := w.extend(first, "root", 20, "s2")
	lateLong := w.extend(late, "s2", 30, "s3")
	rescue := w.extend(first, "recovery", 40, "root2")
	sameA, sameB := w.extend(first, "root", 50, "s1"), w.extend(first, "root", 50, "s2")
	for _, tc := range []struct {
		name         string
		wins, loses  NetworkValue
		author, lost string
	}{
		{"the longer continues the shorter", early, first, "s1", "root"},
		{"the earlier branch wins over a later, longer one", early, lateLong, "s1", "s3"},
		{"the recovery key wins over an earlier branch", rescue, early, "root2", "s1"},
		{"the recovery key wins over a longer branch", rescue, lateLong, "root2", "s3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			won, lost := w.networkDoc(tc.author, tc.wins, 60), w.networkDoc(tc.lost, tc.loses, 90)
			for _, docs := range [][]*replicapb.Document{{won, lost}, {lost, won}} {
				s := w.state(docs...)
				if !slices.Equal(s.Roots(), tc.wins.Roots()) {
					t.Errorf("roots %v, want %v", s.Roots(), tc.wins.Roots())
				}
				if s.Permit(lost) == nil {
					t.Error("the losing branch is permitted")
				}
			}
			if s := w.state(lost); s.Permit(won) != nil {
				t.Error("the winning branch is refused where the other is known")
			}
		})
	}
	if a, b := compareChains(sameA.Chain, sameB.Chain), compareChains(sameB.Chain, sameA.Chain); a == 0 || a != -b {
		t.Errorf("branches of one time: %d and %d, want one to win", a, b)
	}
}

// TestChainOrderIsTotal compares every pair and triple of a tree of chains.
func TestChainOrderIsTotal(t *testing.T) {
	w := newWorld(t)
	all := []NetworkValue{w.founded()}
	for i := 0; i < len(all) && len(all) < 20; i++ {
		v, minute := all[i], 10+i
		by := map[Key]string{pub("root"): "root", pub("s1"): "s1", pub("s2"): "s2", pub("root2"): "root2"}[v.Roots()[0]]
		all = append(all, w.extend(v, by, minute, "s1"), w.extend(v, by, minute, "s2"), w.extend(v, "recovery", minute+5, "root2"))
	}
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b NetworkValue) int { return compareChains(a.Chain, b.Chain) })
	for i, a := range sorted {
		for j, b := range sorted {
			if got := compareChains(a.Chain, b.Chain); got != min(1, max(-1, i-j)) {
				t.Fatalf("chains %d and %d of the sorted ones compare as %d", i, j, got)
			}
		}
	}
}

func TestChainRefuses(t *testing.T) {
	w := newWorld(t)
	first := w.founded()
	good := w.extend(first, "root", 10, "root2")
	for _, tc := range []struct {
		name   string
		change func(v *NetworkValue)
		want   string
	}{
		{"another network", func(v *NetworkValue) { v.ID = NetworkOf(pub("s1")) }, "chain[0]: signed_by"},
		{"another founder", func(v *NetworkValue) { v.Chain[0].sign(v.ID, nil, testKey("s1")) }, "chain[0]: signed_by"},
		{"roots added", func(v *NetworkValue) { v.Chain[1].Roots = append(v.Chain[1].Roots, pub("s1")) }, "chain[1]: signature"},
		{"recovery swapped", func(v *NetworkValue) { v.Chain[0].Recovery = pub("s1") }, "chain[0]: signature"},
		{"time moved", func(v *NetworkValue) { v.Chain[1].At = at(11) }, "chain[1]: signature"},
		{"time before", func(v *NetworkValue) { v.Chain[1].At = at(-11) }, "is before"},
		{"signed by a stranger", func(v *NetworkValue) { v.Chain[1].sign(v.ID, &v.Chain[0], testKey("s1")) }, "neither a root"},
		{"signed by who comes", func(v *NetworkValue) { v.Chain[1].sign(v.ID, &v.Chain[0], testKey("root2")) }, "neither a root"},
		{"another beginning", func(v *NetworkValue) { v.Chain[0].At = at(1); v.Chain[0].sign(v.ID, nil, testKey("root")) }, "chain[1]: signature"},
		{"entry taken out", func(v *NetworkValue) { v.Chain = v.Chain[1:] }, "epoch: 2: must be 1"},
		{"no entry", func(v *NetworkValue) { v.Chain = nil }, "0 entries"},
		{"no roots", func(v *NetworkValue) { v.Chain[1].Roots = nil }, "0 of them"},
		{"a root twice", func(v *NetworkValue) { v.Chain[1].Roots = []Key{pub("s1"), pub("s1")} }, "once"},
		{"recovery as root", func(v *NetworkValue) { v.Chain[1].Roots = []Key{pub("recovery")} }, "recovery"},
		{"endless", func(v *NetworkValue) { v.Chain = append(v.Chain, make([]ChainEntry, maxChain)...) }, "entries"},
		{"no name", func(v *NetworkValue) { v.Name = "" }, "name"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := good
			v.Chain = slices.Clone(v.Chain)
			tc.change(&v)
			wantError(t, v.check(), nil, tc.want)
			_, err := EncodeNetwork(v)
			wantError(t, err, nil, tc.want)
		})
	}
	for name, err := range map[string]error{
		"stranger": second(ExtendChain(first, []Key{pub("s1")}, Key{}, testKey("s1"), at(1))),
		"nobody":   second(ExtendChain(first, nil, Key{}, testKey("root"), at(1))),
		"nothing":  second(ExtendChain(NetworkValue{}, []Key{pub("s1")}, Key{}, testKey("root"), at(1))),
	} {
		if err == nil {
			t.Errorf("extended by %s", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestChainTextIsStable(t *testing.T) {
	w := newWorld(t)
	v := w.extend(w.founded(), "recovery", 10, "root", "root2")
	text := w.bytes(EncodeNetwork(v))
	back := must[NetworkValue](t)(DecodeNetwork(text))
	if again := w.bytes(EncodeNetwork(back)); string(again) != string(text) {
		t.Errorf("encoded anew it is\n%s\nnot\n%s", again, text)
	}
	_, err := DecodeNetwork([]byte(strings.Replace(string(text), "epoch: 2", "epoch: 3", 1)))
	wantError(t, err, nil, "epoch")
}

func TestRecoveryKeyMayOnlySignARoot(t *testing.T) {
	w := newWorld(t)
	s := w.state(w.reef()...)
	for _, d := range []*replicapb.Document{
		w.signer("recovery", "s3", 9), w.revoked("recovery", "anegada", 9), w.member("recovery", "stranger", 9),
		w.doc("recovery", PolicyDocument, nil, 9), w.doc("recovery", "rules/x", nil, 9), w.networkDoc("recovery", w.founded(), 9),
	} {
		wantError(t, s.Permit(d), ErrRefused, d.GetKey())
	}
}
