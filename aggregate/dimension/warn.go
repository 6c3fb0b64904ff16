package dimension

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/atoll-mesh/atoll/health"
)

// warnings tell of rules that are capped, fail or cannot see their values.
type warnings struct {
	capped, failing, blind *about
}

func newWarnings(l *health.List) *warnings {
	return &warnings{
		capped: &about{handle: l.Declare(health.Warning{
			Code: "aggregate-dimension-capped", Severity: health.SeverityWarning,
			Title:  "a rule by dimension has more values than it may",
			Remedy: "raise max_rules of the rule, narrow its filter, or split by a label with fewer values",
		})},
		failing: &about{handle: l.Declare(health.Warning{
			Code: "aggregate-dimension-failing", Severity: health.SeverityWarning,
			Title:  "rules by dimension fail",
			Remedy: "run the narrow expression as a query to see why; see atoll_dimension_failing_rules",
		})},
		blind: &about{handle: l.Declare(health.Warning{
			Code: "aggregate-dimension-blind", Severity: health.SeverityWarning,
			Title:  "the values of a rule by dimension cannot be listed",
			Remedy: "see whether the store, or for scope all the other islands, answer queries; rules at work go on meanwhile",
		})},
	}
}

func (w *warnings) forget(rule string) {
	w.capped.clear(rule)
	w.failing.clear(rule)
	w.blind.clear(rule)
}

// about is one warning that holds for several rules at once.
type about struct {
	handle *health.Handle
	mu     sync.Mutex
	texts  map[string]string
}

func (a *about) set(rule, format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.texts == nil {
		a.texts = map[string]string{}
	}
	a.texts[rule] = fmt.Sprintf(format, args...)
	a.tell()
}

func (a *about) clear(rule string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, was := a.texts[rule]; !was {
		return
	}
	delete(a.texts, rule)
	a.tell()
}

func (a *about) tell() {
	if len(a.texts) == 0 {
		a.handle.Clear()
		return
	}
	parts := make([]string, 0, len(a.texts))
	for _, rule := range slices.Sorted(maps.Keys(a.texts)) {
		parts = append(parts, rule+": "+a.texts[rule])
	}
	a.handle.Set("%s", strings.Join(parts, "; "))
}

// capText says how many values were left out, and which, smallest first.
func capText(p *plan, values int, more bool, out []LeftOut) string {
	const shown = 5
	names := make([]string, 0, shown+1)
	series := 0
	for i, l := range out {
		series += l.Series
		if i < shown {
			names = append(names, fmt.Sprintf("%s (%d series)", l.Value, l.Series))
		}
	}
	if len(out) > shown {
		names = append(names, fmt.Sprintf("and %d more", len(out)-shown))
	}
	least := ""
	if more {
		least = "at least "
	}
	return fmt.Sprintf("%s%d values of %s, max_rules is %d; the %d with the fewest series, %d together, are not recorded: %s",
		least, values, strings.Join(p.splitter.labels, ", "), p.maxRules, len(out), series, strings.Join(names, ", "))
}
