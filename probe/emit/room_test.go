package emit

import (
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// TestRoom has a target keep no more room than its series take, however they came.
func TestRoom(t *testing.T) {
	target := newEmitter(t, &counting{}).Target(labels.FromStrings("instance", "x"))
	for round, n := range []int{18, 19, 40, 3} {
		if err := target.Append(t.Context(), int64(1000*(round+1)), sample(n)); err != nil {
			t.Fatal(err)
		}
		if room, has := cap(target.series), len(target.series); room > has+4 {
			t.Errorf("round %d: room for %d series, of which there are %d", round, room, has)
		}
	}
}

// TestSharedLabels has two targets share labels, and neither see a caller's changes.
func TestSharedLabels(t *testing.T) {
	var sets labelSets
	given := []string{"phase", "tls"}
	first := sets.one(given)
	given[1] = "dns"
	second := sets.one([]string{"phase", "tls"})
	if &first[0] != &second[0] || second[1] != "tls" {
		t.Errorf("%q and %q are not the same", first, second)
	}
	if other := sets.one(given); !slices.Equal(other, given) || first[1] != "tls" {
		t.Errorf("got %q and %q for another", other, first)
	}
	for _, ls := range [][]string{{"a", "b\xffc"}, {"a\xffb", "c"}, nil} { // of one key
		if got := sets.one(ls); !slices.Equal(got, ls) {
			t.Errorf("got %q for %q", got, ls)
		}
	}
}
