package global

import (
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/query/rewrite"
)

// What a value takes on the wire, in bytes: a float that an island computed, and
// an encoded sample of a store's chunk.
const (
	bytesComputed = 6
	bytesStored   = 2
)

// remembered is how many expressions Costs knows the last answer of.
const remembered = 4096

// Costs choose whether a leaf is computed by the islands or its samples are
// fetched. Rows computed at a step close to the scrape interval are more bytes
// than the samples they are computed from, unless they are many fewer than the
// series. It is safe for concurrent use.
type Costs struct {
	scrape int64 // milliseconds

	mu   sync.Mutex
	last map[string]sizes // by expression
}

// sizes are those of the last answer to an expression, all islands together.
type sizes struct{ rows, series int64 }

// NewCosts takes the usual interval between samples of a series.
func NewCosts(scrape time.Duration) *Costs {
	return &Costs{scrape: max(scrape.Milliseconds(), 1), last: map[string]sizes{}}
}

// fetch is rewrite.Options.Fetch.
func (c *Costs) fetch(l rewrite.Candidate) bool {
	steps := l.Steps()
	if steps < 2 || l.Step > 3*c.scrape {
		return false
	}
	rows, series := int64(1), int64(l.Selectors) // of a leaf with a row for each series
	c.mu.Lock()
	known, ok := c.last[l.Expr]
	c.mu.Unlock()
	switch {
	case ok && known.series > 0:
		rows, series = known.rows, known.series
	case l.Merged:
		return false // fewer rows than series, by how much is unknown
	}
	each := int64(bytesComputed)
	if l.Plain {
		each = bytesStored
	}
	computed := rows * steps * each
	stored := series * ((l.MaxTime-l.MinTime)/c.scrape + 1) * bytesStored
	return computed > stored
}

func (c *Costs) learn(expr string, rows, series int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.last) >= remembered {
		clear(c.last)
	}
	c.last[expr] = sizes{rows: rows, series: series}
}
