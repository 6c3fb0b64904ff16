package engine

import (
	"encoding/binary"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/zeebo/xxh3"
)

// A fingerprint is the XXH3 hash, 128 bits with the engine's seed, of the labels
// as remote write 1.0 encodes them. With 10 million series the odds that any two
// are taken for one are below 1 in 10^8: 74 bits are compared.
type fingerprint = xxh3.Uint128

func (e *Engine) fingerprint(encoded []byte) fingerprint { return xxh3.Hash128Seed(encoded, e.seed) }

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
