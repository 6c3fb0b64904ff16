package island

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/rules"

	"github.com/atoll-mesh/atoll/aggregate/dimension"
	"github.com/atoll-mesh/atoll/alert"
	"github.com/atoll-mesh/atoll/query"
	"github.com/atoll-mesh/atoll/query/global"
	"github.com/atoll-mesh/atoll/trust"
)

// evaluated are the rules that the rules API shows: those of rule files, and
// the narrow ones that rules by dimension are divided into, and the network's.
type evaluated struct {
	*alert.Alert
	dimension *dimension.Generator
	// common are the groups of the whole network.
	common func() []*rules.Group
}

// RuleGroups implements v1.RulesRetriever.
func (e evaluated) RuleGroups() []*rules.Group {
	return slices.Concat(e.Alert.RuleGroups(), e.dimension.RuleGroups(), e.common())
}

// AlertingRules implements v1.RulesRetriever.
func (e evaluated) AlertingRules() []*rules.AlertingRule {
	all := e.Alert.AlertingRules()
	for _, g := range e.common() {
		all = append(all, g.AlertingRules()...)
	}
	return all
}

// askEverywhere evaluates over the samples of all islands. What an island that
// does not answer would say is missing.
func askEverywhere(q *query.Query) rules.QueryFunc {
	ask := rules.EngineQueryFunc(q.Everywhere(), q.Queryable())
	return func(ctx context.Context, expr string, t time.Time) (promql.Vector, error) {
		return ask(global.WithAsk(ctx, global.Ask{Scope: global.ScopeAll}), expr, t)
	}
}

// askWhole is askEverywhere that fails where islands are missing.
func (i *Island) askWhole(ctx context.Context, expr string, t time.Time) (promql.Vector, error) {
	answer, err := i.askReceipted(ctx, expr, t, 0)
	if err != nil || len(answer.Missing) == 0 {
		return answer.Vector, err
	}
	parts := make([]string, len(answer.Missing))
	for k, m := range answer.Missing {
		parts[k] = m.Island + " (" + m.Why + ")"
	}
	return nil, fmt.Errorf("nothing is recorded while islands are missing: %s; bring them back, `atoll revoke` them, or say on_missing: ignore", strings.Join(parts, ", "))
}

// evaluators is dimension.Members: the islands that are connected and hold
// samples, by the names that stay when their keys change.
func (i *Island) evaluators() (self string, all []string) {
	m := i.membership.Load()
	if m == nil {
		return i.Config().Island.Name, nil
	}
	own := m.self()
	if own == nil {
		return i.Config().Island.Name, nil
	}
	var connected []trust.Key
	if running := m.mesh.Load(); running != nil {
		connected = running.Connected()
	}
	for _, member := range m.state.Load().Members() {
		if aggregates(member.Role) && slices.Contains(connected, member.Key) {
			all = append(all, accountName(member))
		}
	}
	return accountName(own), all
}
