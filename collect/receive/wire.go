package receive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// The protobuf wire format, read as gogo/protobuf's generated code reads it:
// what that accepts is accepted, what it refuses is refused.

// Wire types.
const (
	wireVarint = 0
	wireFix64  = 1
	wireBytes  = 2
	wireGroup  = 3
	wireEnd    = 4
	wireFix32  = 5
)

var (
	errOverflow = errors.New("varint longer than 10 bytes")
	errLength   = errors.New("negative length")
	errEndGroup = errors.New("end of a group that was not begun")
)

// varint reads at i and returns the value and the index after it. A negative
// index means an error, see wireError.
func varint(p []byte, i int) (v uint64, next int) {
	if i < len(p) && p[i] < 0x80 {
		return uint64(p[i]), i + 1
	}
	return longVarint(p, i)
}

const (
	atEOF      = -1
	atOverflow = -2
	atLength   = -3
	atEndGroup = -4
	atWireType = -5
	atField    = -6
)

func longVarint(p []byte, i int) (v uint64, next int) {
	for shift := uint(0); shift < 64; shift += 7 {
		if i >= len(p) {
			return 0, atEOF
		}
		b := p[i]
		i++
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, i
		}
	}
	return 0, atOverflow
}

// sized reads a length at i and returns the bounds of what it announces; a
// negative hi is an error.
func sized(p []byte, i int) (lo, hi int) {
	n, lo := varint(p, i)
	if lo < 0 {
		return 0, lo
	}
	if int(n) < 0 || lo+int(n) < 0 {
		return 0, atLength
	}
	if lo+int(n) > len(p) {
		return 0, atEOF
	}
	return lo, lo + int(n)
}

// fixed64 reads a little-endian double at i.
func fixed64(p []byte, i int) (float64, int) {
	if i+8 > len(p) {
		return 0, atEOF
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(p[i:])), i + 8
}

// tag splits a field's key into its number and wire type. Numbers are cut to 32
// bits, as generated code does.
func tag(p []byte, i int) (field int32, wire int, next int) {
	k, next := varint(p, i)
	if next < 0 {
		return 0, 0, next
	}
	field, wire = int32(k>>3), int(k&7)
	if wire == wireEnd {
		return 0, 0, atEndGroup
	}
	if field <= 0 {
		return 0, 0, atField
	}
	return field, wire, next
}

// skip passes over the field whose key is at i, groups included.
func skip(p []byte, i int) int {
	for depth := 0; ; {
		k, next := varint(p, i)
		if next < 0 {
			return next
		}
		i = next
		switch k & 7 {
		case wireVarint:
			_, i = varint(p, i)
		case wireFix64:
			i += 8
		case wireBytes:
			_, i = sized(p, i)
		case wireGroup:
			depth++
		case wireEnd:
			if depth == 0 {
				return atEndGroup
			}
			depth--
		case wireFix32:
			i += 4
		default:
			return atWireType
		}
		if i < 0 {
			return i
		}
		if i > len(p) {
			return atEOF
		}
		if depth == 0 {
			return i
		}
	}
}

// wireError explains a negative index met in the named message.
func wireError(message string, at int) error {
	var err error
	switch at {
	case atEOF:
		err = io.ErrUnexpectedEOF
	case atOverflow:
		err = errOverflow
	case atLength:
		err = errLength
	case atEndGroup:
		err = errEndGroup
	case atWireType:
		err = errors.New("unknown wire type")
	default:
		err = errors.New("field number is not positive")
	}
	return fmt.Errorf("reading protobuf message %s: %w", message, err)
}

func wrongWire(message string, field int32, wire int) error {
	return fmt.Errorf("reading protobuf message %s: field %d has wire type %d, which its definition does not allow", message, field, wire)
}
