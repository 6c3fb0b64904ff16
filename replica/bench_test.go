package replica

import (
	"fmt"
	"runtime"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/replicapb"
)

func benchFleet(b *testing.B, documents int) (*fleet, *isle) {
	f := newFleet(b, 1)
	x := f.nodes[0]
	var docs []*replicapb.Document
	for n := range documents {
		docs = append(docs, f.rule(x, n, 0, past()))
	}
	f.must(x.Put(b.Context(), docs...))
	return f, x
}

// BenchmarkAccept takes in signed documents of 2 KB: verify, judge, write without
// flushing, index.
func BenchmarkAccept(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			f, x := benchFleet(b, 0)
			docs := make([]*replicapb.Document, b.N)
			for n := range docs {
				docs[n] = f.rule(x, n%10_000, n, past()+uint64(n))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for len(docs) > 0 {
				n := min(batch, len(docs))
				f.must(x.Put(b.Context(), docs[:n]...))
				docs = docs[n:]
			}
		})
	}
}

// BenchmarkDigest changes one of 10,000 documents and reads the root.
func BenchmarkDigest(b *testing.B) {
	_, x := benchFleet(b, 10_000)
	entries := x.index.all(otherTree)
	x.Root()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e := *entries[i%len(entries)]
		e.hash = uint64(i + 1)
		x.index.put(&e)
		x.Root()
	}
}

// BenchmarkSettle asks about 10,000 documents again, as every change of trust does.
func BenchmarkSettle(b *testing.B) {
	_, x := benchFleet(b, 10_000)
	for b.Loop() {
		x.turn.Lock()
		x.f.must(x.settle())
		x.turn.Unlock()
	}
}

// BenchmarkMemory reports the heap that one document held costs.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		before := heap()
		f, x := benchFleet(b, 0)
		var docs []*replicapb.Document
		for n := range 10_000 {
			docs = append(docs, f.rule(x, n, 0, past()))
		}
		f.must(x.Put(b.Context(), docs...))
		docs = nil
		b.ReportMetric(float64(heap()-before)/10_000, "B/document")
		x.stop()
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkPack compares a batch of rule files with its compressed form.
func BenchmarkPack(b *testing.B) {
	f, x := benchFleet(b, 0)
	var docs []*replicapb.Document
	for n := range 60 {
		docs = append(docs, f.rule(x, n, 0, past()))
	}
	raw := proto.Size(&replicapb.Documents{Documents: docs})
	var c codec
	defer c.close()
	b.SetBytes(int64(raw))
	for b.Loop() {
		packed, err := c.pack(docs)
		f.must(err)
		b.ReportMetric(float64(raw)/float64(len(packed.GetZstd())), "ratio")
	}
}
