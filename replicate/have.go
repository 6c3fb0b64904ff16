package replicate

import (
	"encoding/binary"
	"errors"
	"math"
)

var errHave = errors.New("what the receiver says to have does not fit what it was asked")

// appendHave writes the times of series' newest samples, math.MinInt64 for none.
func appendHave(b []byte, newest []int64) []byte {
	last := int64(0)
	for _, t := range newest {
		if t == math.MinInt64 {
			b = append(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, 1+zigzag(t-last))
		last = t
	}
	return b
}

// readHave is the opposite, for n series.
func readHave(b []byte, n int) ([]int64, error) {
	out := make([]int64, n)
	last := int64(0)
	for i := range out {
		x, size := binary.Uvarint(b)
		if size <= 0 {
			return nil, errHave
		}
		b = b[size:]
		if x == 0 {
			out[i] = math.MinInt64
			continue
		}
		last += unzigzag(x - 1)
		out[i] = last
	}
	if len(b) > 0 {
		return nil, errHave
	}
	return out, nil
}

func zigzag(x int64) uint64   { return uint64(x<<1) ^ uint64(x>>63) }
func unzigzag(x uint64) int64 { return int64(x>>1) ^ -int64(x&1) }
