package witness

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/atoll-mesh/atoll/trust"
)

// weight of a member for a target: highest random weight, the same on every
// island. salt makes other orders of the same members.
func weight(target, member trust.Key, salt uint64) uint64 {
	var b [72]byte
	copy(b[:32], target[:])
	copy(b[32:64], member[:])
	binary.BigEndian.PutUint64(b[64:], salt)
	sum := sha256.Sum256(b[:])
	return binary.BigEndian.Uint64(sum[:])
}

// order sorts members by falling weight for target.
func order(target trust.Key, members []trust.Key) []trust.Key {
	type weighed struct {
		key trust.Key
		w   uint64
	}
	all := make([]weighed, len(members))
	for i, m := range members {
		all[i] = weighed{m, weight(target, m, 0)}
	}
	slices.SortFunc(all, func(a, b weighed) int {
		return cmp.Or(cmp.Compare(b.w, a.w), bytes.Compare(a.key[:], b.key[:]))
	})
	out := make([]trust.Key, len(all))
	for i, w := range all {
		out[i] = w.key
	}
	return out
}

// speakers are those who may state something about target, in their order: this
// island and all others that it believes alive.
func (w *Witness) speakers(target trust.Key) []trust.Key {
	keys := []trust.Key{w.o.Self}
	for k, v := range w.views {
		if k != target && v.believedAlive() {
			keys = append(keys, k)
		}
	}
	return order(target, keys)
}

// rank is this island's place among the speakers, from 0.
func (w *Witness) rank(target trust.Key) int {
	mine := weight(target, w.o.Self, 0)
	rank := 0
	for k, v := range w.views {
		if k != target && v.believedAlive() && weight(target, k, 0) > mine {
			rank++
		}
	}
	return rank
}
