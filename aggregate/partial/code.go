package partial

import (
	"encoding/binary"
	"errors"
	"math"
)

// Bounds of what is believed of a stranger's window.
const (
	// MaxRows is the most rows of one encoded window; more go into several (Split).
	MaxRows = 1 << 17
	// mostLabelBytes bounds the label text that one window may expand to: rows
	// repeat the labels of the row before for a byte each.
	mostLabelBytes = 128 << 20
	mostLabels     = 1 << 10
	mostText       = 1 << 16
)

var (
	errShort = errors.New("the bytes end too early")
	errRange = errors.New("a number is out of range")
)

// reader takes values off the front; after the first failure all are zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// upTo reads a number that may not be larger.
func (r *reader) upTo(most uint64) uint64 {
	v := r.uvarint()
	if v > most {
		r.fail(errRange)
		return 0
	}
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes(n uint64) []byte {
	if uint64(len(r.b)) < n {
		r.fail(errShort)
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

const floatSize = 8

func (r *reader) fixed64() uint64 {
	if b := r.bytes(floatSize); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// A number on the wire: whole numbers up to 2^53 as a zigzag varint moved up by
// two, others as 0 and eight bytes. A sum with a compensation is 1 and twice eight.
const (
	rawNumber = 0
	rawPair   = 1
	codes     = 2
)

func appendNumber(b []byte, v float64) []byte {
	const exact = 1 << 53
	if v == math.Trunc(v) && math.Abs(v) <= exact && (v != 0 || !math.Signbit(v)) {
		i := int64(v)
		return binary.AppendUvarint(b, uint64(i<<1^i>>63)+codes)
	}
	return binary.LittleEndian.AppendUint64(append(b, rawNumber), math.Float64bits(v))
}

func (r *reader) number() float64 {
	s := r.sum()
	if s.Lo != 0 {
		r.fail(errRange)
	}
	return s.Hi
}

func appendSum(b []byte, s Sum2) []byte {
	if s.Lo == 0 {
		return appendNumber(b, s.Hi)
	}
	b = binary.LittleEndian.AppendUint64(append(b, rawPair), math.Float64bits(s.Hi))
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(s.Lo))
}

func (r *reader) sum() (s Sum2) {
	switch code := r.uvarint(); code {
	case rawNumber:
		s.Hi = math.Float64frombits(r.fixed64())
	case rawPair:
		s.Hi, s.Lo = math.Float64frombits(r.fixed64()), math.Float64frombits(r.fixed64())
	default:
		z := code - codes
		s.Hi = float64(int64(z>>1) ^ -int64(z&1))
	}
	return s
}
