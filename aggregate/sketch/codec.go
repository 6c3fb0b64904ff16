package sketch

import (
	"encoding/binary"
	"errors"
	"math"
)

var errShort = errors.New("decoding a sketch: the bytes end too early or hold a number out of range")

// reader takes numbers off the front; after the first failure all are zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) float() float64 {
	const size = 8
	if len(r.b) < size {
		r.bad, r.b = true, nil
		return 0
	}
	v := math.Float64frombits(binary.LittleEndian.Uint64(r.b))
	r.b = r.b[size:]
	return v
}

func appendFloat(b []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
}

// AppendBinary appends the binary form: about 3 bytes a bucket in use.
func (h *LogHist) AppendBinary(b []byte) []byte {
	b = binary.AppendUvarint(b, h.count)
	if h.count == 0 {
		return b
	}
	b = binary.AppendUvarint(b, h.zeros)
	for _, v := range []float64{h.sum, h.min, h.max} {
		b = appendFloat(b, v)
	}
	return h.neg.append(h.pos.append(b))
}

func (s *store) append(b []byte) []byte {
	used := uint64(0)
	s.each(func(uint32, uint64) bool { used++; return true })
	b = binary.AppendUvarint(b, used)
	last := uint32(0)
	s.each(func(key uint32, n uint64) bool {
		b = binary.AppendUvarint(b, uint64(key-last))
		b = binary.AppendUvarint(b, n)
		last = key
		return true
	})
	return b
}

// DecodeLogHist reads one from the front of b and returns what is left.
func DecodeLogHist(b []byte) (*LogHist, []byte, error) {
	r := &reader{b: b}
	h := New()
	h.count = r.uvarint()
	if h.count == 0 {
		if r.bad {
			return nil, nil, errShort
		}
		return h, r.b, nil
	}
	h.zeros = r.uvarint()
	for _, v := range []*float64{&h.sum, &h.min, &h.max} {
		*v = r.float()
	}
	total := h.zeros
	h.pos.read(r, &total)
	h.neg.read(r, &total)
	if r.bad || total != h.count || !(h.min <= h.max) || math.IsInf(h.min, 0) || math.IsInf(h.max, 0) {
		return nil, nil, errShort
	}
	return h, r.b, nil
}

func (s *store) read(r *reader, total *uint64) {
	key := uint64(0)
	for left := r.uvarint(); left > 0 && !r.bad; left-- {
		step, n := r.uvarint(), r.uvarint()
		if step == 0 || step > maxKey || n == 0 || *total+n < n {
			r.bad = true
			return
		}
		if key += step; key < minKey || key > maxKey {
			r.bad = true
			return
		}
		*total += n
		s.add(uint32(key), n)
	}
}

// AppendBinary appends the binary form: 8 bytes a hash, or some 12 KB beyond 256.
func (d *Distinct) AppendBinary(b []byte) []byte {
	if d.regs == nil {
		b = binary.AppendUvarint(b, uint64(d.n))
		for _, h := range d.sorted() {
			b = binary.LittleEndian.AppendUint64(b, h)
		}
		return b
	}
	b = binary.AppendUvarint(b, exactLimit+1)
	return appendPacked(b, d.regs)
}

// DecodeDistinct reads one from the front of b and returns what is left.
func DecodeDistinct(b []byte) (*Distinct, []byte, error) {
	r := &reader{b: b}
	n := r.uvarint()
	d := &Distinct{}
	switch {
	case r.bad || n > exactLimit+1:
		return nil, nil, errShort
	case n == exactLimit+1:
		d.regs = make([]uint8, registers)
		rest, ok := readPacked(r.b, d.regs)
		if !ok {
			return nil, nil, errShort
		}
		return d, rest, nil
	}
	const size = 8
	if uint64(len(r.b)) < size*n {
		return nil, nil, errShort
	}
	for i := range n {
		d.addMixed(binary.LittleEndian.Uint64(r.b[size*i:]))
	}
	if uint64(d.n) != n {
		return nil, nil, errShort
	}
	return d, r.b[size*n:], nil
}

const (
	regBits    = 6
	packedSize = registers * regBits / 8
)

// appendPacked writes registers (at most 51 each) with six bits.
func appendPacked(b []byte, regs []uint8) []byte {
	for i := 0; i < len(regs); i += 4 {
		v := uint32(regs[i]) | uint32(regs[i+1])<<regBits | uint32(regs[i+2])<<(2*regBits) | uint32(regs[i+3])<<(3*regBits)
		b = append(b, byte(v), byte(v>>8), byte(v>>16))
	}
	return b
}

func readPacked(b []byte, regs []uint8) (rest []byte, ok bool) {
	if len(b) < packedSize {
		return nil, false
	}
	const mask, highest = 1<<regBits - 1, 64 - precision + 1
	for i := 0; i < len(regs); i += 4 {
		v := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
		b = b[3:]
		for j := range 4 {
			reg := uint8(v >> (j * regBits) & mask)
			if reg > highest {
				return nil, false
			}
			regs[i+j] = reg
		}
	}
	return b, true
}

// AppendBinary appends the binary form: about 3 bytes a range in use.
func (h *VMRange) AppendBinary(b []byte) []byte {
	b = binary.AppendUvarint(b, h.lower)
	b = binary.AppendUvarint(b, h.upper)
	used := uint64(0)
	h.each(func(int, uint64) { used++ })
	b = binary.AppendUvarint(b, used)
	last := -1
	h.each(func(i int, n uint64) {
		b = binary.AppendUvarint(b, uint64(i-last))
		b = binary.AppendUvarint(b, n)
		last = i
	})
	return b
}

// DecodeVMRange reads one from the front of b and returns what is left.
func DecodeVMRange(b []byte) (*VMRange, []byte, error) {
	r := &reader{b: b}
	h := &VMRange{lower: r.uvarint(), upper: r.uvarint()}
	i := uint64(0) // one more than the last range
	for left := r.uvarint(); left > 0 && !r.bad; left-- {
		step, n := r.uvarint(), r.uvarint()
		if step == 0 || step > ranges || n == 0 || i+step > ranges {
			return nil, nil, errShort
		}
		i += step
		h.addTo(int(i)-1, n)
	}
	if r.bad {
		return nil, nil, errShort
	}
	return h, r.b, nil
}
