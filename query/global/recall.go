package global

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/atoll-mesh/atoll/query/rewrite"
)

// recall adds to the last leaf of a request what is known of it.
func (s *session) recall(one *reply, island string, l *rewrite.Leaf) {
	c := s.engine.options.Cache
	if c == nil || !cacheable(l) {
		one.known = append(one.known, nil)
		return
	}
	one.request.History = true
	x := c.known(cacheKey(island, l, s.features), l.Grid)
	if x != nil {
		leaf := &one.request.Leaves[len(one.request.Leaves)-1]
		leaf.Epoch, leaf.KnownUntil = x.epoch, x.upTo(l.Grid)
	}
	one.known = append(one.known, x)
}

// complete puts what was known before what the island answered, and keeps what
// there is now. What comes with annotations is not kept: they belong to steps that
// are not told apart.
func (e *Engine) complete(island string, r *round, one *reply, a *Answer) error {
	c := e.options.Cache
	if c == nil {
		return nil
	}
	for i := range a.Leaves {
		l, leaf, x := &r.leaves[one.leaves[i]], &a.Leaves[i], one.known[i]
		if !cacheable(l) {
			continue
		}
		c.count(x, leaf.Tail)
		if !slices.IsSortedFunc(leaf.Rows, byLabels) {
			slices.SortFunc(leaf.Rows, byLabels)
		}
		if leaf.Tail {
			before := cut(x.rows, l.Start, one.request.Leaves[i].KnownUntil)
			if err := one.request.Share.Take(bytesOf(before)); err != nil {
				return err
			}
			a.Stats.Series -= int64(len(leaf.Rows))
			for j := range before {
				one.reused += samples(&before[j])
			}
			leaf.Rows = join(before, leaf.Rows)
			a.Stats.Series += int64(len(leaf.Rows))
			leaf.Read = max(leaf.Read, x.read)
		}
		if a.Epoch != 0 && !leaf.Mixed && len(leaf.Notes) == 0 {
			c.keep(cacheKey(island, l, one.request.Options), l, a, leaf.Rows, leaf.Read, x)
		}
	}
	c.metrics.samples.Add(float64(one.reused))
	a.Stats.Samples += one.reused
	return nil
}

func byLabels(a, b promql.Series) int { return labels.Compare(a.Metric, b.Metric) }

func (c *Cache) count(x *extent, used bool) {
	result := "hit"
	switch {
	case x == nil:
		result = "miss"
	case !used:
		result = "stale"
	}
	c.metrics.requests.WithLabelValues(result).Inc()
}
