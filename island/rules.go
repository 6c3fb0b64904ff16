package island

import (
	"github.com/prometheus/prometheus/rules"

	"github.com/atoll-mesh/atoll/aggregate/dimension"
	"github.com/atoll-mesh/atoll/alert"
)

// evaluated are the rules that the rules API shows: those of rule files, and
// the narrow ones that rules by dimension are divided into.
type evaluated struct {
	*alert.Alert
	dimension *dimension.Generator
}

// RuleGroups implements v1.RulesRetriever.
func (e evaluated) RuleGroups() []*rules.Group {
	return append(e.Alert.RuleGroups(), e.dimension.RuleGroups()...)
}
