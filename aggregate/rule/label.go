package rule

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

// labelled gives a rule the label that tells it apart from those seen: its name, or how
// its series begin, or where it stands.
func (r *Rule) labelled(seen map[string]bool) {
	place := fmt.Sprintf("%s:%d", filepath.Base(r.file), r.Line)
	switch metric := r.metric(); {
	case r.Name != "":
		r.Label = r.Name
	case metric != "":
		r.Label = metric + strings.TrimSuffix(r.suffix, "_")
	default:
		r.Label = place
	}
	if seen[r.Label] && r.Label != place {
		r.Label += " (" + place + ")"
	}
	for n, first := 2, r.Label; seen[r.Label]; n++ {
		r.Label = fmt.Sprintf("%s #%d", first, n)
	}
	seen[r.Label] = true
}

// metric is the one name of the series that the rule takes, "" if there may be several.
func (r *Rule) metric() string {
	name := ""
	for _, all := range r.match {
		here := ""
		for _, m := range all {
			if m.Name == labels.MetricName && m.Type == labels.MatchEqual {
				here = m.Value
			}
		}
		if here == "" || name != "" && here != name {
			return ""
		}
		name = here
	}
	return name
}
