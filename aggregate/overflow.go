package aggregate

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/atoll-mesh/atoll/aggregate/engine"
	"github.com/atoll-mesh/atoll/health"
)

// overflow says which rules found their groups full.
type overflow struct {
	warning *health.Handle // nil: nobody reads warnings
	log     *slog.Logger
	said    map[string]bool // in the log, by the rule's label
}

func newOverflow(list *health.List, log *slog.Logger) *overflow {
	o := &overflow{log: log, said: map[string]bool{}}
	if list != nil {
		o.warning = list.Declare(health.Warning{
			Code: "aggregate-overflow", Severity: health.SeverityWarning,
			Title:  "rules of aggregation have more groups than they may",
			Remedy: "see what makes the groups with: atoll top series. Then drop the label that does from by, add it to without, or raise max_groups of the rule",
		})
	}
	return o
}

// look tells of the rules that are full now. In the log each is named when it
// becomes full.
func (o *overflow) look(full []engine.Full) {
	var texts []string
	now := map[string]bool{}
	for _, f := range full {
		now[f.Rule] = true
		texts = append(texts, fmt.Sprintf("%s: %d groups are all that max_groups allows, %d series are in the group overflow", f.Rule, f.Groups, f.Series))
		if !o.said[f.Rule] {
			o.log.Warn("a rule has all the groups that max_groups allows; more series go to its overflow group", "rule", f.Rule, "groups", f.Groups, "series", f.Series)
		}
	}
	o.said = now
	switch {
	case o.warning == nil:
	case len(texts) == 0:
		o.warning.Clear()
	default:
		o.warning.Set("%s", strings.Join(texts, "; "))
	}
}
