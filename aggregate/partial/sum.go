package partial

import "math"

// Sum2 is a sum with the error that rounding made of it (Neumaier, "Rundungsfehleranalyse
// einiger Verfahren zur Summation endlicher Summen", 1974), so that sums beyond
// 2^53 and of many small parts stay exact. The zero value is 0.
type Sum2 struct{ Hi, Lo float64 }

// Add adds a value. An infinity or NaN makes the sum infinite or NaN.
func (s *Sum2) Add(v float64) {
	t := s.Hi + v
	if math.IsInf(t, 0) || math.IsNaN(t) {
		s.Hi, s.Lo = t, 0
		return
	}
	if math.Abs(s.Hi) >= math.Abs(v) {
		s.Lo += s.Hi - t + v
	} else {
		s.Lo += v - t + s.Hi
	}
	s.Hi = t
}

// AddSum adds another sum.
func (s *Sum2) AddSum(o Sum2) {
	s.Add(o.Hi)
	s.Add(o.Lo)
}

// SubSum takes another sum away.
func (s *Sum2) SubSum(o Sum2) {
	s.Add(-o.Hi)
	s.Add(-o.Lo)
}

// Value is the sum, rounded once.
func (s Sum2) Value() float64 { return s.Hi + s.Lo }

// IsZero reports whether the sum is 0.
func (s Sum2) IsZero() bool { return s.Value() == 0 }
