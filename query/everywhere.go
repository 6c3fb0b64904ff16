package query

import "github.com/prometheus/prometheus/promql"

// Everywhere is the engine whose questions can be about all islands: a context of
// global.WithAsk says so, without one they are about this island.
func (q *Query) Everywhere() promql.QueryEngine { return q.everywhere.asking }
