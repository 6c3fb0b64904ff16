package share

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

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
	m := &message{life: d.uvarint(), stance: stance{d.uvarint(), d.uvarint()}, done: d.byte() == 1, boot: d.uvarint()}
	for n := d.upTo(2 * mostPlans); n > 0 && d.err == nil; n-- {
		m.plans = append(m.plans, d.plan())
	}
	d.head(m)
	if d.err == nil && len(m.views) == 0 {
		d.fail()
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

// head reads what goes before states and parts.
func (d *decoder) head(m *message) {
	for n := d.upTo(mostRefs); n > 0 && d.err == nil; n-- {
		v := viewRef{d.names(), d.byte() == 1, d.fixed()}
		m.views = append(m.views, v)
	}
	for n := d.upTo(mostMembers); n > 0 && d.err == nil; n-- {
		m.islands = append(m.islands, island{d.text(), d.varint(), d.varint()})
	}
	m.sealed, m.lost = d.marks(), d.marks()
	for n := d.upTo(mostMarks); n > 0 && d.err == nil; n-- {
		x := saying{d.fixed(), d.upTo(uint64(len(m.views))), d.text(), d.varint()}
		if x.view == len(m.views) {
			d.fail()
		}
		m.words = append(m.words, x)
	}
	m.loadView = d.fixed()
	for n := d.upTo(Slots); n > 0 && d.err == nil; n-- {
		m.loads = append(m.loads, loadOf{uint16(d.upTo(Slots - 1)), uint32(d.upTo(1 << 31))})
	}
}

// names are the members of a view: sorted, each there once.
func (d *decoder) names() []string {
	out := d.texts()
	for i := range out {
		if i > 0 && out[i] <= out[i-1] {
			d.fail()
		}
	}
	if len(out) == 0 {
		d.fail()
	}
	return out
}

func (d *decoder) state() (s state) {
	s.rule = d.rule()
	if d.err != nil {
		return s
	}
	for n := d.upTo(partial.MaxRows); n > 0 && d.err == nil; n-- {
		s.groups = append(s.groups, d.group(s.rule))
	}
	return s
}

func (d *decoder) labels() labels.Labels {
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
	return b.Labels()
}

// spans are of windows that are step ms apart.
func (d *decoder) spans(step int64) (s spans) {
	for n := d.upTo(mostSpans); n > 0 && d.err == nil; n-- {
		from, length := d.varint(), d.varint()
		if length < 0 || length > mostTime || from < -mostTime || from > mostTime {
			d.fail()
		}
		s.add(span{from, from + length}, step)
	}
	return s
}

func (d *decoder) group(r *rule.Rule) (g stateGroup) {
	g.labels = d.labels()
	g.hash = g.labels.Hash()
	for n := d.upTo(mostCounts); n > 0 && d.err == nil; n-- {
		c := count{source: source{d.text(), d.uvarint()}, asOf: d.varint(), seq: d.uvarint()}
		c.acc = d.acc(0)
		g.counts = append(g.counts, c)
	}
	g.in, g.apart = d.spans(r.Interval.Milliseconds()), d.spans(r.Interval.Milliseconds())
	for n := d.upTo(mostClaims); n > 0 && d.err == nil; n-- {
		x := claim{end: d.varint(), late: d.byte() == 1, revision: uint32(d.upTo(math.MaxUint32))}
		x.acc = d.acc(x.end)
		g.claims = append(g.claims, x)
	}
	for n := d.upTo(mostClaims); n > 0 && d.err == nil; n-- {
		x := leftPart{end: d.varint()}
		x.source = source{d.text(), d.uvarint()}
		flags := d.byte()
		x.open, x.behind, x.revision = flags&1 != 0, flags&2 != 0, uint32(d.upTo(math.MaxUint32))
		x.acc = d.acc(x.end)
		g.left = append(g.left, x)
	}
	for n := d.upTo(mostClaims); n > 0 && d.err == nil; n-- {
		g.changed = append(g.changed, d.varint())
	}
	return g
}

func (d *decoder) part() *part {
	flags := d.byte()
	if flags > allFlags {
		d.fail()
	}
	after, seq, needs := d.varint(), d.uvarint(), rule.Needs(d.upTo(math.MaxUint16))
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
		rule: w.Rule, end: w.End, revision: w.Revision, late: flags&flagLate != 0, last: flags&flagLast != 0, after: flags&flagAfter != 0,
		asOf: w.End + after, seq: seq, needs: needs, rows: make([]row, len(w.Rows)),
	}
	for i := range w.Rows {
		p.rows[i].Row = w.Rows[i]
		p.rows[i].Acc.Lacks |= w.Rule.Needs() &^ needs
		if flags&flagTotals != 0 {
			a := d.acc(0)
			p.rows[i].total = &a
		}
	}
	return p
}

func decodeReply(b []byte) (*reply, error) {
	d := &decoder{b: b}
	if v := d.byte(); v != codeVersion {
		return nil, fmt.Errorf("version %d of the reply is not %d; run the same release on all islands", v, codeVersion)
	}
	flags := d.byte()
	r := &reply{taken: flags&1 != 0, viewed: flags&2 != 0, even: flags&4 != 0, boot: d.uvarint()}
	for n := d.upTo(mostMarks); n > 0 && d.err == nil; n-- {
		r.rules = append(r.rules, told{d.fixed(), d.uvarint(), d.varint()})
	}
	if d.err == nil && len(d.b) > 0 {
		d.fail()
	}
	return r, d.err
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
