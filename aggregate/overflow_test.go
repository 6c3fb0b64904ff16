package aggregate

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/atoll-mesh/atoll/aggregate/engine"
	"github.com/atoll-mesh/atoll/health"
)

// A rule that found its groups full is named, with its figures, until it is not.
func TestOverflowIsSaid(t *testing.T) {
	r := newRig(t, "rules: [{name: pods, interval: 1m, by: [instance], outputs: [count_series], max_groups: 3}]", newMemory())
	c := newClient(t, r.Appendable(newMemory()))
	list := health.New(nil)
	var log bytes.Buffer
	o := newOverflow(list, slog.New(slog.NewTextHandler(&log, nil)))
	look := func() string {
		o.look(r.engine.Full())
		var texts []string
		for _, w := range list.Active() {
			texts = append(texts, w.Code+": "+w.Text)
		}
		return strings.Join(texts, "\n")
	}
	for i := range 3 {
		c.send(10, 1, series("requests", fmt.Sprint("pod", i)))
	}
	equal(t, "at the limit", look(), "")
	for i := range 5 {
		c.send(10, 1, series("requests", fmt.Sprint("late", i)))
	}
	for range 2 {
		equal(t, "over it", look(), "aggregate-overflow: pods: 3 groups are all that max_groups allows, 5 series are in the group overflow")
	}
	equal(t, "lines in the log", strings.Count(log.String(), "max_groups"), 1)
	o.look([]engine.Full{})
	equal(t, "warnings when it is over", len(list.Active()), 0)
}
