package slots

import "testing"

// A member that goes moves its own slots only, and each has about its share.
func TestView(t *testing.T) {
	all, less := New([]string{"c", "a", "b", "d"}), New([]string{"a", "b", "d"})
	if again := New([]string{"d", "c", "b", "a"}); again.ID != all.ID || again.First != all.First {
		t.Error("the order of members changes the view")
	}
	share := map[string]int{}
	for k := range Count {
		first := all.Members[all.First[k]]
		share[first]++
		if all.Second[k] == all.First[k] {
			t.Fatalf("slot %d has %s twice", k, first)
		}
		if after := less.Members[less.First[k]]; first != "c" && after != first {
			t.Errorf("slot %d moves from %s to %s though c went", k, first, after)
		}
	}
	for name, n := range share {
		if n < Count/4*8/10 || n > Count/4*12/10 {
			t.Errorf("%s has %d slots, want about %d", name, n, Count/4)
		}
	}
	if all.Index("x") != None {
		t.Error("a stranger has an index")
	}
}
