package engine

import (
	"math"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

// Batch collects samples of one sender and gives them to the engine at once. It is
// not for concurrent use, nor for use after Commit or Rollback.
type Batch struct {
	e       *Engine
	sender  uint64
	replica uint8 // the sender, as a replica
	lane    uint8 // of records for what it learns
	parts   []part
	exts    []extra
	defs    []byte // labels of series that the journal does not know
	key     []byte
	raw     []byte
	builder labels.Builder
	frame   []byte
	touched uint64
}

// part is what of a batch a shard gets.
type part struct {
	items []item
	last  uint32 // place of the series that was found last in the shard
	lost  bool   // the one after it was not next to it
}

// Begin starts a batch of samples from one sender: whoever delivers, by an
// identity that it keeps over restarts.
func (e *Engine) Begin(sender uint64) *Batch {
	b, _ := e.batches.Get().(*Batch)
	if b == nil {
		b = &Batch{e: e, parts: make([]part, len(e.shards)), builder: *labels.NewBuilder(labels.EmptyLabels())}
	}
	b.sender = sender
	b.lane = e.lanes.take()
	b.replica = e.replicas.number(senderIdentity(sender))
	return b
}

// Append takes a float sample at t. st is when the counter was created, 0 if that
// is not known. ref is what an earlier Append returned for the series; with 0 or
// one that does not hold any more the labels are looked at. A series that no rule
// takes answers 0, 0.
func (b *Batch) Append(ref Ref, ls labels.Labels, st, t int64, v float64) (Ref, Verdict) {
	ref, meta, ok := b.resolve(ref, ls)
	if !ok {
		return 0, 0
	}
	b.add(ref, meta, ls, nil, st, t, v, nil)
	return ref, metaVerdict(meta)
}

// AppendHistogram takes a native histogram, which it copies.
func (b *Batch) AppendHistogram(ref Ref, ls labels.Labels, st, t int64, h *histogram.FloatHistogram) (Ref, Verdict) {
	ref, meta, ok := b.resolve(ref, ls)
	if !ok {
		return 0, 0
	}
	v := math.NaN()
	if value.IsStaleNaN(h.Sum) {
		v, h = h.Sum, nil
	} else {
		h = h.Copy()
	}
	b.add(ref, meta, ls, nil, st, t, v, h)
	return ref, metaVerdict(meta)
}

// AppendRaw takes a float sample of a series by raw, the label fields of a remote
// write 1.0 TimeSeries as sent, if the series is known and its samples are not to
// be stored. Otherwise it takes nothing and returns false: Append is the way then.
func (b *Batch) AppendRaw(raw []byte, st, t int64, v float64) bool {
	ref, meta, ok := b.e.find(b.e.fingerprint(raw))
	if !ok || meta&(flagDrop|flagRelearn) != flagDrop {
		return false
	}
	b.add(ref, meta, labels.EmptyLabels(), raw, st, t, v, nil)
	return true
}

// Learn makes the series known that raw and ls are both the labels of, so that
// AppendRaw finds it, and returns what the rules make of it.
func (b *Batch) Learn(raw []byte, ls labels.Labels) Verdict {
	_, meta, ok := b.lookup(b.e.fingerprint(raw), ls)
	if !ok {
		return 0
	}
	return metaVerdict(meta)
}

func (b *Batch) resolve(ref Ref, ls labels.Labels) (Ref, uint64, bool) {
	if ref != 0 {
		s, id := b.e.locate(ref.Index())
		if r := s.at(id); !r.none() {
			meta := r.load()
			if meta&(flagHead|flagRelearn) == flagHead && metaGen(meta) == ref.gen() {
				return ref, meta, true
			}
		}
	}
	b.raw = appendLabels(b.raw[:0], ls, nil)
	return b.lookup(b.e.fingerprint(b.raw), ls)
}

func (b *Batch) lookup(f fingerprint, ls labels.Labels) (Ref, uint64, bool) {
	ref, meta, ok := b.e.find(f)
	if ok && meta&flagRelearn == 0 {
		return ref, meta, true
	}
	if !ok && b.e.neg.has(f) {
		return 0, 0, false
	}
	return b.learn(f, ls)
}

func (b *Batch) add(ref Ref, meta uint64, ls labels.Labels, raw []byte, st, t int64, v float64, h *histogram.FloatHistogram) {
	rep := ref.replica()
	if rep == 0 {
		rep = b.replica
	}
	it := item{v: v, t: t, id: ref.Index() >> b.e.shardBits, gen: ref.gen(), rep: rep}
	fresh := meta&flagFresh != 0
	if st != 0 || h != nil || fresh {
		x := extra{st: st, hist: h}
		if fresh {
			x.from = len(b.defs)
			if raw != nil {
				b.defs = append(b.defs, raw...)
			} else {
				b.defs = appendLabels(b.defs, ls, nil)
			}
			x.to = len(b.defs)
		}
		b.exts = append(b.exts, x)
		it.ext = uint32(len(b.exts))
	}
	p := &b.parts[ref.Index()&(1<<b.e.shardBits-1)]
	p.items = append(p.items, it)
}

// Commit applies the batch, which arrived at now: when it returns, all of it is in
// the journal and in the state. What the journal refuses goes to Options.Failed, as
// aggregation goes on without.
func (b *Batch) Commit(now int64) {
	e := b.e
	e.wake(now)
	e.cut.RLock()
	var failed error
	if e.journal != nil {
		b.frame = b.encode(b.frame[:0], now)
		failed = e.journal.Append(b.frame)
	}
	b.apply(now, failed == nil && e.journal != nil)
	e.cut.RUnlock()
	e.fail(failed)
	b.done()
}

// apply goes through the shards, those first that nobody is busy with.
func (b *Batch) apply(now int64, journalled bool) {
	var busy uint64
	for k := range b.parts {
		if len(b.parts[k].items) == 0 {
			continue
		}
		if !b.e.shards[k].mu.TryLock() {
			busy |= 1 << k
			continue
		}
		b.applyTo(k, now, journalled)
	}
	for k := 0; busy != 0; k, busy = k+1, busy>>1 {
		if busy&1 != 0 {
			b.e.shards[k].mu.Lock()
			b.applyTo(k, now, journalled)
		}
	}
	b.e.src.mu.Lock()
	for k := range b.parts {
		b.e.src.advance(b.parts[k].items, now)
	}
	b.e.src.mu.Unlock()
}

func (b *Batch) applyTo(k int, now int64, journalled bool) {
	s := b.e.shards[k]
	defer s.mu.Unlock()
	items := b.parts[k].items
	s.apply(items, b.exts, now, b.lane)
	if len(b.defs) == 0 || !journalled {
		return
	}
	for i := range items {
		if x := items[i].ext; x != 0 && b.exts[x-1].to > b.exts[x-1].from {
			if r := s.at(items[i].id); !r.none() && r.gen() == items[i].gen {
				r.clear(flagFresh)
			}
		}
	}
}

// Rollback forgets the samples. Series that they made known stay known for a while.
func (b *Batch) Rollback() { b.done() }

const maxPooledItems = 1 << 16

func (b *Batch) done() {
	for k := range b.parts {
		if cap(b.parts[k].items) > maxPooledItems {
			b.parts[k].items = nil
		}
		b.parts[k].items, b.parts[k].lost = b.parts[k].items[:0], false
	}
	clear(b.exts)
	b.exts, b.defs = b.exts[:0], b.defs[:0]
	b.builder.Reset(labels.EmptyLabels())
	b.e.lanes.giveBack(b.lane)
	b.e.batches.Put(b)
}
