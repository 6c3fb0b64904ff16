package engine

import (
	"math/bits"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// ruleWindows are a shard's windows of one rule.
type ruleWindows struct {
	rs   *ruleState
	cur  *window // the one looked at last
	open map[int64]*window
}

// window is a shard's part of one window.
type window struct {
	end int64
	// late: the window had been sealed when this part was begun.
	late    bool
	begun   int64 // arrival
	touched int64 // arrival of the last change, of late ones
	dirty   bool  // since the last early publication
	cols    []*columns
	rates   []*rateChunk
}

const groupChunk = 1024

// columns hold what 1024 groups have in a window, only what the rule needed when they
// were begun.
type columns struct {
	needs  rule.Needs
	used   [groupChunk / 64]uint64
	inc    *[groupChunk]partial.Sum2
	prom   *[groupChunk]partial.Sum2
	series *[groupChunk]uint32
	obs    *[groupChunk]partial.Acc // samples' values and native histograms
	// frozen: an image has them, so they are copied before they change.
	frozen bool
	// shared are those whose sketches are an image's as well; nil: none.
	shared *[groupChunk / 64]uint64
	// beside are what batches of odd lanes count, nil while there was none: two cores
	// that add to one group take its line from each other for each sample.
	beside *columns
}

// besideChunks bounds the groups that have sums beside: where they are many, two cores
// seldom meet.
const besideChunks = 4

// side are the columns beside, of a rule that has sums of counters alone.
func (c *columns) side(rs *ruleState) *columns {
	if c.beside == nil {
		c.beside = rs.newColumns(c.needs)
	}
	return c.beside
}

// fold adds up what is beside.
func (c *columns) fold() {
	if c.beside != nil {
		c.merge(c.beside)
		c.beside.clear()
	}
}

// rateChunk holds what the records of one chunk grew in a window.
type rateChunk [chunkSize]rateCell

type rateCell struct {
	inc, covered float64 // milliseconds
	ord          uint32
	used         bool
}

func (rs *ruleState) newColumns(needs rule.Needs) *columns {
	if c, ok := rs.spare.Get().(*columns); ok && c.needs == needs {
		return c
	}
	c := &columns{needs: needs}
	if needs&rule.NeedCounter != 0 {
		c.inc = new([groupChunk]partial.Sum2)
	}
	if needs&rule.NeedCounterProm != 0 {
		c.prom = new([groupChunk]partial.Sum2)
	}
	if needs&rule.NeedSeries != 0 {
		c.series = new([groupChunk]uint32)
	}
	if needs.Samples() || needs&rule.NeedNative != 0 && c.inc == nil && c.prom == nil {
		c.obs = new([groupChunk]partial.Acc)
	}
	return c
}

func (rs *ruleState) recycle(cols []*columns) {
	for _, c := range cols {
		if c == nil {
			continue
		}
		if c.beside != nil {
			c.beside.clear()
			rs.spare.Put(c.beside)
			c.beside = nil
		}
		c.clear()
		rs.spare.Put(c)
	}
}

func (c *columns) clear() {
	c.each(func(i int) {
		if c.inc != nil {
			c.inc[i] = partial.Sum2{}
		}
		if c.prom != nil {
			c.prom[i] = partial.Sum2{}
		}
		if c.series != nil {
			c.series[i] = 0
		}
		if c.obs != nil {
			c.obs[i] = partial.Acc{}
		}
	})
	c.used, c.shared = [groupChunk / 64]uint64{}, nil
}

func (c *columns) each(f func(i int)) {
	for w, set := range c.used {
		for ; set != 0; set &= set - 1 {
			f(w*64 + bits.TrailingZeros64(set))
		}
	}
}

// observations are allocated when a native histogram comes where only counters were.
func (c *columns) observations() *[groupChunk]partial.Acc {
	if c.obs == nil {
		c.obs = new([groupChunk]partial.Acc)
	}
	return c.obs
}

// observation is that of a group, to be changed.
func (c *columns) observation(i uint32) *partial.Acc {
	a := &c.observations()[i]
	if c.shared != nil && c.shared[i/64]&(1<<(i%64)) != 0 {
		*a = a.Clone()
		c.shared[i/64] &^= 1 << (i % 64)
	}
	return a
}

// own is a copy of frozen columns. Sketches are copied when they change.
func (c *columns) own() *columns {
	n := &columns{needs: c.needs, used: c.used, inc: cloned(c.inc), prom: cloned(c.prom), series: cloned(c.series), obs: cloned(c.obs)}
	if n.obs != nil {
		n.shared = cloned(&c.used)
	}
	n.beside, c.beside = c.beside, nil // empty, as the image began with all of it
	return n
}

func cloned[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// at returns the columns of a group and its place in them, and marks it as used.
func (w *window) at(rs *ruleState, ord uint32) (*columns, uint32) {
	n, i := ord/groupChunk, ord%groupChunk
	if int(n) >= len(w.cols) || w.cols[n] == nil {
		w.grow(rs, n)
	}
	c := w.cols[n]
	if c.frozen {
		c = c.own()
		w.cols[n] = c
	}
	c.used[i/64] |= 1 << (i % 64)
	return c, i
}

func (w *window) grow(rs *ruleState, n uint32) {
	for int(n) >= len(w.cols) {
		w.cols = append(w.cols, nil)
	}
	w.cols[n] = rs.newColumns(rs.needs)
}

func (w *window) rate(id uint32) *rateCell {
	n := int(id / chunkSize)
	for n >= len(w.rates) {
		w.rates = append(w.rates, nil)
	}
	if w.rates[n] == nil {
		w.rates[n] = new(rateChunk)
	}
	return &w.rates[n][id%chunkSize]
}

// window returns the window of t, or nil where it is beyond the horizon.
func (s *shard) window(rw *ruleWindows, t int64) *window {
	if w := rw.cur; w != nil && t <= w.end && t > w.end-rw.rs.interval {
		if w.late {
			w.touched = s.now
		}
		return w
	}
	return s.otherWindow(rw, t)
}

func (s *shard) otherWindow(rw *ruleWindows, t int64) *window {
	rs := rw.rs
	end := rs.end(t)
	w := rw.open[end]
	if w == nil {
		if end < s.now-rs.maxAge {
			return nil
		}
		w = &window{end: end, begun: s.now, late: end <= max(rs.sealed.Load(), rs.floor(s.now-rs.maxLag))}
		rw.open[end] = w
	}
	w.touched = s.now
	rw.cur = w
	return w
}
