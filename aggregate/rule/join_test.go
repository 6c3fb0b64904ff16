package rule

import (
	"strings"
	"testing"
)

func TestJoin(t *testing.T) {
	load := func(text string) *Set {
		t.Helper()
		set, err := Load("r.yml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	a := load("- {interval: 1m, outputs: [total]}\n- {interval: 2m, outputs: [avg]}\n")
	b := load("- {interval: 1m, outputs: [total]}\n- {interval: 3m, outputs: [max]}\n")
	both, err := a.Join(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(both.Rules) != 4 || len(a.Rules) != 2 || len(b.Rules) != 2 {
		t.Fatalf("joined %d rules of %d and %d", len(both.Rules), len(a.Rules), len(b.Rules))
	}
	hashes := map[uint64]bool{}
	for i, r := range both.Rules {
		if r.ID != uint32(i) {
			t.Errorf("rule %d has ID %d", i, r.ID)
		}
		hashes[r.Hash] = true
	}
	if len(hashes) != 4 {
		t.Errorf("4 rules have %d hashes", len(hashes))
	}
	if both.Rules[3].Hash != b.Rules[1].Hash {
		t.Error("a rule that is there once has another hash, and would lose its state")
	}
	if alone, err := new(Set).Join(b); err != nil || alone != b {
		t.Errorf("nothing and b is %v, %v", alone, err)
	}
	other := load("replica_labels: [copy]\nrules:\n- {interval: 1m, outputs: [total]}\n")
	if _, err := a.Join(other); err == nil || !strings.Contains(err.Error(), "replica_labels") {
		t.Errorf("other replica labels: %v", err)
	}
}
