package trust

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// keeper holds one version per document as an island does: the newest that was
// permitted when it came, as long as it is permitted.
type keeper struct {
	e     *Evaluator
	state *State
	held  map[string]*replicapb.Document
}

func newKeeper(w *world) *keeper {
	k := &keeper{e: NewEvaluator(w.network), held: map[string]*replicapb.Document{}}
	k.learn()
	return k
}

func (k *keeper) learn() {
	for {
		k.state, _ = k.e.Evaluate(slices.Collect(maps.Values(k.held)))
		n := len(k.held)
		maps.DeleteFunc(k.held, func(_ string, d *replicapb.Document) bool { return k.state.Permit(d) != nil })
		if len(k.held) == n {
			return
		}
	}
}

func (k *keeper) offer(docs []*replicapb.Document) (took bool) {
	slices.SortStableFunc(docs, func(a, b *replicapb.Document) int { return Order(a.GetKey()) - Order(b.GetKey()) })
	for _, d := range docs {
		if k.state.Permit(d) == nil && Newer(d, k.held[d.GetKey()]) {
			k.held[d.GetKey()] = d
			k.learn()
			took = true
		}
	}
	return took
}

func (k *keeper) digest() string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(k.held)) {
		b.WriteString(key + string(k.held[key].GetSignature()))
	}
	return b.String()
}

// TestIslandsConverge gives islands the documents in different orders and lets
// them exchange what they hold until nobody takes anything more.
func TestIslandsConverge(t *testing.T) {
	w := newWorld(t)
	pool := w.pool(rand.New(rand.NewPCG(2, 2)))
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 2))
		islands := []*keeper{newKeeper(w), newKeeper(w), newKeeper(w)}
		for _, k := range islands {
			k.offer(w.reef())
			for _, i := range r.Perm(len(pool))[:30] {
				k.offer([]*replicapb.Document{pool[i]})
			}
		}
		rounds := 0
		for moved := true; moved; rounds++ {
			if rounds == 30 {
				t.Fatalf("seed %d: islands still exchange documents after %d rounds", seed, rounds)
			}
			moved = false
			for _, a := range islands {
				for _, b := range islands {
					moved = b.offer(slices.Collect(maps.Values(a.held))) || moved
				}
			}
		}
		for i, k := range islands[1:] {
			if k.digest() != islands[0].digest() {
				t.Errorf("seed %d: island %d holds other documents than island 0 after %d rounds", seed, i+1, rounds)
			}
		}
	}
}
