package plane

import "math"

// Mode says how the values of a series are turned into integers.
type Mode uint8

// Modes 0 to MaxDecimal hold v*10^mode.
const (
	MaxDecimal Mode = 9
	// Bits holds the 64 bits of the float as a signed integer.
	Bits Mode = 10
	// Rank holds the place of the value in a sorted table of values.
	Rank Mode = 11
	// NoMode is the mode of a series without a value, and of one of histograms:
	// each of its values is preceded by its kind.
	NoMode Mode = 255
)

var powers = [MaxDecimal + 1]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}

const exactIntegers = 1 << 53

// Integer gives v*10^mode, if that is an integer below 2^53 from which Float
// gives back exactly the bits of v.
func Integer(v float64, mode Mode) (int64, bool) {
	x := math.RoundToEven(v * powers[mode])
	if !(math.Abs(x) < exactIntegers) {
		return 0, false
	}
	m := int64(x)
	return m, math.Float64bits(float64(m)/powers[mode]) == math.Float64bits(v)
}

// Decimal gives the smallest mode in which v is an integer, from the mode first
// on, or Bits.
func Decimal(v float64, first Mode) (Mode, int64) {
	for k := first; k <= MaxDecimal; k++ {
		if m, ok := Integer(v, k); ok {
			return k, m
		}
	}
	return Bits, int64(math.Float64bits(v))
}

// Float gives back the value that m stands for. The mode is a decimal one or Bits.
func Float(m int64, mode Mode) float64 {
	if mode > MaxDecimal {
		return math.Float64frombits(uint64(m))
	}
	return float64(m) / powers[mode]
}
