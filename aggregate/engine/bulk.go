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
	var parts [bulk]*segment
	e := b.e
	for i := range raws {
		prints[i] = e.fingerprint(raws[i].Labels)
	}
	touched := uint64(0)
	for i := range raws {
		f := prints[i]
		if s := e.shardOf(f).index.part(f.Hi, e.shardBits).Load(); s != nil {
			parts[i] = s
			touched ^= atomic.LoadUint64(&s.buckets[s.bucket(segmentKey(f.Lo))].keys[0])
		}
	}
	b.touched = touched // or the compiler would leave the loads out
	var refs [bulk]Ref
	var recs [bulk]*record
	for i := range raws {
		refs[i], recs[i] = e.spot(prints[i], parts[i])
	}
	for i := range raws {
		r := &raws[i]
		r.Taken = false
		if recs[i] != nil {
			meta := recs[i].load()
			ref := refs[i]
			known := meta&(flagHead|flagDrop|flagRelearn) == flagHead|flagDrop
			if ref.gen() == 0 {
				ref |= Ref(metaGen(meta)) << 32
			}
			if known && ref.gen() == metaGen(meta) {
				b.add(ref, meta, labels.EmptyLabels(), r.Labels, r.ST, r.T, r.V, nil)
				r.Taken = true
				continue
			}
		}
		left++
	}
	return left
}

// spot finds the place of a record without looking at it: the generation in the
// reference is 0 where the index does not say it.
func (e *Engine) spot(f fingerprint, part *segment) (Ref, *record) {
	if part == nil {
		return 0, nil
	}
	s := e.shardOf(f)
	val, ok := part.find(segmentKey(f.Lo))
	if !ok {
		return 0, nil
	}
	if val&aliasBit == 0 {
		return Ref(e.dense(s, val)), s.at(val)
	}
	packed := s.aliases.load(val &^ aliasBit)
	if packed == 0 {
		return 0, nil
	}
	owner, id := e.locate(uint32(packed))
	return Ref(packed & 0xffff_ffff_ffff), owner.at(id)
}
