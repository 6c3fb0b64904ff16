package engine

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
)

// A frame is one change of state. Its first byte says which; numbers are varints,
// floats little-endian.
//
//	batch: arrival; replicas (their identities, 8 bytes); samples: flags, index,
//	       generation, replica's place, time since the one before, value;
//	       by flags: created, histogram, labels (of series not in an earlier frame)
//	seal:  time; rules: hash, sealed, ends of late windows
//	home:  time; decisions, see appendDecision
//	let go: as seal, of what deduplication holds back
const (
	frameBatch = 1
	frameSeal  = 2
	frameHome  = 3
	frameLetGo = 4

	frameCreated   = 1
	frameHistogram = 2
	frameLabels    = 4
)

// encode appends the frame of the batch.
func (b *Batch) encode(dst []byte, now int64) []byte {
	dst = append(dst, frameBatch)
	dst = binary.AppendVarint(dst, now)
	dst = binary.LittleEndian.AppendUint64(dst, b.sender)
	var place [256]uint8
	var reps []uint8
	n := 0
	for k := range b.parts {
		for i := range b.parts[k].items {
			if rep := b.parts[k].items[i].rep; place[rep] == 0 {
				reps = append(reps, rep)
				place[rep] = uint8(len(reps))
			}
		}
		n += len(b.parts[k].items)
	}
	dst = binary.AppendUvarint(dst, uint64(len(reps)))
	for _, rep := range reps {
		dst = binary.LittleEndian.AppendUint64(dst, b.e.replicas.identity(rep))
	}
	dst = binary.AppendUvarint(dst, uint64(n))
	before := now
	for k := range b.parts {
		items := b.parts[k].items
		for i := range items {
			dst = b.encodeItem(dst, &items[i], uint32(k), place[items[i].rep]-1, before)
			before = items[i].t
		}
	}
	return dst
}

func (b *Batch) encodeItem(dst []byte, it *item, shard uint32, place uint8, before int64) []byte {
	var x extra
	flags := byte(0)
	if it.ext != 0 {
		x = b.exts[it.ext-1]
		if x.st != 0 {
			flags |= frameCreated
		}
		if x.hist != nil {
			flags |= frameHistogram
		}
		if x.to > x.from {
			flags |= frameLabels
		}
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(it.id<<b.e.shardBits|shard))
	dst = append(dst, it.gen, place)
	dst = binary.AppendVarint(dst, it.t-before)
	dst = appendFloat(dst, it.v)
	if flags&frameCreated != 0 {
		dst = binary.AppendVarint(dst, x.st)
	}
	if flags&frameHistogram != 0 {
		dst = appendHistogram(dst, x.hist)
	}
	if flags&frameLabels != 0 {
		dst = appendBytes(dst, b.defs[x.from:x.to])
	}
	return dst
}

func appendSeal(b []byte, kind byte, decisions []decision, now int64) []byte {
	b = append(b, kind)
	b = binary.AppendVarint(b, now)
	b = binary.AppendUvarint(b, uint64(len(decisions)))
	for _, d := range decisions {
		b = binary.LittleEndian.AppendUint64(b, d.rs.rule.Load().Hash)
		b = binary.AppendVarint(b, d.sealed)
		b = binary.AppendUvarint(b, uint64(len(d.late)))
		for _, end := range d.late {
			b = binary.AppendVarint(b, end)
		}
	}
	return b
}

// ReplayFrame repeats a frame that was given to the journal after the snapshot
// that was restored; what the snapshot has already is not counted twice. emit is
// given the windows that were sealed: they may have been emitted before. Nothing
// else may run meanwhile, and nothing goes to the journal. A frame that makes no
// sense is refused as a whole or up to the sample that does not.
func (e *Engine) ReplayFrame(frame []byte, emit func(*partial.Window) error) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	d := &decoder{b: frame}
	var err error
	switch kind := d.byte(); kind {
	case frameBatch:
		err = e.replayBatch(d)
	case frameSeal, frameLetGo:
		if err = e.replaySeal(d, kind); err == nil {
			return e.flush(emit)
		}
	case frameHome:
		err = e.replayHomes(d)
	default:
		err = fmt.Errorf("kind %d, want 1 to 4", kind)
	}
	if err != nil {
		return fmt.Errorf("replay frame of %d bytes: %w; it is cut off, damaged, or of a newer version", len(frame), err)
	}
	return nil
}

// plausible bounds times that are read, so that sums of them do not overflow.
func plausible(t int64) bool { return t > -1<<53 && t < 1<<53 }

func (e *Engine) replayBatch(d *decoder) error {
	now := d.varint()
	sender := d.u64()
	var reps []uint8
	for range d.count(8) {
		reps = append(reps, e.replicas.number(d.u64()))
	}
	n := d.count(4)
	if d.bad || !plausible(now) {
		return errShort
	}
	e.see(now)
	b := e.Begin(sender)
	defer b.done()
	scratch := labels.NewScratchBuilder(16)
	before := now
	for range n {
		t, err := e.replayItem(d, b, reps, before, &scratch)
		if err != nil {
			return err
		}
		before = t
	}
	b.apply(now, false)
	return nil
}

func (e *Engine) replayItem(d *decoder, b *Batch, reps []uint8, before int64, scratch *labels.ScratchBuilder) (int64, error) {
	flags, index, gen, place := d.byte(), d.uvarint(), d.byte(), d.byte()
	t, v := before+d.varint(), d.float()
	x := extra{}
	if flags&frameCreated != 0 {
		x.st = d.varint()
	}
	if flags&frameHistogram != 0 {
		x.hist = d.histogram()
	}
	var raw []byte
	if flags&frameLabels != 0 {
		raw = d.bytes()
	}
	if d.bad || int(place) >= len(reps) || index > math.MaxUint32 || !plausible(t) || !plausible(x.st) {
		return 0, errShort
	}
	old := Ref(index) | Ref(gen)<<32
	ref := old
	if raw != nil {
		ls, err := parseLabels(raw, scratch)
		if err != nil {
			return 0, err
		}
		var taken bool
		if ref, _, taken = b.lookup(e.fingerprint(raw), ls); !taken {
			return t, nil // no rule does so any more
		}
		if e.replayed == nil {
			e.replayed = map[Ref]Ref{}
		}
		e.replayed[old] = ref & 0xff_ffff_ffff
	} else if now, moved := e.replayed[old]; moved {
		ref = now
	}
	it := item{v: v, t: t, id: ref.Index() >> e.shardBits, gen: ref.gen(), rep: reps[place]}
	if x.st != 0 || x.hist != nil {
		b.exts = append(b.exts, x)
		it.ext = uint32(len(b.exts))
	}
	p := &b.parts[ref.Index()&(1<<e.shardBits-1)]
	p.items = append(p.items, it)
	return t, nil
}

func (e *Engine) replaySeal(d *decoder, kind byte) error {
	now := d.varint()
	set := e.rules.Load()
	var decisions []decision
	for range d.count(10) {
		hash, sealed := d.u64(), d.varint()
		var late []int64
		for range d.count(1) {
			late = append(late, d.varint())
		}
		if d.bad || !plausible(sealed) {
			return errShort
		}
		for _, rs := range set.active {
			if rs.rule.Load().Hash == hash {
				decisions = append(decisions, decision{rs: rs, sealed: max(sealed, rs.sealed.Load()), late: late})
			}
		}
	}
	if d.bad || !plausible(now) {
		return errShort
	}
	e.see(now)
	if kind == frameLetGo {
		e.letGo(decisions, now, false)
		return nil
	}
	e.carryOut(decisions, now, false)
	return nil
}
