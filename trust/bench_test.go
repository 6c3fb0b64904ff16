package trust

import (
	"fmt"
	"testing"

	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// fleet is a network of n members.
func (w *world) fleet(n int) []*replicapb.Document {
	w.tb.Helper()
	docs := w.reef()[:3]
	for i := range n {
		name := fmt.Sprint("island", i)
		v := w.memberValue(name, RoleIsland, 2, name)
		v.Labels = map[string]string{"region": "north", "site": name}
		docs = append(docs, w.memberDoc("s1", v, 2))
	}
	return docs
}

func BenchmarkVerifyDocument(b *testing.B) {
	w := newWorld(b)
	for name, size := range map[string]int{"2KB": 2 << 10, "1MB": MaxDocumentValue} {
		d := w.doc("anegada", "rules/x", make([]byte, size), 1)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := VerifyDocument(w.network, d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEvaluate(b *testing.B) {
	w := newWorld(b)
	for _, n := range []int{1_000, 10_000} {
		docs := w.fleet(n)
		b.Run(fmt.Sprintf("first/members=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Evaluate(w.network, docs)
			}
		})
		b.Run(fmt.Sprintf("again/members=%d", n), func(b *testing.B) {
			e := NewEvaluator(w.network)
			e.Evaluate(docs)
			b.ReportAllocs()
			for b.Loop() {
				e.Evaluate(docs)
			}
		})
	}
}

func BenchmarkPermit(b *testing.B) {
	w := newWorld(b)
	s := w.state(w.fleet(10_000)...)
	rules, member := w.doc("island5000", "rules/x", nil, 9), w.member("s1", "island5000", 9)
	for name, d := range map[string]*replicapb.Document{"rules": rules, "member": member} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Permit(d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("MemberByKey", func(b *testing.B) {
		k := pub("island5000")
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := s.MemberByKey(k); !ok {
				b.Fatal("no member")
			}
		}
	})
	b.Run("Authorize", func(b *testing.B) {
		k := pub("island5000")
		b.ReportAllocs()
		for b.Loop() {
			if !s.Authorize(k, policy.Read, policy.Resource{Kind: policy.Service, Name: "query"}).Allowed {
				b.Fatal("refused")
			}
		}
	})
}
