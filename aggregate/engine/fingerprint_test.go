package engine

import (
	"bytes"
	"math/bits"
	"testing"
)

// Inputs of every length that differ in one bit, in their length, or by the seed have
// fingerprints that differ in about half of their bits.
func TestFingerprintSpreads(t *testing.T) {
	k, other := newSecret(1), newSecret(2)
	differ := func(what string, n int, a, b fingerprint) {
		t.Helper()
		if lo, hi := bits.OnesCount64(a.Lo^b.Lo), bits.OnesCount64(a.Hi^b.Hi); lo < 8 || hi < 8 {
			t.Fatalf("%s, %d bytes: %d and %d of 64 bits differ, want about 32", what, n, lo, hi)
		}
	}
	seen := map[fingerprint]bool{}
	for n := range 300 {
		p := bytes.Repeat([]byte{'a'}, n)
		whole := k.sum(p)
		differ("seed", n, whole, other.sum(p))
		differ("length", n, whole, k.sum(append(p, 'a')[:n+1]))
		for i := range n * 8 {
			p[i/8] ^= 1 << (i % 8)
			f := k.sum(p)
			differ("one bit", n, whole, f)
			if seen[f] {
				t.Fatalf("%d bytes, bit %d: fingerprint met before", n, i)
			}
			seen[f] = true
			p[i/8] ^= 1 << (i % 8)
		}
	}
}

// Times that lie apart widen what is kept of first samples, and lose nothing.
func TestFirstsWiden(t *testing.T) {
	c := &chunk{}
	times := []int64{origin, origin + 10_000, origin - 10_000, origin + 3_600_000, origin - 86_400_000}
	for i, at := range times {
		if !c.setFirst(uint32(i), at, float64(i), i%2 == 1) {
			t.Fatalf("first sample at %d does not fit", at)
		}
		for j, want := range times[:i+1] {
			got, v, born, ok := c.getFirst(uint32(j))
			if !ok || got != want || v != float64(j) || born != (j%2 == 1) {
				t.Fatalf("after %d: first %d is %d, %v, %v, %v, want %d", i, j, got, v, born, ok, want)
			}
		}
	}
	if c.setFirst(0, origin+30*86_400_000, 1, false) {
		t.Fatal("a time 30 days on fits, want it kept elsewhere")
	}
	for i := range times {
		c.dropFirst(uint32(i))
	}
	if c.first != nil {
		t.Fatalf("all dropped, %d left", c.first.n)
	}
}
