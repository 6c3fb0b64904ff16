package warn

import (
	"testing"

	"github.com/atoll-mesh/atoll/health"
)

func TestHoldsWhileAnythingIsWrong(t *testing.T) {
	list := health.New(nil)
	s := Declare(list, health.Warning{Code: "x"})
	text := func() string {
		if w := list.Active(); len(w) > 0 {
			return w[0].Text
		}
		return ""
	}
	s.Clear("a")
	s.Set("b", "%d lost", 2)
	s.Set("a", "full")
	if got := text(); got != "a: full; b: 2 lost" {
		t.Errorf("text %q", got)
	}
	s.Clear("b")
	if got := text(); got != "a: full" {
		t.Errorf("text %q", got)
	}
	s.Clear("a")
	if got := text(); got != "" {
		t.Errorf("nothing is wrong, and it says %q", got)
	}
}
