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
	codeVersion = 6
	// MaxMessage is the most bytes of a message, before and after decompression.
	MaxMessage  = 16 << 20
	mostMembers = 1 << 10
	mostMarks   = 1 << 14
	mostParts   = 1 << 12
	mostCounts  = 1 << 12
	mostLabels  = 1 << 10
	mostRefs    = 1 << 8
	mostSpans   = 1 << 14
	mostClaims  = 1 << 14
	mostText    = 1 << 16
	mostTime    = 1 << 52 // ms
)

const (
	flagLate = 1 << iota
	flagLast
	flagTotals
	flagAfter
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

func appendLabels(b []byte, ls labels.Labels) []byte {
	b = binary.AppendUvarint(b, uint64(ls.Len()))
	ls.Range(func(l labels.Label) { b = appendText(appendText(b, l.Name), l.Value) })
	return b
}

func (s spans) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	for _, x := range s {
		b = binary.AppendVarint(binary.AppendVarint(b, x.from), x.to-x.from)
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
	b = binary.AppendUvarint(binary.AppendUvarint(b, m.stance.start), m.stance.turn)
	b = binary.AppendUvarint(append(b, bit(m.done)), m.boot)
	b = binary.AppendUvarint(b, uint64(len(m.plans)))
	for _, p := range m.plans {
		b = p.append(b)
	}
	b = binary.AppendUvarint(b, uint64(len(m.views)))
	for i := range m.views {
		b = m.views[i].append(b)
	}
	b = binary.AppendUvarint(b, uint64(len(m.islands)))
	for _, x := range m.islands {
		b = binary.AppendVarint(binary.AppendVarint(appendText(b, x.name), x.gone), x.quiet)
	}
	b = appendMarks(appendMarks(b, m.sealed), m.lost)
	b = binary.AppendUvarint(b, uint64(len(m.words)))
	for _, x := range m.words {
		b = binary.AppendUvarint(binary.LittleEndian.AppendUint64(b, x.rule), uint64(x.view))
		b = binary.AppendVarint(appendText(b, x.owner), x.through)
	}
	b = binary.AppendUvarint(binary.LittleEndian.AppendUint64(b, m.loadView), uint64(len(m.loads)))
	for _, x := range m.loads {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(x.slot)), uint64(x.rows))
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

func (v *viewRef) append(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(append(appendTexts(b, v.members), bit(v.apart)), v.plan)
}

func bit(on bool) byte {
	if on {
		return 1
	}
	return 0
}

// framed puts the length before what f appends, so that what is of an unknown
// rule can be skipped.
func framed(b []byte, f func([]byte) []byte) []byte {
	at := len(b)
	b = f(append(b, 0, 0, 0, 0))
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

func (s *state) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, s.rule.Hash)
	b = binary.AppendUvarint(b, uint64(len(s.groups)))
	for i := range s.groups {
		b = s.groups[i].append(b, s.rule)
	}
	return b
}

func (g *stateGroup) append(b []byte, r *rule.Rule) []byte {
	b = appendLabels(b, g.labels)
	b = binary.AppendUvarint(b, uint64(len(g.counts)))
	for i := range g.counts {
		c := &g.counts[i]
		b = binary.AppendUvarint(appendText(b, c.source.name), c.source.life)
		b = binary.AppendUvarint(binary.AppendVarint(b, c.asOf), c.seq)
		b = partial.AppendAcc(b, owner.CumulativeNeeds(r), 0, &c.acc)
	}
	b = g.apart.append(g.in.append(b))
	b = binary.AppendUvarint(b, uint64(len(g.claims)))
	for i := range g.claims {
		x := &g.claims[i]
		b = binary.AppendUvarint(append(binary.AppendVarint(b, x.end), bit(x.late)), uint64(x.revision))
		b = partial.AppendAcc(b, r.Needs(), x.end, &x.acc)
	}
	b = binary.AppendUvarint(b, uint64(len(g.left)))
	for i := range g.left {
		x := &g.left[i]
		b = binary.AppendUvarint(appendText(binary.AppendVarint(b, x.end), x.source.name), x.source.life)
		b = binary.AppendUvarint(append(b, bit(x.open)|bit(x.behind)<<1), uint64(x.revision))
		b = partial.AppendAcc(b, r.Needs(), x.end, &x.acc)
	}
	b = binary.AppendUvarint(b, uint64(len(g.changed)))
	for _, end := range g.changed {
		b = binary.AppendVarint(b, end)
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
	set(p.after, flagAfter)
	set(len(p.rows) > 0 && p.rows[0].total != nil, flagTotals)
	w := &partial.Window{Rule: p.rule, End: p.end, Revision: p.revision, Rows: make([]partial.Row, len(p.rows))}
	for i := range p.rows {
		w.Rows[i] = p.rows[i].Row
	}
	b = binary.AppendVarint(append(b, flags), p.asOf-p.end)
	b = binary.AppendUvarint(binary.AppendUvarint(b, p.seq), uint64(p.needs))
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

func (r *reply) append(b []byte) []byte {
	flags := byte(0)
	if r.taken {
		flags |= 1
	}
	if r.viewed {
		flags |= 2
	}
	if r.even {
		flags |= 4
	}
	b = binary.AppendUvarint(append(b, codeVersion, flags), r.boot)
	b = binary.AppendUvarint(b, uint64(len(r.rules)))
	for _, x := range r.rules {
		b = binary.AppendUvarint(binary.LittleEndian.AppendUint64(b, x.rule), x.birth)
		b = binary.AppendVarint(b, x.through)
	}
	return b
}
