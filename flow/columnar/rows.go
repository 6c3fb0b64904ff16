package columnar

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

// row is the samples of a group at one time.
type row struct {
	group uint32
	t     int64
	n     int
}

type rowKey struct {
	group uint32
	t     int64
}

// targetKey finds the group for a new series: one of its own target that was
// sampled at the same time.
type targetKey struct {
	job, instance string
	t             int64
}

// rowPlan says which row each sample of a batch belongs to.
type rowPlan struct {
	frame   uint64 // counts frames, to tell old notes in groups from new ones
	rows    []row
	index   map[rowKey]uint32
	of      []uint32 // row by sample
	order   []uint32 // samples by row
	fresh   []Ref    // series to announce
	unnamed []uint32 // samples of such series
	bytes   []byte   // the column
}

// plan puts each sample into a row, and series that are new into groups.
func (e *Encoder) plan(b Batch) {
	p := &e.rows
	p.frame++
	p.rows, p.fresh, p.unnamed, p.bytes = p.rows[:0], p.fresh[:0], p.unnamed[:0], p.bytes[:0]
	p.of = slices.Grow(p.of[:0], len(b.Samples))[:len(b.Samples)]
	clear(p.index)
	for i := range b.Samples {
		s := &e.series[b.Samples[i].Ref]
		s.newest = max(s.newest, b.Samples[i].T)
		if s.group == none {
			p.unnamed = append(p.unnamed, uint32(i))
			continue
		}
		p.of[i] = e.row(s.group, b.Samples[i].T)
	}
	e.announce(b)
	p.sort(len(b.Samples))
}

// row gives the row of a group at a time.
func (e *Encoder) row(group uint32, t int64) uint32 {
	p, g := &e.rows, &e.groups[group]
	if g.frame == p.frame && p.rows[g.row].t == t {
		p.rows[g.row].n++
		return g.row
	}
	key := rowKey{group, t}
	at, known := p.index[key]
	if !known {
		at = uint32(len(p.rows))
		p.index[key] = at
		p.rows = append(p.rows, row{group: group, t: t})
	}
	g.row, g.frame = at, p.frame
	p.rows[at].n++
	return at
}

// announce gives groups to the series that the other side does not know.
func (e *Encoder) announce(b Batch) {
	p := &e.rows
	if len(p.unnamed) == 0 && len(b.Exemplars) == 0 && len(b.Metadata) == 0 {
		return
	}
	targets := map[targetKey]uint32{}
	if len(p.unnamed) > 0 {
		for _, r := range p.rows {
			g := &e.groups[r.group]
			targets[targetKey{g.job, g.instance, r.t}] = r.group
		}
	}
	for _, i := range p.unnamed {
		at := &b.Samples[i]
		e.name(at.Ref, at.T, targets)
		p.of[i] = e.row(e.series[at.Ref].group, at.T)
	}
	for i := range b.Exemplars {
		e.name(b.Exemplars[i].Ref, math.MinInt64, targets)
	}
	for i := range b.Metadata {
		e.name(b.Metadata[i].Ref, math.MinInt64, targets)
	}
}

func (e *Encoder) name(ref Ref, t int64, targets map[targetKey]uint32) {
	s := &e.series[ref]
	if s.group != none {
		return
	}
	key := targetKey{s.labels.Get("job"), s.labels.Get("instance"), t}
	at, known := targets[key]
	if !known {
		if n := len(e.idle); n > 0 {
			at, e.idle = e.idle[n-1], e.idle[:n-1]
		} else {
			at = uint32(len(e.groups))
			e.groups = append(e.groups, siblings{})
		}
		e.groups[at] = siblings{job: key.job, instance: key.instance}
		targets[key] = at
	}
	s.group, s.place = at, e.groups[at].join(uint32(ref))
	e.rows.fresh = append(e.rows.fresh, ref)
}

// sort lists the samples by row, those of one row in the order they came.
func (p *rowPlan) sort(samples int) {
	p.order = slices.Grow(p.order[:0], samples)[:samples]
	next := make([]uint32, len(p.rows))
	at := uint32(0)
	for i := range p.rows {
		next[i] = at
		at += uint32(p.rows[i].n)
	}
	for i, r := range p.of {
		p.order[next[r]] = uint32(i)
		next[r]++
	}
}

// writeRows codes all rows.
func (e *Encoder) writeRows(samples []Sample) {
	p, last, from := &e.rows, int64(-1), 0
	for i := range p.rows {
		r := p.rows[i]
		items := p.order[from : from+r.n]
		from += r.n
		for len(items) > 0 {
			items = e.writeRow(r, last, items, samples)
			last = int64(r.group)
		}
	}
}

// writeRow codes the samples of a row and gives back those that need another one,
// because their series is in this one already.
func (e *Encoder) writeRow(r row, last int64, items []uint32, samples []Sample) (again []uint32) {
	place := func(i uint32) uint32 { return e.series[samples[i].Ref].place }
	sorted := true
	for i := 1; i < len(items) && sorted; i++ {
		sorted = place(items[i-1]) < place(items[i])
	}
	if !sorted {
		slices.SortStableFunc(items, func(a, b uint32) int { return cmp.Compare(place(a), place(b)) })
		items, again = apart(items, place)
	}
	g := &e.groups[r.group]
	e.rows.bytes = appendRow(e.rows.bytes, &g.group, int64(r.group)-last-1, r.t, items, place)
	g.advance(r.t)
	e.values.Row()
	for _, i := range items {
		e.writeSample(&samples[i])
	}
	return again
}

// apart moves the second and further items of a place out.
func apart(items []uint32, place func(uint32) uint32) (once, again []uint32) {
	n := 1
	for i := 1; i < len(items); i++ {
		if place(items[i]) == place(items[n-1]) {
			again = append(again, items[i])
			continue
		}
		items[n] = items[i]
		n++
	}
	return items[:n], again
}

// appendRow writes which members of the group the row has, and its time.
func appendRow(b []byte, g *group, step, t int64, items []uint32, place func(uint32) uint32) []byte {
	kind := rowBits
	switch {
	case len(items) == g.live:
		kind = rowAll
	case len(items)*8 < len(g.members):
		kind = rowList
	}
	b = binary.AppendVarint(b, step<<2|int64(kind))
	b = binary.AppendVarint(b, t-g.expected())
	switch kind {
	case rowBits:
		at := len(b)
		b = append(b, make([]byte, (len(g.members)+7)/8)...)
		for _, i := range items {
			p := place(i)
			b[at+int(p/8)] |= 1 << (p % 8)
		}
	case rowList:
		b = binary.AppendUvarint(b, uint64(len(items)))
		next := uint32(0)
		for _, i := range items {
			b = binary.AppendUvarint(b, uint64(place(i)-next))
			next = place(i) + 1
		}
	}
	return b
}

// writeSample codes the value of a sample.
func (e *Encoder) writeSample(p *Sample) {
	s := &e.series[p.Ref]
	switch {
	case p.H != nil:
		e.values.Kind(&s.state, plane.Histogram)
		e.withBuckets(s, func(h *plane.HistogramState) { e.buckets.Integers(h, p.H) })
		e.digest.sample(p, p.H.Count^math.Float64bits(p.H.Sum))
	case p.FH != nil:
		e.values.Kind(&s.state, plane.FloatHistogram)
		e.withBuckets(s, func(h *plane.HistogramState) { e.buckets.Floats(h, p.FH) })
		e.digest.sample(p, math.Float64bits(p.FH.Count)^math.Float64bits(p.FH.Sum))
	default:
		e.values.Float(&s.state, p.V)
		e.digest.sample(p, math.Float64bits(p.V))
	}
	if p.ST != s.st {
		e.starts = binary.AppendUvarint(e.starts, uint64(e.coded-e.started-1))
		e.starts = binary.AppendVarint(e.starts, p.T-p.ST)
		s.st, e.started = p.ST, e.coded
	}
	e.coded++
}

func (e *Encoder) withBuckets(s *source, write func(*plane.HistogramState)) {
	if s.buckets == nil {
		s.buckets = &plane.HistogramState{}
	}
	e.states -= s.buckets.Cells()
	write(s.buckets)
	e.states += s.buckets.Cells()
}

// appendExtras writes exemplars and metadata.
func (e *Encoder) appendExtras(dst []byte, b Batch) []byte {
	if len(b.Exemplars) > 0 {
		e.column = e.column[:0]
		e.names.Reset()
		ref, t := int64(0), int64(0)
		for i := range b.Exemplars {
			x := &b.Exemplars[i]
			e.column = binary.AppendVarint(e.column, int64(x.Ref)-ref)
			e.column = append(e.column, asByte(x.HasTs))
			e.column = binary.AppendVarint(e.column, x.Ts-t)
			e.column = binary.LittleEndian.AppendUint64(e.column, math.Float64bits(x.Value))
			ref, t = int64(x.Ref), x.Ts
			e.names.Add(x.Labels)
		}
		dst = e.packer.AppendLabels(e.packer.Append(dst, e.column), &e.names)
	}
	if len(b.Metadata) == 0 {
		return dst
	}
	e.column = e.column[:0]
	ref := int64(0)
	for i := range b.Metadata {
		m := &b.Metadata[i]
		e.column = binary.AppendVarint(e.column, int64(m.Ref)-ref)
		ref = int64(m.Ref)
		for _, s := range []string{string(m.Type), m.Unit, m.Help} {
			e.column = append(binary.AppendUvarint(e.column, uint64(len(s))), s...)
		}
	}
	return e.packer.Append(dst, e.column)
}

func asByte(set bool) byte {
	if set {
		return 1
	}
	return 0
}
