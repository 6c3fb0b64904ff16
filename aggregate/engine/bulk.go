package engine

import (
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/flow"
)

// Raw is a float sample as AppendRaws takes it.
type Raw = flow.RawSample

const bulk = 128

// AppendRaws is AppendRaw for many samples at a time, as the samples of a request:
// it takes half of the time, since the memory for all of them is fetched side by
// side. It returns how many were not taken.
func (b *Batch) AppendRaws(raws []Raw) (left int) {
	for len(raws) > 0 {
		n := min(bulk, len(raws))
		left += b.appendRaws(raws[:n])
		raws = raws[n:]
	}
	return left
}

func (b *Batch) appendRaws(raws []Raw) (left int) {
	var prints [bulk]fingerprint
	var spots [bulk]spot
	e := b.e
	for i := range raws {
		prints[i] = e.fingerprint(raws[i].Labels)
	}
	touched := uint64(0)
	for i := range raws {
		f := prints[i]
		if s := e.shardOf(f).index.part(f.Hi, e.shardBits).Load(); s != nil {
			x := &spots[i]
			x.part = s
			x.bucket = &s.buckets[s.bucket(segmentKey(f.Lo))]
			touched ^= atomic.LoadUint64(&x.bucket.keys[0])
		}
	}
	for i := range raws {
		if spots[i].look(e, prints[i]); spots[i].rec != nil {
			touched ^= spots[i].rec.load()
		}
	}
	b.touched = touched // or the compiler would leave the loads out
	for i := range raws {
		x, r := &spots[i], &raws[i]
		if x.rec != nil {
			meta := x.rec.load()
			if x.ref.gen() == 0 {
				x.ref |= Ref(metaGen(meta)) << 32
			}
			if meta&(flagHead|flagDrop|flagRelearn) == flagHead|flagDrop && x.ref.gen() == metaGen(meta) {
				b.addRaw(x.ref, meta, r)
				r.Taken = true
				continue
			}
		}
		r.Taken = false
		left++
	}
	return left
}

func (b *Batch) addRaw(ref Ref, meta uint64, r *Raw) {
	if r.ST != 0 || meta&flagFresh != 0 {
		b.add(ref, meta, labels.EmptyLabels(), r.Labels, r.ST, r.T, r.V, nil)
		return
	}
	rep := ref.replica()
	if rep == 0 {
		rep = b.replica
	}
	p := &b.parts[ref.Index()&(1<<b.e.shardBits-1)]
	p.items = append(p.items, item{v: r.V, t: r.T, id: ref.Index() >> b.e.shardBits, gen: ref.gen(), rep: rep})
}

// spot is where the record of a fingerprint is.
type spot struct {
	part   *segment
	bucket *bucket // that the search begins with
	ref    Ref     // its generation is 0 where the index does not say it
	rec    *record
}

// look finds the place of a record without looking at it.
func (x *spot) look(e *Engine, f fingerprint) {
	if x.part == nil {
		return
	}
	key := segmentKey(f.Lo)
	val, ok := x.bucket.find(key)
	if !ok {
		if val, ok = x.part.find(key); !ok {
			return
		}
	}
	s := e.shardOf(f)
	if val&aliasBit == 0 {
		x.ref, x.rec = Ref(e.dense(s, val)), s.at(val)
		return
	}
	packed := s.aliases.load(val &^ aliasBit)
	if packed == 0 {
		return
	}
	owner, id := e.locate(uint32(packed))
	x.ref, x.rec = Ref(packed&0xffff_ffff_ffff), owner.at(id)
}
