package share

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/owner"
	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// Bounds of what is believed of another island.
const (
	codeVersion = 1
	// MaxMessage is the most bytes of a message, before and after decompression.
	MaxMessage  = 16 << 20
	mostMembers = 1 << 10
	mostMarks   = 1 << 14
	mostParts   = 1 << 12
	mostCounts  = 1 << 12
	mostLabels  = 1 << 10
	mostText    = 1 << 16
)

const (
	flagLate = 1 << iota
	flagLast
	flagTotals
	allFlags = 1<<iota - 1
)

var errCode = errors.New("the bytes end too early or hold a number out of range")

// codec compresses. It is safe for concurrent use.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newCodec() (*codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxMessage))
	return &codec{enc, dec}, err
}

func (c *codec) pack(b []byte) []byte { return c.enc.EncodeAll(b, nil) }

func (c *codec) unpack(b []byte) ([]byte, error) {
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("%d bytes are more than a message may have (%d)", len(b), MaxMessage)
	}
	return c.dec.DecodeAll(b, nil)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTexts(b []byte, texts []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(texts)))
	for _, s := range texts {
		b = appendText(b, s)
	}
	return b
}

func appendMarks(b []byte, marks []mark) []byte {
	b = binary.AppendUvarint(b, uint64(len(marks)))
	for _, m := range marks {
		b = binary.AppendVarint(binary.LittleEndian.AppendUint64(b, m.rule), m.through)
	}
	return b
}

func (m *message) append(b []byte) []byte {
	b = binary.AppendUvarint(append(b, codeVersion), m.life)
	b = binary.AppendUvarint(b, m.boot)
	b = appendTexts(b, m.members)
	b = binary.AppendUvarint(b, uint64(len(m.away)))
	for _, x := range m.away {
		b = binary.AppendVarint(appendText(b, x.name), x.ms)
	}
	b = appendMarks(b, m.sealed)
	b = binary.AppendUvarint(b, uint64(len(m.words)))
	for _, x := range m.words {
		b = appendTexts(binary.LittleEndian.AppendUint64(b, x.rule), x.members)
		b = binary.AppendVarint(appendText(b, x.owner), x.through)
	}
	b = binary.AppendUvarint(b, uint64(len(m.states)))
	for i := range m.states {
		b = framed(b, m.states[i].append)
	}
	b = binary.AppendUvarint(b, uint64(len(m.parts)))
	for _, p := range m.parts {
		b = framed(b, p.append)
	}
	return b
}

// framed puts the length before what f appends, so that what is of an unknown
// rule can be skipped.
func framed(b []byte, f func([]byte) []byte) []byte {
	at := len(b)
	b = f(append(b, 0, 0, 0, 0))
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

// frame takes one framed piece off the front.
func (d *decoder) frame() *decoder {
	size := d.bytes(4)
	if d.err != nil {
		return nil
	}
	inner := &decoder{b: d.bytes(int(binary.LittleEndian.Uint32(size))), find: d.find}
	inner.err = d.err
	return inner
}

// unknownRule is a rule that is not in force here.
type unknownRule struct{ hash uint64 }

func (e unknownRule) Error() string {
	return fmt.Sprintf("no rule here has the hash %016x; give all islands the same rules", e.hash)
}

// skip notes a rule that is unknown; other errors end the decoding.
func (d *decoder) skip(m *message, inner *decoder) bool {
	var unknown unknownRule
	switch {
	case errors.As(inner.err, &unknown):
		m.unknown = append(m.unknown, unknown.hash)
		return true
	case inner.err != nil:
		d.err, d.b = inner.err, nil
		return true
	case len(inner.b) > 0:
		d.fail()
		return true
	}
	return false
}

func (s *state) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, s.rule.Hash)
	b = binary.AppendUvarint(b, uint64(len(s.groups)))
	needs := owner.CumulativeNeeds(s.rule)
	for i := range s.groups {
		b = appendGroup(b, needs, &s.groups[i])
	}
	return b
}

func appendGroup(b []byte, needs rule.Needs, g *stateGroup) []byte {
	b = binary.AppendUvarint(b, uint64(g.labels.Len()))
	g.labels.Range(func(l labels.Label) { b = appendText(appendText(b, l.Name), l.Value) })
	b = binary.AppendUvarint(b, uint64(len(g.counts)))
	for i := range g.counts {
		c := &g.counts[i]
		b = binary.AppendUvarint(appendText(b, c.source.name), c.source.life)
		b = binary.AppendUvarint(binary.AppendVarint(b, c.asOf), c.seq)
		b = partial.AppendAcc(b, needs, 0, &c.acc)
	}
	return b
}

func (p *part) append(b []byte) []byte {
	flags := byte(0)
	set := func(on bool, bit byte) {
		if on {
			flags |= bit
		}
	}
	set(p.late, flagLate)
	set(p.last, flagLast)
	set(len(p.rows) > 0 && p.rows[0].total != nil, flagTotals)
	w := &partial.Window{Rule: p.rule, End: p.end, Revision: p.revision, Rows: make([]partial.Row, len(p.rows))}
	for i := range p.rows {
		w.Rows[i] = p.rows[i].Row
	}
	b = binary.AppendVarint(append(b, flags), p.asOf-p.end)
	b = binary.AppendUvarint(b, p.seq)
	b = partial.AppendWindow(b, w) // keeps the order: rows are sorted already
	if flags&flagTotals == 0 {
		return b
	}
	needs := owner.CumulativeNeeds(p.rule)
	for i := range p.rows {
		b = partial.AppendAcc(b, needs, 0, p.rows[i].total)
	}
	return b
}

// decoder takes values off the front; after the first failure all are zero.
type decoder struct {
	b    []byte
	find func(hash uint64) *rule.Rule
	err  error
}

func (d *decoder) fail() {
	if d.err == nil {
		d.err = errCode
	}
	d.b = nil
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) upTo(most uint64) int {
	v := d.uvarint()
	if v > most {
		d.fail()
		return 0
	}
	return int(v)
}

func (d *decoder) bytes(n int) []byte {
	if n < 0 || len(d.b) < n {
		d.fail()
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) byte() byte {
	if b := d.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) fixed() uint64 {
	if b := d.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) text() string { return string(d.bytes(d.upTo(mostText))) }

func (d *decoder) texts() (out []string) {
	for n := d.upTo(mostMembers); n > 0 && d.err == nil; n-- {
		out = append(out, d.text())
	}
	return out
}

func (d *decoder) rule() *rule.Rule {
	hash := d.fixed()
	if d.err != nil {
		return nil
	}
	r := d.find(hash)
	if r == nil {
		d.err, d.b = unknownRule{hash}, nil
	}
	return r
}

func (d *decoder) marks() (out []mark) {
	for n := d.upTo(mostMarks); n > 0 && d.err == nil; n-- {
		out = append(out, mark{d.fixed(), d.varint()})
	}
	return out
}

func (d *decoder) acc(end int64) partial.Acc {
	if d.err != nil {
		return partial.Acc{}
	}
	a, rest, err := partial.DecodeAcc(d.b, end)
	if d.b = rest; err != nil {
		d.err, d.b = err, nil
	}
	return a
}

// decodeMessage reads what message.append wrote.
func decodeMessage(b []byte, find func(uint64) *rule.Rule) (*message, error) {
	d := &decoder{b: b, find: find}
	if v := d.byte(); v != codeVersion {
		return nil, fmt.Errorf("version %d of the message is not %d; run the same release on all islands", v, codeVersion)
	}
	m := &message{life: d.uvarint(), boot: d.uvarint(), members: d.texts()}
	for n := d.upTo(mostMembers); n > 0 && d.err == nil; n-- {
		m.away = append(m.away, away{d.text(), d.varint()})
	}
	m.sealed = d.marks()
	for n := d.upTo(mostMarks); n > 0 && d.err == nil; n-- {
		m.words = append(m.words, saying{d.fixed(), d.texts(), d.text(), d.varint()})
	}
	for n := d.upTo(mostParts); n > 0 && d.err == nil; n-- {
		if inner := d.frame(); inner != nil {
			if s := inner.state(); !d.skip(m, inner) {
				m.states = append(m.states, s)
			}
		}
	}
	for n := d.upTo(mostParts); n > 0 && d.err == nil; n-- {
		if inner := d.frame(); inner != nil {
			if p := inner.part(); !d.skip(m, inner) {
				m.parts = append(m.parts, p)
			}
		}
	}
	if d.err == nil && len(d.b) > 0 {
		d.fail()
	}
	return m, d.err
}

func (d *decoder) state() (s state) {
	s.rule = d.rule()
	for n := d.upTo(partial.MaxRows); n > 0 && d.err == nil; n-- {
		s.groups = append(s.groups, d.group())
	}
	return s
}

func (d *decoder) group() (g stateGroup) {
	var b labels.ScratchBuilder
	before := ""
	for n := d.upTo(mostLabels); n > 0 && d.err == nil; n-- {
		name := d.text()
		if name <= before {
			d.fail()
		}
		before = name
		b.Add(name, d.text())
	}
	g.labels = b.Labels()
	g.hash = g.labels.Hash()
	for n := d.upTo(mostCounts); n > 0 && d.err == nil; n-- {
		c := count{source: source{d.text(), d.uvarint()}, asOf: d.varint(), seq: d.uvarint()}
		c.acc = d.acc(0)
		g.counts = append(g.counts, c)
	}
	return g
}

func (d *decoder) part() *part {
	flags := d.byte()
	if flags > allFlags {
		d.fail()
	}
	after, seq := d.varint(), d.uvarint()
	if d.err != nil {
		return nil
	}
	var missing uint64
	w, rest, err := partial.DecodeWindow(d.b, func(hash uint64) *rule.Rule {
		r := d.find(hash)
		if r == nil {
			missing = hash
		}
		return r
	})
	if d.b = rest; err != nil {
		if d.err, d.b = err, nil; missing != 0 {
			d.err = unknownRule{missing}
		}
		return nil
	}
	p := &part{
		rule: w.Rule, end: w.End, revision: w.Revision, late: flags&flagLate != 0, last: flags&flagLast != 0,
		asOf: w.End + after, seq: seq, rows: make([]row, len(w.Rows)),
	}
	for i := range w.Rows {
		p.rows[i].Row = w.Rows[i]
		if flags&flagTotals != 0 {
			a := d.acc(0)
			p.rows[i].total = &a
		}
	}
	return p
}

func (r *reply) append(b []byte) []byte {
	flags := byte(0)
	if r.taken {
		flags |= 1
	}
	if r.viewed {
		flags |= 2
	}
	b = binary.AppendUvarint(append(b, codeVersion, flags), r.boot)
	b = appendMarks(b, r.published)
	b = binary.AppendUvarint(b, uint64(len(r.unknown)))
	for _, hash := range r.unknown {
		b = binary.LittleEndian.AppendUint64(b, hash)
	}
	return b
}

func decodeReply(b []byte) (*reply, error) {
	d := &decoder{b: b}
	if v := d.byte(); v != codeVersion {
		return nil, fmt.Errorf("version %d of the reply is not %d; run the same release on all islands", v, codeVersion)
	}
	flags := d.byte()
	r := &reply{taken: flags&1 != 0, viewed: flags&2 != 0, boot: d.uvarint(), published: d.marks()}
	for n := d.upTo(mostMarks); n > 0 && d.err == nil; n-- {
		r.unknown = append(r.unknown, d.fixed())
	}
	if d.err == nil && len(d.b) > 0 {
		d.fail()
	}
	return r, d.err
}
