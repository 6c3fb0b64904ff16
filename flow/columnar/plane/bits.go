package plane

import "encoding/binary"

// bitWriter packs bits least significant first into little-endian words.
type bitWriter struct {
	buf []byte
	acc uint64
	n   uint
}

func (w *bitWriter) reset() { w.buf, w.acc, w.n = w.buf[:0], 0, 0 }

// put writes the low k bits of v, k at most 64. The bits above must be zero.
func (w *bitWriter) put(v uint64, k uint) {
	w.acc |= v << w.n
	w.n += k
	if w.n < 64 {
		return
	}
	w.buf = binary.LittleEndian.AppendUint64(w.buf, w.acc)
	w.n -= 64
	w.acc = v >> (k - w.n) // a shift by 64 gives 0
}

// bytes gives what was written, the last byte filled up with zeros.
func (w *bitWriter) bytes() []byte {
	for w.n > 0 {
		w.buf = append(w.buf, byte(w.acc))
		w.acc >>= 8
		w.n -= min(w.n, 8)
	}
	return w.buf
}

// bitReader reads what bitWriter wrote.
type bitReader struct {
	buf []byte
	pos uint // in bits
}

func (r *bitReader) bit() (uint64, bool) {
	i := r.pos >> 3
	if i >= uint(len(r.buf)) {
		return 0, false
	}
	b := uint64(r.buf[i]>>(r.pos&7)) & 1
	r.pos++
	return b, true
}

// get reads k bits, k at most 64.
func (r *bitReader) get(k uint) (uint64, bool) {
	if k == 0 {
		return 0, true
	}
	if r.pos+k > uint(len(r.buf))*8 {
		return 0, false
	}
	i, off := r.pos>>3, r.pos&7
	r.pos += k
	var v uint64
	if i+9 <= uint(len(r.buf)) {
		v = binary.LittleEndian.Uint64(r.buf[i:])>>off | uint64(r.buf[i+8])<<(64-off)
	} else {
		v = tail(r.buf[i:], off)
	}
	return v & (^uint64(0) >> (64 - k)), true
}

// tail is the word at bit off of what is left near the end of the buffer.
func tail(b []byte, off uint) uint64 {
	var w [16]byte
	copy(w[:], b)
	return binary.LittleEndian.Uint64(w[:])>>off | uint64(w[8])<<(64-off)
}

// spent reports whether nothing but the padding of the last byte is left, and
// that padding is zero.
func (r *bitReader) spent() bool {
	if (r.pos+7)>>3 != uint(len(r.buf)) {
		return false
	}
	return r.pos&7 == 0 || r.buf[r.pos>>3]>>(r.pos&7) == 0
}
