package partial

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/rule"
)

const (
	windowVersion = 1
	flagOpen      = 1
	maxPieces     = 1 << 16
)

// Split cuts a window into pieces of at most rows rows (MaxRows if that is less,
// or rows is 0), numbered by Piece. Rows are shared with w.
func Split(w *Window, rows int) []*Window {
	if rows <= 0 || rows > MaxRows {
		rows = MaxRows
	}
	if len(w.Rows) <= rows {
		return []*Window{w}
	}
	var out []*Window
	for part := range slices.Chunk(w.Rows, rows) {
		c := *w
		c.Rows, c.Piece = part, uint32(len(out))
		out = append(out, &c)
	}
	for _, c := range out {
		c.Pieces = uint32(len(out))
	}
	return out
}

// AppendWindow appends the form for the wire: a head, then per row what differs
// from the labels of the row before and the parts that hold something. Rows are
// written, and left, in the order of their labels. A window of more than MaxRows
// rows must be Split first; its tail is left out otherwise.
func AppendWindow(b []byte, w *Window) []byte {
	slices.SortFunc(w.Rows, func(x, y Row) int { return labels.Compare(x.Group, y.Group) })
	flags := byte(0)
	if w.Open {
		flags = flagOpen
	}
	b = append(b, windowVersion, flags)
	b = binary.LittleEndian.AppendUint64(b, w.Rule.Hash)
	b = binary.AppendVarint(b, w.End)
	b = binary.AppendUvarint(b, uint64(w.Revision))
	b = binary.AppendUvarint(b, uint64(w.Pieces))
	b = binary.AppendUvarint(b, uint64(w.Piece))
	rows := w.Rows[:min(len(w.Rows), MaxRows)]
	b = binary.AppendUvarint(b, uint64(len(rows)))
	e := encoder{needs: w.Rule.Needs(), end: w.End, texts: map[string]uint64{}}
	for i := range rows {
		b = e.row(b, &rows[i])
	}
	return b
}

// encoder writes rows. A text is written once and later named by its number; a
// new one leaves out what it begins with in common with the text of the same
// place one row above.
type encoder struct {
	needs rule.Needs
	end   int64
	texts map[string]uint64
	last  []labels.Label
	now   []labels.Label
}

// A row begins with 0 where the names of its labels are others than those of the
// row above: how many labels, and all names and values follow. Else with one more
// than a bitmap of the values that changed, which follow; values beyond the first
// bitmap have bitmaps of their own.
func (e *encoder) row(b []byte, row *Row) []byte {
	e.now = e.now[:0]
	row.Group.Range(func(l labels.Label) { e.now = append(e.now, l) })
	if e.sameNames() {
		b = e.changes(b)
	} else {
		b = binary.AppendUvarint(append(b, 0), uint64(len(e.now)))
		for i, l := range e.now {
			b = e.text(b, l.Name, e.above(i).Name)
			b = e.text(b, l.Value, e.above(i).Value)
		}
	}
	e.last, e.now = e.now, e.last
	return AppendAcc(b, e.needs, e.end, &row.Acc)
}

func (e *encoder) sameNames() bool {
	if len(e.now) != len(e.last) || len(e.now) == 0 {
		return false
	}
	for i := range e.now {
		if e.now[i].Name != e.last[i].Name {
			return false
		}
	}
	return true
}

func (e *encoder) changes(b []byte) []byte {
	for at := 0; at < len(e.now); at += mapBits {
		end := min(at+mapBits, len(e.now))
		changed := uint64(0)
		for i := at; i < end; i++ {
			if e.now[i].Value != e.last[i].Value {
				changed |= 1 << (i - at)
			}
		}
		b = binary.AppendUvarint(b, changed+1)
		for i := at; i < end; i++ {
			if changed&(1<<(i-at)) != 0 {
				b = e.text(b, e.now[i].Value, e.last[i].Value)
			}
		}
	}
	return b
}

// mapBits is how many values one bitmap speaks of.
const mapBits = 32

func (e *encoder) above(i int) labels.Label {
	if i < len(e.last) {
		return e.last[i]
	}
	return labels.Label{}
}

// text writes twice the length in common, the length of the rest and the rest; or
// twice the number of a text that was there before, and one.
func (e *encoder) text(b []byte, s, above string) []byte {
	if number, ok := e.texts[s]; ok {
		return binary.AppendUvarint(b, number<<1|1)
	}
	e.texts[s] = uint64(len(e.texts))
	common := 0
	for common < min(len(s), len(above)) && s[common] == above[common] {
		common++
	}
	b = binary.AppendUvarint(b, uint64(common)<<1)
	b = binary.AppendUvarint(b, uint64(len(s)-common))
	return append(b, s[common:]...)
}

// DecodeWindow reads one window and returns what is left. find returns the rule
// of a hash, nil if there is none; a window of an unknown rule is an error.
func DecodeWindow(b []byte, find func(hash uint64) *rule.Rule) (*Window, []byte, error) {
	r := &reader{b: b}
	w := &Window{}
	head := r.bytes(2)
	if head != nil && (head[0] != windowVersion || head[1] > flagOpen) {
		return nil, nil, fmt.Errorf("decoding a window: version %d with flags %d, this node speaks version %d; use the same release on all nodes", head[0], head[1], windowVersion)
	}
	hash := r.fixed64()
	w.End = r.varint()
	w.Revision = uint32(r.upTo(1<<32 - 1))
	w.Pieces = uint32(r.upTo(maxPieces))
	w.Piece = uint32(r.upTo(uint64(max(w.Pieces, 1) - 1)))
	rows := r.upTo(MaxRows)
	if r.err == nil {
		if w.Rule = find(hash); w.Rule == nil {
			return nil, nil, fmt.Errorf("decoding a window: no rule here has the hash %016x; give all nodes the same rules", hash)
		}
		w.Open = head[1]&flagOpen != 0
	}
	d := decoder{reader: r, left: mostLabelBytes}
	for range rows {
		row := d.row(w.End)
		if r.err != nil {
			break
		}
		w.Rows = append(w.Rows, row)
	}
	if r.err != nil {
		return nil, nil, fmt.Errorf("decoding a window: %w", r.err)
	}
	return w, r.b, nil
}

type decoder struct {
	*reader
	texts   []string
	last    []labels.Label
	scratch labels.ScratchBuilder
	left    int // bytes of label text that may still come out
	before  labels.Labels
	any     bool
}

func (d *decoder) row(end int64) Row {
	if changed := d.upTo(1 << mapBits); changed == 0 {
		d.names()
	} else {
		d.changes(changed - 1)
	}
	group := d.group()
	return Row{Group: group, Hash: group.Hash(), Acc: d.acc(end)}
}

func (d *decoder) names() {
	next := make([]labels.Label, d.upTo(mostLabels))
	for i := range next {
		var above labels.Label
		if i < len(d.last) {
			above = d.last[i]
		}
		next[i] = labels.Label{Name: d.text(above.Name), Value: d.text(above.Value)}
		if d.err != nil {
			return
		}
	}
	d.last = next
}

func (d *decoder) changes(changed uint64) {
	for at := 0; at < len(d.last); at += mapBits {
		if at > 0 {
			if changed = d.upTo(1 << mapBits); changed == 0 {
				d.fail(errRange)
				return
			}
			changed--
		}
		for i := at; i < min(at+mapBits, len(d.last)); i++ {
			if changed&(1<<(i-at)) != 0 {
				d.last[i].Value = d.text(d.last[i].Value)
			}
		}
	}
}

// group insists on the form that this package writes: names rising, no value
// empty, groups rising. So no group can be there twice.
func (d *decoder) group() labels.Labels {
	d.scratch.Reset()
	for i, l := range d.last {
		d.left -= len(l.Name) + len(l.Value)
		if l.Name == "" || l.Value == "" || i > 0 && l.Name <= d.last[i-1].Name || d.left < 0 {
			d.fail(errRange)
		}
		d.scratch.Add(l.Name, l.Value)
	}
	if d.err != nil {
		return labels.EmptyLabels()
	}
	group := d.scratch.Labels()
	if d.any && labels.Compare(d.before, group) >= 0 {
		d.fail(errRange)
	}
	d.before, d.any = group, true
	return group
}

func (d *decoder) text(above string) string {
	code := d.uvarint()
	number := code >> 1
	if code&1 == 1 {
		if number >= uint64(len(d.texts)) {
			d.fail(errRange)
			return ""
		}
		return d.texts[number]
	}
	common := number
	if common > uint64(len(above)) {
		d.fail(errRange)
	}
	rest := d.bytes(d.upTo(mostText))
	if d.err != nil {
		return ""
	}
	s := above[:common] + string(rest)
	if d.left -= len(s); d.left < 0 || len(s) > mostText {
		d.fail(errRange)
	}
	d.texts = append(d.texts, s)
	return s
}
