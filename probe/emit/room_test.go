package emit

import (
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
