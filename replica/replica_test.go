package replica

import (
	"errors"
	"strings"
	"testing"

	"github.com/atoll-mesh/atoll/trust"
)

func TestSetGetDelete(t *testing.T) {
	f := newFleet(t, 1)
	x := f.nodes[0]
	d := x.set("rules/a", "one")
	if got := x.value("rules/a"); got != "one" {
		t.Fatalf("value %q, want one", got)
	}
	if _, err := x.Set(t.Context(), "rules/a", []byte("two"), d.GetTime()+1); !errors.Is(err, ErrConflict) {
		t.Errorf("set with a wrong expectation: %v, want a conflict", err)
	}
	if _, err := x.Set(t.Context(), "rules/a", []byte("two"), Absent); !errors.Is(err, ErrConflict) {
		t.Errorf("set where none was expected: %v, want a conflict", err)
	}
	two, err := x.Set(t.Context(), "rules/a", []byte("two"), d.GetTime())
	f.must(err)
	if two.GetTime() <= d.GetTime() {
		t.Errorf("time %d is not after %d", two.GetTime(), d.GetTime())
	}
	if h := x.History("rules/a"); len(h) != 1 || string(h[0].GetValue()) != "one" {
		t.Errorf("history %v, want the first version", h)
	}
	if _, err := x.Delete(t.Context(), "rules/a", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Get("rules/a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("get a deleted document: %v, want not found", err)
	}
	if _, err := x.Delete(t.Context(), "rules/a", 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete twice: %v, want not found", err)
	}
	if _, err := x.Set(t.Context(), "rules/a", []byte("three"), Absent); err != nil {
		t.Errorf("set where a deleted document is: %v", err)
	}
}

func TestRefusedHere(t *testing.T) {
	f := newFleet(t, 1)
	x := f.nodes[0]
	for key, want := range map[string]error{
		"member/x": ErrRefused, "network/main": ErrRefused, "policy/main": ErrRefused, "revoked/x": ErrRefused,
		"Rules/a": ErrInvalid, "rules": ErrInvalid, "rules/": ErrInvalid, "rules/a/b": ErrInvalid, "secret/a": ErrRefused,
	} {
		if _, err := x.Set(t.Context(), key, []byte("v"), 0); !errors.Is(err, want) {
			t.Errorf("set %q: %v, want %v", key, err, want)
		}
	}
	_, err := x.Set(t.Context(), trust.RevokedDocument(x.key.Public()), nil, 0)
	if err == nil || !strings.Contains(err.Error(), "atoll revoke") {
		t.Errorf("set a revocation: %v, want the command that does it", err)
	}
	if _, err := x.Set(t.Context(), "rules/a", make([]byte, trust.MaxDocumentValue+1), 0); !errors.Is(err, ErrInvalid) {
		t.Errorf("oversize: %v, want invalid", err)
	}
	x.key = trust.PrivateKey{} // the island left its network
	if _, err := x.Set(t.Context(), "rules/a", []byte("v"), 0); !errors.Is(err, ErrRefused) {
		t.Errorf("set without a key: %v, want refused", err)
	}
}

func TestSyncBothWays(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.nodes[0], f.nodes[1]
	a.set("rules/a", "of a")
	b.set("rules/b", "of b")
	b.set("rules/both", "older")
	older, err := b.Get("rules/both")
	f.must(err)
	for a.Now() <= older.GetTime() { // both may be of one millisecond
	}
	a.set("rules/both", "newer")
	res := a.sync(b)
	if string(a.Root()) != string(b.Root()) {
		t.Fatalf("roots differ after %+v", res)
	}
	if res.Pulled != 1 || res.Pushed != 2 {
		t.Errorf("pulled %d, pushed %d, want 1 and 2", res.Pulled, res.Pushed)
	}
	for _, x := range f.nodes {
		if x.value("rules/a") != "of a" || x.value("rules/b") != "of b" || x.value("rules/both") != "newer" {
			t.Errorf("%s holds %q, %q, %q", x.name, x.value("rules/a"), x.value("rules/b"), x.value("rules/both"))
		}
	}
	if again := b.sync(a); !again.Equal || again.Rounds != 1 {
		t.Errorf("second comparison %+v, want equal in one round", again)
	}
}

func TestJoinFetchesAll(t *testing.T) {
	f := bareFleet(t)
	a, b := f.add("a", "island"), f.add("b", "island")
	f.must(a.Put(t.Context(), f.genesis...))
	for _, name := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
		a.set("rules/"+name, name)
	}
	res := b.sync(a)
	if string(a.Root()) != string(b.Root()) || res.Rounds != 1 {
		t.Errorf("after %+v roots are equal: %v; want equal in one round", res, string(a.Root()) == string(b.Root()))
	}
}
