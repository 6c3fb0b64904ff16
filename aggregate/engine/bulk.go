package engine

import (
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/flow"
)

// Raw is a float sample as AppendRaws takes it.
type Raw = flow.RawSample

const (
	bulk = 128
	// reach is how many places behind the last one the next series is looked for.
	reach = 4
)

// AppendRaws is AppendRaw for many samples at a time, as the samples of a request.
// Who sends the same series over and over mostly sends them in the order in which
// they were learnt, and so they lie in each shard: the next one is found next to the
// one before. The memory for all others is fetched side by side. It returns how many
// samples were not taken.
func (b *Batch) AppendRaws(raws []Raw) (left int) {
	for len(raws) > 0 {
		n := min(bulk, len(raws))
		left += b.appendRaws(raws[:n])
		raws = raws[n:]
	}
	return left
}

// spot is the place of a sample's series.
type spot struct {
	meta uint64 // of its record; 0: not found
	at   uint32 // dense
	rep  uint8  // that an alias says
}

func (b *Batch) appendRaws(raws []Raw) (left int) {
	var spots [bulk]spot
	var prints [bulk]fingerprint
	var missing [bulk]uint8
	e, n := b.e, 0
	for i := range raws {
		f := e.fingerprint(raws[i].Labels)
		s := e.shardOf(f)
		p := &b.parts[s.number]
		print := printOf(f.Lo)
		if spots[i] = s.next(&p.last, print); spots[i].meta != 0 {
			p.lost = false
			continue
		}
		if !p.lost {
			p.lost = true // until one is found next to another again
			if val, ok := s.place(f); ok {
				p.last, spots[i] = val, s.spot(val, print)
			}
			continue
		}
		prints[n], missing[n] = f, uint8(i)
		n++
	}
	if n > 0 {
		b.findAll(prints[:n], missing[:n], &spots)
	}
	for i := range raws {
		r := &raws[i]
		if r.Taken = spots[i].meta&(flagHead|flagDrop|flagRelearn) == flagHead|flagDrop; r.Taken {
			b.addRaw(&spots[i], r)
		} else {
			left++
		}
	}
	return left
}

// findAll asks the places for what is not next to another.
func (b *Batch) findAll(prints []fingerprint, missing []uint8, spots *[bulk]spot) {
	var buckets [bulk]*placeBucket
	var guesses [bulk]uint32
	e, touched := b.e, uint64(0)
	for i, f := range prints {
		if p := e.shardOf(f).places.part(f.Hi, e.shardBits).Load(); p != nil {
			buckets[i] = &p.buckets[p.bucket(printOf(f.Lo))]
			touched ^= atomic.LoadUint64(&buckets[i].tags[0])
		}
	}
	for i, f := range prints {
		if buckets[i] != nil {
			guesses[i] = buckets[i].guess(printOf(f.Lo))
			touched ^= e.shardOf(f).print(guesses[i])
		}
	}
	b.touched = touched // or the compiler would leave the loads out
	for i, f := range prints {
		s, val, ok := e.shardOf(f), guesses[i], true
		x := s.spot(val, printOf(f.Lo))
		if x.meta == 0 {
			if val, ok = s.place(f); ok {
				x = s.spot(val, printOf(f.Lo))
			}
		}
		if ok {
			b.parts[s.number].last, spots[missing[i]] = val, x
		}
	}
}

// next looks whether a print is of one of the places after last. It compares some ten
// bits fewer than the places do, but with these few series only: the odds that a new
// series is taken for one of them are 1 in 10^18.
func (s *shard) next(last *uint32, print uint64) spot {
	if *last&aliasBit != 0 {
		return s.nextAlias(last, print)
	}
	chunks := *s.chunks.Load()
	n, i := int(*last/chunkSize), *last%chunkSize
	if n >= len(chunks) || chunks[n] == nil {
		return spot{}
	}
	c := chunks[n]
	for k := i + 1; k < min(i+1+reach, chunkSize); k++ {
		r := c.recs.at(k)
		if r.seen() != print {
			continue
		}
		*last += k - i
		if meta := r.load(); r.seen() == print {
			return spot{meta: meta, at: s.e.dense(s, *last)}
		}
		break
	}
	return spot{}
}

func (s *shard) nextAlias(last *uint32, print uint64) spot {
	prints, i := s.aliases.prints(), *last&^aliasBit
	for k := i + 1; k < min(i+1+reach, uint32(len(prints))); k++ {
		if atomic.LoadUint64(&prints[k]) == print {
			*last += k - i
			return s.spot(*last, print)
		}
	}
	return spot{}
}

// spot reads who is at a place before it looks at the print there once more: a place
// that is given to another series meanwhile gets its print before its new name.
func (s *shard) spot(val uint32, print uint64) spot {
	if val&aliasBit == 0 {
		r := s.at(val)
		if r.none() {
			return spot{}
		}
		if meta := r.load(); r.seen() == print {
			return spot{meta: meta, at: s.e.dense(s, val)}
		}
		return spot{}
	}
	packed := s.aliases.packed(val &^ aliasBit)
	if packed == 0 || s.print(val) != print {
		return spot{}
	}
	owner, id := s.e.locate(uint32(packed))
	r := owner.at(id)
	if r.none() {
		return spot{}
	}
	if meta := r.load(); metaGen(meta) == uint8(packed>>32) {
		return spot{meta: meta, at: uint32(packed), rep: uint8(packed >> 40)}
	}
	return spot{}
}

func (b *Batch) addRaw(x *spot, r *Raw) {
	if x.meta&flagFresh != 0 {
		ref := Ref(x.at) | Ref(metaGen(x.meta))<<32 | Ref(x.rep)<<40
		b.add(ref, x.meta, labels.EmptyLabels(), r.Labels, 0, r.T, r.V, nil)
		return
	}
	rep := x.rep
	if rep == 0 {
		rep = b.replica
	}
	p := &b.parts[x.at&(1<<b.e.shardBits-1)]
	p.items = append(p.items, item{v: r.V, t: r.T, id: x.at >> b.e.shardBits, gen: metaGen(x.meta), rep: rep})
}
