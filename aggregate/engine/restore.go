package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// Restore reads a snapshot, exactly its own bytes, into an engine that has taken
// nothing yet. Rules are found again by their Hash; state of others is dropped.
// After an error the engine is as empty as it was.
func (e *Engine) Restore(r io.Reader) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	e.learning.Lock()
	defer e.learning.Unlock()
	shards, rules, err := readSections(r)
	if err != nil {
		return fmt.Errorf("read snapshot of aggregation: %w", err)
	}
	set := e.rules.Load().set
	x := &restorer{e: e, find: map[uint64]*rule.Rule{}, lacked: map[*ruleState]rule.Needs{}}
	for _, r := range set.Rules {
		x.find[r.Hash] = r
	}
	if err := x.run(shards, rules); err != nil {
		e.empty(set)
		return fmt.Errorf("read snapshot of aggregation: %w; it is damaged or of another version, delete it to begin without", err)
	}
	e.count.restores.Add(1)
	return nil
}

// empty puts the engine back to how New left it.
func (e *Engine) empty(set *rule.Set) {
	for i := range e.shards {
		e.shards[i] = newShard(e, uint32(i))
	}
	e.src.mu.Lock()
	e.src.reset()
	e.src.mu.Unlock()
	e.outbox = nil
	e.homeKey = 0
	e.homing.Store(false)
	e.started.Store(never)
	e.newest.Store(never)
	e.rules.Store(&ruleSet{slots: make([]*ruleState, 1)})
	_ = e.install(set) // New took it before
}

func readSections(r io.Reader) (shards [][]byte, rules []byte, err error) {
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(r, magic); err != nil {
		return nil, nil, err
	}
	if string(magic) != snapshotMagic {
		return nil, nil, fmt.Errorf("it begins with %q, want %q: no snapshot, or of another version", magic, snapshotMagic)
	}
	for len(shards) <= maxShards {
		kind, payload, err := readSection(r)
		switch {
		case err != nil:
			return nil, nil, err
		case kind == sectionRules:
			return shards, payload, nil
		case kind != sectionShard:
			return nil, nil, fmt.Errorf("section of kind %d, want 1 or 2", kind)
		}
		shards = append(shards, payload)
	}
	return nil, nil, fmt.Errorf("more than %d shards", maxShards)
}

// readSection takes memory as bytes arrive, not as the length says.
func readSection(r io.Reader) (byte, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := int64(binary.LittleEndian.Uint32(head[1:]))
	var buf bytes.Buffer
	if _, err := io.CopyN(&buf, r, n); err != nil {
		return 0, nil, err
	}
	var sum [4]byte
	if _, err := io.ReadFull(r, sum[:]); err != nil {
		return 0, nil, err
	}
	if crc32.Checksum(buf.Bytes(), castagnoli) != binary.LittleEndian.Uint32(sum[:]) {
		return 0, nil, fmt.Errorf("checksum of a section of %d bytes is wrong", n)
	}
	return head[0], buf.Bytes(), nil
}

// restorer rebuilds the state; nothing read is believed to be in range.
type restorer struct {
	e    *Engine
	find map[uint64]*rule.Rule
	// slots maps the slots of the snapshot to our rules; where the rule is gone, to
	// one with slot 0.
	slots map[uint32]*ruleState
	added bool // there are rules that the snapshot does not know
	// lacked are the parts that a rule needs and did not when the snapshot was written.
	lacked map[*ruleState]rule.Needs
}

func (x *restorer) run(shards [][]byte, rules []byte) error {
	d := &decoder{b: rules}
	e := x.e
	e.seed = d.u64()
	e.secret = newSecret(e.seed)
	if d.uvarint() != uint64(e.shardBits) || len(shards) != len(e.shards) {
		if err := x.resize(len(shards)); err != nil {
			return err
		}
	}
	e.started.Store(d.varint())
	e.newest.Store(d.varint())
	set := e.rules.Load().set
	same := sameNames(d, set.ReplicaLabels)
	same = sameNames(d, set.SourceLabels) && same
	for range min(254, d.count(8)) {
		e.replicas.number(d.u64())
	}
	if d.bad {
		return errShort
	}
	if !same {
		return nil // series and sources are named otherwise now: nothing fits
	}
	if err := x.sources(d); err != nil {
		return err
	}
	if err := x.rules(d); err != nil {
		return err
	}
	for i, b := range shards {
		if err := x.shard(e.shards[i], &decoder{b: b}); err != nil {
			return fmt.Errorf("shard %d: %w", i, err)
		}
	}
	x.connect()
	return nil
}

// resize takes over the number of shards of the snapshot.
func (x *restorer) resize(n int) error {
	bits := uint(0)
	for 1<<bits < n {
		bits++
	}
	if n == 0 || 1<<bits != n || n > maxShards {
		return fmt.Errorf("%d shards, want a power of two up to %d", n, maxShards)
	}
	e := x.e
	e.shardBits = bits
	e.shards = nil
	for i := range n {
		e.shards = append(e.shards, newShard(e, uint32(i)))
		e.shards[i].adopt(e.rules.Load())
	}
	return nil
}

func sameNames(d *decoder, names []string) bool {
	n := d.count(1)
	same := n == len(names)
	for i := range n {
		if name := string(d.bytes()); !same || name != names[i] {
			same = false
		}
	}
	return same
}

func (x *restorer) sources(d *decoder) error {
	s := &x.e.src
	n := d.count(17)
	for i := range n {
		p := s.all.at(0)
		if i > 0 {
			p = s.all.at(s.all.add(source{}))
		}
		p.firstT, p.maxT, p.step = int64(d.u64()), int64(d.u64()), d.byte()
		if p.maxT != never && !plausible(p.maxT) || p.firstT != math.MaxInt64 && p.firstT != never && !plausible(p.firstT) {
			return errShort
		}
	}
	named := make([]bool, n)
	return s.index.read(d, func(v uint64) (uint32, bool) {
		if v > math.MaxUint32 || v&soloBit != 0 {
			return uint32(v), v <= math.MaxUint32
		}
		if v == 0 || v >= uint64(n) || named[v] {
			return 0, false
		}
		named[v] = true
		return uint32(v), true
	})
}

// read enters what value takes.
func (x *index) read(d *decoder, value func(uint64) (uint32, bool)) error {
	if d.count(1) != len(x.parts) {
		return errShort
	}
	for i := range x.parts {
		n := d.count(9)
		seg := newSegment(n)
		for range n {
			key, v := d.u64(), d.uvarint()
			if d.bad {
				return errShort
			}
			if val, ok := value(v); ok && key > slotGone {
				seg.put(key, val)
			}
		}
		if n > 0 {
			x.parts[i].Store(seg)
		}
	}
	return d.err()
}

func (x *restorer) rules(d *decoder) error {
	x.slots = map[uint32]*ruleState{}
	byHash := map[uint64]*ruleState{}
	for _, rs := range x.e.rules.Load().active {
		byHash[rs.rule.Load().Hash] = rs
		rs.since = x.e.newest.Load()
	}
	seen := 0
	var there []*ruleState
	for range d.count(26) {
		hash, slot := d.u64(), d.uvarint()
		rs := byHash[hash]
		if slot > maxSlot || slot == 0 || x.slots[uint32(slot)] != nil {
			return errShort
		}
		if rs == nil { // to be read over
			rs = newRuleState(&rule.Rule{Interval: time.Second}, 0, 0)
		} else {
			delete(byHash, hash)
			seen++
		}
		x.slots[uint32(slot)] = rs
		there = append(there, rs)
		if err := rs.read(d); err != nil {
			return err
		}
	}
	x.added = seen < len(x.e.rules.Load().active)
	for range d.count(1) {
		w, rest, err := partial.DecodeWindow(d.bytes(), func(h uint64) *rule.Rule { return x.find[h] })
		if err == nil && len(rest) == 0 && w != nil && w.Rule != nil {
			x.e.outbox = append(x.e.outbox, w)
		}
	}
	if len(d.b) > 0 { // older versions end here
		x.e.homeKey = d.u64()
		x.e.homeSecret = newSecret(x.e.homeKey)
		x.e.homing.Store(d.byte() == 1)
	}
	if len(d.b) > 0 { // and others here
		for _, rs := range there {
			x.lacks(rs, rs.needs&^rule.Needs(d.uvarint()))
		}
	}
	return d.err()
}

func lack(cols []*columns, parts rule.Needs) {
	for _, c := range cols {
		if c != nil {
			c.needs &^= parts
		}
	}
}

// lacks: a rule did not need some parts when the snapshot was written.
func (x *restorer) lacks(rs *ruleState, parts rule.Needs) {
	x.lacked[rs] = parts
	for _, p := range rs.published {
		if p.kept != nil {
			lack(p.kept.cols, parts)
		}
	}
	for _, w := range x.e.outbox {
		for i := range w.Rows {
			if w.Rule == rs.rule.Load() {
				w.Rows[i].Acc.Lacks |= parts
			}
		}
	}
}

func (rs *ruleState) read(d *decoder) error {
	since, sealed := int64(d.u64()), int64(d.u64())
	if sealed != never && !plausible(sealed) || since != never && !plausible(since) {
		return errShort
	}
	rs.since = since
	rs.sealed.Store(sealed)
	if err := rs.groups.read(d); err != nil {
		return err
	}
	for range d.count(4) {
		end := d.varint()
		p := &publication{revision: uint32(d.uvarint())}
		flags := d.byte()
		p.again = flags&1 != 0
		for range d.count(8) {
			p.groups = append(p.groups, d.u64())
		}
		if flags&2 != 0 {
			p.kept = &merged{}
			w := &window{}
			rs.readColumns(d, end, w)
			p.kept.cols = w.cols
			for range d.count(1) {
				rates := rs.readRates(d)
				p.kept.rates = append(p.kept.rates, rates)
			}
		}
		if d.bad || !plausible(end) {
			return errShort
		}
		rs.published[end] = p
	}
	for range d.count(50) {
		ord := uint32(d.uvarint())
		c := &carried{increase: d.sum2(), prom: d.sum2(), sum: d.sum2(), windows: int(d.uvarint() & 0xff)}
		if rs.groups.known(ord) {
			rs.carry[ord] = c
		}
	}
	return d.err()
}

func (g *groups) known(ord uint32) bool { return int(ord) < len(g.all) && g.all[ord].used }

func (g *groups) read(d *decoder) error {
	scratch := labels.NewScratchBuilder(8)
	n := d.count(1)
	if n > maxOrdinal+1 {
		return errShort
	}
	g.all = make([]group, n)
	for ord := range g.all {
		kind := d.byte()
		if kind == 0 {
			g.free = append(g.free, uint32(ord))
			continue
		}
		ls, err := parseLabels(d.bytes(), &scratch)
		if err != nil {
			return err
		}
		p := group{labels: ls, hash: ls.Hash(), tenant: string(d.bytes()), used: true, extra: kind == 2, idle: d.varint()}
		if _, twice := g.lookup(ls); twice {
			return errShort
		}
		for p.key = p.hash; ; p.key++ {
			if _, taken := g.byHash[p.key]; !taken {
				break
			}
		}
		g.byHash[p.key] = uint32(ord)
		g.all[ord] = p
		if !p.extra {
			g.count++
			g.tenants[p.tenant]++
		}
	}
	return d.err()
}

func (rs *ruleState) readColumns(d *decoder, end int64, w *window) {
	for range d.count(34) {
		ord := d.uvarint()
		inc, prom, series := d.sum2(), d.sum2(), d.uvarint()
		a, rest, err := partial.DecodeAcc(d.b, end)
		if err != nil || d.bad || ord > maxOrdinal || !rs.groups.known(uint32(ord)) {
			d.bad, d.b = true, nil
			return
		}
		d.b = rest
		c, i := w.at(rs, uint32(ord))
		c.needs &^= a.Lacks
		if c.inc != nil {
			c.inc[i] = inc
		}
		if c.prom != nil {
			c.prom[i] = prom
		}
		if c.series != nil {
			c.series[i] = uint32(series)
		}
		if c.obs != nil || a.Hist != nil {
			c.observations()[i] = a
		}
	}
}

func (rs *ruleState) readRates(d *decoder) (chunks []*rateChunk) {
	for range d.count(3) {
		k := d.uvarint()
		if k > 1<<26/chunkSize {
			d.bad, d.b = true, nil
			return nil
		}
		w := window{rates: chunks}
		for !d.bad {
			p := d.take(2)
			if p == nil {
				return nil
			}
			i := uint32(binary.LittleEndian.Uint16(p))
			if i >= chunkSize {
				break
			}
			ord := d.u32()
			if !rs.groups.known(ord) {
				d.bad, d.b = true, nil
				return nil
			}
			cell := w.rate(uint32(k)*chunkSize + i)
			*cell = rateCell{inc: d.float(), covered: d.float(), ord: ord, used: true}
		}
		chunks = w.rates
	}
	return chunks
}
