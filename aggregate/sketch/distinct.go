package sketch

import (
	"math"
	"math/bits"
	"slices"
)

// Distinct keeps the exact set of hashes up to this many, then a HyperLogLog of
// 2^precision registers, whose standard error is 1.04/sqrt(2^14) = 0.81 %.
const (
	exactLimit = 256
	precision  = 14
	registers  = 1 << precision
)

// Distinct counts different hashes. The zero value is ready for use: up to 256
// hashes it is exact and takes 16 bytes a hash, then it takes 16 KB.
type Distinct struct {
	set   []uint64 // open addressing, 0 is empty; a power of two, at most half full
	n     int
	empty bool // the mixed hash 0 is in the set
	regs  []uint8
}

// AddHash counts a 64-bit hash or any other 64-bit value: it is mixed here.
func (d *Distinct) AddHash(h uint64) { d.addMixed(mix(h)) }

// AddFloat counts a value; 0 and -0 are one.
func (d *Distinct) AddFloat(v float64) { d.AddHash(math.Float64bits(v + 0)) }

// mix is the finalizer of MurmurHash3 (Appleby), a bijection.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

func (d *Distinct) addMixed(h uint64) {
	if d.regs != nil {
		d.register(h)
		return
	}
	if h == 0 {
		if !d.empty {
			d.empty = true
			d.n++
		}
	} else if !d.insert(h) {
		return
	}
	if d.n > exactLimit {
		d.spill()
	}
}

// insert reports whether the hash is new.
func (d *Distinct) insert(h uint64) bool {
	const first = 8
	if 2*(d.n+1) > len(d.set) {
		old := d.set
		d.set = make([]uint64, max(first, 2*len(old)))
		for _, o := range old {
			if o != 0 {
				d.place(o)
			}
		}
	}
	if !d.place(h) {
		return false
	}
	d.n++
	return true
}

func (d *Distinct) place(h uint64) bool {
	mask := uint64(len(d.set) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		switch d.set[i] {
		case h:
			return false
		case 0:
			d.set[i] = h
			return true
		}
	}
}

func (d *Distinct) spill() {
	d.regs = make([]uint8, registers)
	d.each(d.register)
	d.set, d.n, d.empty = nil, 0, false
}

func (d *Distinct) each(f func(h uint64)) {
	if d.empty {
		f(0)
	}
	for _, h := range d.set {
		if h != 0 {
			f(h)
		}
	}
}

// register is the update of HyperLogLog (Flajolet et al. 2007), with 64-bit hashes.
func (d *Distinct) register(h uint64) {
	i := h >> (64 - precision)
	rank := uint8(bits.LeadingZeros64(h<<precision|1<<(precision-1)) + 1)
	if rank > d.regs[i] {
		d.regs[i] = rank
	}
}

// Merge adds all that o counted. o may be nil.
func (d *Distinct) Merge(o *Distinct) {
	switch {
	case o == nil:
	case o.regs == nil:
		o.each(d.addMixed)
	default:
		if d.regs == nil {
			d.spill()
		}
		for i, r := range o.regs {
			d.regs[i] = max(d.regs[i], r)
		}
	}
}

// Clone is an independent copy.
func (d *Distinct) Clone() *Distinct {
	c := &Distinct{}
	c.Merge(d)
	return c
}

// Estimate is the number of different hashes: exact up to 256, then with a
// standard error of 0.81 %. The estimator is Ertl's improved raw estimator
// ("New cardinality estimation algorithms for HyperLogLog sketches", 2017,
// algorithm 6), which needs no tables and no switch between ranges.
func (d *Distinct) Estimate() uint64 {
	if d.regs == nil {
		return uint64(d.n)
	}
	const q = 64 - precision
	var histogram [q + 2]int
	for _, r := range d.regs {
		histogram[r]++
	}
	m := float64(registers)
	z := m * tau(1-float64(histogram[q+1])/m)
	for k := q; k >= 1; k-- {
		z = 0.5 * (z + float64(histogram[k]))
	}
	z += m * sigma(float64(histogram[0])/m)
	return uint64(math.Round(m * m / (2 * math.Ln2 * z)))
}

func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for {
		x *= x
		before := z
		z += x * y
		y += y
		if z == before {
			return z
		}
	}
}

func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for {
		x = math.Sqrt(x)
		before := z
		y *= 0.5
		z -= (1 - x) * (1 - x) * y
		if z == before {
			return z / 3
		}
	}
}

// sorted are the hashes of an exact set, so that equal sets have equal bytes.
func (d *Distinct) sorted() []uint64 {
	all := make([]uint64, 0, d.n)
	d.each(func(h uint64) { all = append(all, h) })
	slices.Sort(all)
	return all
}
