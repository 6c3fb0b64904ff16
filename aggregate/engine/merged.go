package engine

import (
	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// merged is a window of all shards.
type merged struct {
	cols []*columns
	// rates are by shard, as a record's share of the rate is a quotient.
	rates [][]*rateChunk
}

func (m *merged) add(rs *ruleState, w *window, shard int) {
	for n, c := range w.cols {
		m.addColumns(rs, n, c)
	}
	for n, c := range w.rates {
		m.addRates(shard, n, c)
	}
}

func (m *merged) addColumns(rs *ruleState, n int, from *columns) {
	if from == nil {
		return
	}
	for n >= len(m.cols) {
		m.cols = append(m.cols, nil)
	}
	if m.cols[n] == nil {
		m.cols[n] = rs.newColumns(from.needs)
	}
	m.cols[n].merge(from)
}

// addRates adds what the records of one chunk grew.
func (m *merged) addRates(shard, n int, from *rateChunk) {
	if from == nil {
		return
	}
	for shard >= len(m.rates) {
		m.rates = append(m.rates, nil)
	}
	for n >= len(m.rates[shard]) {
		m.rates[shard] = append(m.rates[shard], nil)
	}
	to := m.rates[shard][n]
	if to == nil {
		own := *from
		m.rates[shard][n] = &own
		return
	}
	for i := range from {
		if x := &from[i]; x.used {
			cell := &to[i]
			cell.inc += x.inc
			cell.covered += x.covered
			cell.ord, cell.used = x.ord, true
		}
	}
}

// merge adds what b holds; b stays as it is. Only what both need is whole then.
func (c *columns) merge(b *columns) {
	c.needs &= b.needs
	b.each(func(i int) {
		if c.inc != nil && b.inc != nil {
			c.inc[i].AddSum(b.inc[i])
		}
		if c.prom != nil && b.prom != nil {
			c.prom[i].AddSum(b.prom[i])
		}
		if c.series != nil && b.series != nil {
			c.series[i] += b.series[i]
		}
		if b.obs != nil {
			c.observations()[i].Merge(c.needs, &b.obs[i])
		}
	})
	for i := range c.used {
		c.used[i] |= b.used[i]
	}
	if b.beside != nil {
		c.merge(b.beside)
	}
}

// rateSum is the rate of a group: of per-second rates of its series.
type rateSum struct {
	sum    float64
	series uint64
}

func (m *merged) rateSums() []rateSum {
	var sums []rateSum
	for _, chunks := range m.rates {
		for _, c := range chunks {
			if c == nil {
				continue
			}
			for i := range c {
				cell := &c[i]
				if !cell.used || cell.covered <= 0 {
					continue
				}
				for int(cell.ord) >= len(sums) {
					sums = append(sums, rateSum{})
				}
				sums[cell.ord].sum += cell.inc / (cell.covered / 1000)
				sums[cell.ord].series++
			}
		}
	}
	return sums
}

// rows makes a row of each group that want takes. clone: the window is kept.
func (m *merged) rows(rs *ruleState, clone bool, want func(ord uint32) bool) []partial.Row {
	sums := m.rateSums()
	var rows []partial.Row
	for n, c := range m.cols {
		if c == nil {
			continue
		}
		c.each(func(i int) {
			ord := uint32(n*groupChunk + i)
			if want != nil && !want(ord) {
				return
			}
			row := partial.Row{Acc: c.acc(i, clone)}
			row.Acc.Lacks = rs.needs &^ c.needs
			if int(ord) < len(sums) {
				row.Acc.Rate, row.Acc.Rates = sums[ord].sum, sums[ord].series
			}
			row.Group, row.Hash = rs.groups.get(ord)
			rows = append(rows, row)
		})
	}
	return rows
}

func (c *columns) acc(i int, clone bool) (a partial.Acc) {
	if c.obs != nil {
		a = c.obs[i]
		if clone {
			a = c.obs[i].Clone()
		}
	}
	if c.inc != nil {
		a.Increase = c.inc[i]
	}
	if c.prom != nil {
		a.IncreaseProm = c.prom[i]
	}
	if c.series != nil {
		a.Series = uint64(c.series[i])
	}
	return a
}

// ordinals calls f for each group that has something.
func (m *merged) ordinals(f func(ord uint32, c *columns, i int)) {
	for n, c := range m.cols {
		if c != nil {
			c.each(func(i int) { f(uint32(n*groupChunk+i), c, i) })
		}
	}
}
