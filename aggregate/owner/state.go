package owner

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// The state is one frame per group and one per rule: a length and that many bytes.
const (
	stateVersion = 1
	mostFrame    = 256 << 20
	everything   = ^rule.Needs(0)
)

// What a frame is about.
const (
	frameEnd = iota
	frameRule
	frameTotal
	frameWindow
	frameGroup
)

// Snapshot writes the state: totals and the windows that may still change.
func (o *Owner) Snapshot(w io.Writer) error { return o.write(w, nil, false) }

// Release writes the state of the groups that which names, by rule and hash of
// the group's labels, and forgets them: they have a new owner, who calls Restore.
func (o *Owner) Release(w io.Writer, which func(r *rule.Rule, hash uint64) bool) error {
	return o.write(w, which, true)
}

func (o *Owner) write(w io.Writer, which func(*rule.Rule, uint64) bool, forget bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := &frames{w: bufio.NewWriter(w)}
	out.frame(binary.AppendVarint([]byte{stateVersion}, o.now))
	for _, s := range o.order {
		s.write(out, which)
	}
	out.frame([]byte{frameEnd})
	if err := cmpErr(out.err, out.w.Flush()); err != nil {
		return fmt.Errorf("writing the state of owned groups: %w", err)
	}
	if forget {
		for _, s := range o.order {
			s.forget(which)
		}
	}
	return nil
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// forget drops what was released.
func (s *ruleState) forget(which func(*rule.Rule, uint64) bool) {
	maps.DeleteFunc(s.totals, func(_ string, t *total) bool { return which(s.rule, t.group.Hash()) })
	for _, w := range s.windows {
		maps.DeleteFunc(w.groups, func(_ string, g *group) bool { return which(s.rule, g.hash) })
	}
}

// frames writes until the first error.
type frames struct {
	w   *bufio.Writer
	err error
	b   []byte
}

func (f *frames) frame(b []byte) {
	if f.err == nil {
		_, f.err = f.w.Write(binary.AppendUvarint(nil, uint64(len(b))))
	}
	if f.err == nil {
		_, f.err = f.w.Write(b)
	}
	f.b = b
}

func (s *ruleState) write(out *frames, which func(*rule.Rule, uint64) bool) {
	mine := func(hash uint64) bool { return which == nil || which(s.rule, hash) }
	b := out.b[:0]
	b = append(b, frameRule)
	b = binary.LittleEndian.AppendUint64(b, s.rule.Hash)
	b = binary.AppendVarint(binary.AppendVarint(b, s.newest), s.swept)
	b = binary.AppendUvarint(b, uint64(len(s.marks)))
	for _, source := range slices.Sorted(maps.Keys(s.marks)) {
		b = binary.AppendVarint(appendText(b, source), s.marks[source])
	}
	out.frame(b)
	for _, key := range slices.Sorted(maps.Keys(s.totals)) {
		t := s.totals[key]
		if !mine(t.group.Hash()) {
			continue
		}
		b := appendLabels(append(out.b[:0], frameTotal), t.group)
		b = appendShare(binary.AppendVarint(b, t.last), &t.sum)
		b = binary.AppendUvarint(b, uint64(len(t.recent)))
		for i := range t.recent {
			b = appendShare(binary.AppendVarint(b, t.recent[i].end), &t.recent[i].share)
		}
		out.frame(b)
	}
	for _, end := range slices.Sorted(maps.Keys(s.windows)) {
		s.windows[end].write(out, mine)
	}
}

func (w *window) write(out *frames, mine func(uint64) bool) {
	b := binary.AppendVarint(append(out.b[:0], frameWindow), w.end)
	b = append(b, flag(w.published))
	b = binary.AppendUvarint(b, uint64(len(w.sealed)))
	for _, source := range slices.Sorted(maps.Keys(w.sealed)) {
		b = appendText(b, source)
	}
	out.frame(w.appendPieces(b))
	for _, key := range slices.Sorted(maps.Keys(w.groups)) {
		g := w.groups[key]
		if !mine(g.hash) {
			continue
		}
		b := appendLabels(append(out.b[:0], frameGroup), g.labels)
		b = append(binary.AppendUvarint(b, uint64(g.next)), flag(g.dirty))
		b = binary.AppendUvarint(appendShare(b, &g.counted), uint64(len(g.parts)))
		for i := range g.parts {
			p := &g.parts[i]
			b = binary.AppendUvarint(appendText(b, p.source), p.epoch)
			b = partial.AppendAcc(binary.AppendUvarint(b, uint64(p.revision)), everything, w.end, &p.acc)
		}
		out.frame(b)
	}
}

// appendPieces writes which pieces are there of what came in pieces.
func (w *window) appendPieces(b []byte) []byte {
	keys := slices.SortedFunc(maps.Keys(w.pieces), func(x, y pieceKey) int {
		return cmp.Or(cmp.Compare(x.source, y.source), cmp.Compare(x.epoch, y.epoch), cmp.Compare(x.revision, y.revision))
	})
	b = binary.AppendUvarint(b, uint64(len(keys)))
	for _, key := range keys {
		b = binary.AppendUvarint(appendText(b, key.source), key.epoch)
		b = binary.AppendUvarint(b, uint64(key.revision))
		b = binary.AppendUvarint(b, uint64(len(w.pieces[key])))
		for _, piece := range slices.Sorted(maps.Keys(w.pieces[key])) {
			b = binary.AppendUvarint(b, uint64(piece))
		}
	}
	return b
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendLabels(b []byte, ls labels.Labels) []byte {
	b = binary.AppendUvarint(b, uint64(ls.Len()))
	ls.Range(func(l labels.Label) { b = appendText(appendText(b, l.Name), l.Value) })
	return b
}

// appendShare writes a share as two accumulators: there is one histogram in each.
func appendShare(b []byte, s *share) []byte {
	first := partial.Acc{Increase: s.increase, IncreaseProm: s.prom, Sum: s.sum, Buckets: s.buckets, Hist: s.grown}
	second := partial.Acc{Hist: s.native}
	return partial.AppendAcc(partial.AppendAcc(b, everything, 0, &first), everything, 0, &second)
}

var errState = errors.New("the bytes end too early or hold a number out of range")

// Restore reads what Snapshot or Release wrote and adds it to the state; groups
// of rules that are no longer there are left out. It reads no byte beyond the end
// of the state. After an error the state is incomplete: begin with a new Owner.
func (o *Owner) Restore(r io.Reader) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := &loader{o: o, in: exact{r}}
	if err := l.run(); err != nil {
		return fmt.Errorf("reading the state of owned groups: %w", err)
	}
	return nil
}

// exact reads single bytes without reading ahead.
type exact struct{ io.Reader }

func (e exact) ReadByte() (byte, error) {
	var one [1]byte
	_, err := io.ReadFull(e.Reader, one[:])
	return one[0], err
}

type loader struct {
	o      *Owner
	in     exact
	rule   *ruleState // nil: of a rule that is gone
	window *window
	b      []byte // what is left of the frame
	err    error
}

func (l *loader) next() error {
	n, err := binary.ReadUvarint(l.in)
	if err != nil || n == 0 || n > mostFrame {
		return cmpErr(err, errState)
	}
	// Grown as the bytes come: a torn length must not ask for memory.
	var frame bytes.Buffer
	if _, err := io.CopyN(&frame, l.in, int64(n)); err != nil {
		return err
	}
	l.b = frame.Bytes()
	return nil
}

func (l *loader) run() error {
	if err := l.next(); err != nil {
		return err
	}
	if version := l.byte(); version != stateVersion {
		return fmt.Errorf("version %d is not %d; begin without it", version, stateVersion)
	}
	l.o.now = max(l.o.now, l.varint())
	for l.err == nil {
		if err := l.next(); err != nil {
			return err
		}
		switch kind := l.byte(); kind {
		case frameEnd:
			return l.err
		case frameRule:
			l.readRule()
		case frameTotal, frameWindow, frameGroup:
			if l.rule != nil {
				l.read(kind)
			}
		default:
			return errState
		}
	}
	return l.err
}

func (l *loader) read(kind byte) {
	switch {
	case kind == frameTotal:
		l.readTotal()
	case kind == frameWindow:
		l.readWindow()
	case l.window != nil:
		l.readGroup()
	}
}

func (l *loader) readRule() {
	hash := binary.LittleEndian.Uint64(append(l.bytes(8), make([]byte, 8)...)[:8])
	l.rule, l.window = l.o.rules[hash], nil
	newest, swept := l.varint(), l.varint()
	marks := map[string]int64{}
	for n := l.uvarint(); n > 0 && l.err == nil; n-- {
		source := l.text()
		marks[source] = l.varint()
	}
	if l.rule == nil {
		return
	}
	l.rule.newest, l.rule.swept = max(l.rule.newest, newest), max(l.rule.swept, swept)
	for source, through := range marks {
		l.rule.marks[source] = max(l.rule.marks[source], through)
	}
}

func (l *loader) readTotal() {
	group := l.labels()
	last, sum := l.varint(), l.share()
	var recent []dated
	for n := l.uvarint(); n > 0 && l.err == nil; n-- {
		end := l.varint()
		recent = append(recent, dated{end, l.share()})
	}
	if l.err != nil {
		return
	}
	_, known := l.rule.totals[string(l.rule.key(group))]
	if t := l.rule.total(group); t != nil {
		if known {
			t.sum.add(&sum)
		} else {
			t.sum = sum // bit for bit
		}
		t.last = max(t.last, last)
		t.recent = append(t.recent, recent...)
	}
}

func (l *loader) readWindow() {
	end, published := l.varint(), l.byte() == 1
	w := l.rule.windows[end]
	if w == nil {
		w = &window{end: end, groups: map[string]*group{}, sealed: map[string]bool{}}
		l.rule.windows[end] = w
	}
	w.published = w.published || published
	for n := l.uvarint(); n > 0 && l.err == nil; n-- {
		w.sealed[l.text()] = true
	}
	for n := l.uvarint(); n > 0 && l.err == nil; n-- {
		key := pieceKey{source: l.text(), epoch: l.uvarint(), revision: uint32(l.uvarint())}
		for pieces := l.uvarint(); pieces > 0 && l.err == nil; pieces-- {
			w.have(key, uint32(l.uvarint()))
		}
	}
	l.window = w
}

func (l *loader) readGroup() {
	g := &group{labels: l.labels()}
	g.hash = g.labels.Hash()
	g.next, g.dirty = uint32(l.uvarint()), l.byte() == 1
	g.counted = l.share()
	for n := l.uvarint(); n > 0 && l.err == nil; n-- {
		p := part{source: l.text(), epoch: l.uvarint(), revision: uint32(l.uvarint())}
		p.acc = l.acc(l.window.end)
		g.parts = append(g.parts, p)
	}
	if l.err != nil {
		return
	}
	l.join(g)
}

// join takes a group over; what came in here before it did stays beside it.
func (l *loader) join(g *group) {
	key := string(l.rule.key(g.labels))
	mine := l.window.groups[key]
	if mine == nil {
		l.window.groups[key] = g
		return
	}
	mine.counted.add(&g.counted)
	mine.next = max(mine.next, g.next)
	for i := range g.parts {
		p := &g.parts[i]
		at, found := slices.BinarySearchFunc(mine.parts, p, func(a part, b *part) int { return a.compare(b.source, b.epoch) })
		if !found {
			mine.parts = slices.Insert(mine.parts, at, *p)
		} else if mine.parts[at].revision < p.revision {
			mine.parts[at] = *p
		}
	}
	mine.dirty = true
}

func (l *loader) fail() { l.err, l.b = errState, nil }

func (l *loader) bytes(n uint64) []byte {
	if uint64(len(l.b)) < n {
		l.fail()
		return nil
	}
	b := l.b[:n:n]
	l.b = l.b[n:]
	return b
}

func (l *loader) byte() byte {
	if b := l.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (l *loader) uvarint() uint64 {
	v, n := binary.Uvarint(l.b)
	if n <= 0 {
		l.fail()
		return 0
	}
	l.b = l.b[n:]
	return v
}

func (l *loader) varint() int64 {
	v, n := binary.Varint(l.b)
	if n <= 0 {
		l.fail()
		return 0
	}
	l.b = l.b[n:]
	return v
}

func (l *loader) text() string { return string(l.bytes(l.uvarint())) }

func (l *loader) labels() labels.Labels {
	var b labels.ScratchBuilder
	for n := l.uvarint(); n > 0 && l.err == nil; n-- {
		name := l.text()
		b.Add(name, l.text())
	}
	return b.Labels()
}

func (l *loader) acc(end int64) partial.Acc {
	a, rest, err := partial.DecodeAcc(l.b, end)
	if l.b = rest; err != nil {
		l.err, l.b = err, nil
	}
	return a
}

func (l *loader) share() share {
	first, second := l.acc(0), l.acc(0)
	s := share{increase: first.Increase, prom: first.IncreaseProm, sum: first.Sum, buckets: first.Buckets, grown: first.Hist, native: second.Hist}
	s.only(l.rule.needs)
	return s
}
