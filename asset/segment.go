package asset

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"
)

// segment is what one source listed, and never changes. Resources are in order of
// kind and name.
type segment struct {
	dict   dict
	names  []string // of fields, from the first label on
	weight []uint8  // of fields

	ids   []uint64
	kinds []Kind
	// shown is how many fields of a resource are not More.
	shown []uint8
	ends  []uint32
	// field and value go together: what a text is, and its number.
	field []uint16
	value []uint32
}

// The fields before labels.
const (
	fieldName uint16 = iota
	fieldState
	fieldSummary
	fieldRef
	firstLabel

	mostFields = 1<<16 - 1
)

// bytes is what the segment takes.
func (s *segment) bytes() int {
	n := s.dict.bytes() + 8*cap(s.ids) + cap(s.kinds) + cap(s.shown) + 4*cap(s.ends) + 2*cap(s.field) + 4*cap(s.value)
	for _, name := range s.names {
		n += len(name) + 16
	}
	return n
}

// span is where the fields of a resource are.
func (s *segment) span(i int) (from, to uint32) {
	if i > 0 {
		from = s.ends[i-1]
	}
	return from, s.ends[i]
}

// text is the first text of a field, "" where there is none.
func (s *segment) text(i int, field uint16) string {
	from, to := s.span(i)
	for n := from; n < to; n++ {
		if s.field[n] == field {
			return s.dict.get(s.value[n])
		}
	}
	return ""
}

func (s *segment) fieldName(f uint16) string {
	switch f {
	case fieldName:
		return "name"
	case fieldState:
		return "state"
	case fieldSummary:
		return "summary"
	case fieldRef:
		return "id"
	}
	return s.names[f-firstLabel]
}

// builder collects what a source lists.
type builder struct {
	island string
	most   int // resources

	texts   []string
	number  map[string]uint32
	fields  map[string]uint16
	names   []string
	rows    []row
	field   []uint16
	value   []uint32
	sum     uint64 // of all resources, whatever their order
	leftOff int
}

type row struct {
	id       uint64
	kind     Kind
	shown    uint8
	from, to uint32
}

func newBuilder(island string, most int) *builder {
	return &builder{island: island, most: most, number: map[string]uint32{}, fields: map[string]uint16{}}
}

// add takes one resource.
func (b *builder) add(it *Item) {
	if len(b.rows) >= b.most {
		b.leftOff++
		return
	}
	b.sum += it.sum()
	r := row{id: it.id(b.island), kind: it.Kind, from: uint32(len(b.field))}
	b.put(fieldName, it.Name)
	b.put(fieldState, it.State)
	b.put(fieldSummary, it.Summary)
	b.put(fieldRef, it.Ref)
	b.putLabels(r.from, it.Labels)
	r.shown = uint8(uint32(len(b.field)) - r.from)
	b.putLabels(r.from, it.More)
	r.to = uint32(len(b.field))
	b.rows = append(b.rows, r)
}

func (b *builder) putLabels(from uint32, ls labels.Labels) {
	ls.Range(func(l labels.Label) {
		if uint32(len(b.field))-from >= maxLabels {
			return
		}
		if f, ok := b.fieldOf(l.Name); ok {
			b.put(f, l.Value)
		}
	})
}

func (b *builder) fieldOf(name string) (uint16, bool) {
	f, ok := b.fields[name]
	if !ok && len(b.names) < mostFields-int(firstLabel) {
		f, ok = firstLabel+uint16(len(b.names)), true
		name = strings.Clone(name) // it may be a part of something large
		b.fields[name] = f
		b.names = append(b.names, name)
	}
	return f, ok
}

func (b *builder) put(field uint16, text string) {
	if text = clean(text); text == "" {
		return
	}
	n, ok := b.number[text]
	if !ok {
		n = uint32(len(b.texts))
		text = strings.Clone(text)
		b.number[text] = n
		b.texts = append(b.texts, text)
	}
	b.field, b.value = append(b.field, field), append(b.value, n)
}

// clean makes a text fit for the dictionary: of bounded length, on one line.
func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
		for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) && len(s) > maxText-utf8.UTFMax {
			s = s[:len(s)-1]
		}
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if strings.IndexByte(s, separator) >= 0 {
		s = strings.ReplaceAll(s, string(separator), " ")
	}
	return s
}

// build makes the segment; the builder is done with.
func (b *builder) build() *segment {
	slices.SortStableFunc(b.rows, func(x, y row) int {
		return cmp.Or(cmp.Compare(x.kind, y.kind), cmp.Compare(b.name(x), b.name(y)), cmp.Compare(x.id, y.id))
	})
	n := len(b.rows)
	s := &segment{
		names: b.names, ids: make([]uint64, n), kinds: make([]Kind, n), shown: make([]uint8, n), ends: make([]uint32, n),
		field: make([]uint16, 0, len(b.field)), value: make([]uint32, 0, len(b.value)),
	}
	var numbers []uint32
	s.dict, numbers = compile(b.texts)
	for i, r := range b.rows {
		s.ids[i], s.kinds[i], s.shown[i] = r.id, r.kind, r.shown
		for k := r.from; k < r.to; k++ {
			s.field, s.value = append(s.field, b.field[k]), append(s.value, numbers[b.value[k]])
		}
		s.ends[i] = uint32(len(s.field))
	}
	s.weight = make([]uint8, int(firstLabel)+len(s.names))
	for f := range s.weight {
		s.weight[f] = weightOf(s.fieldName(uint16(f)))
	}
	return s
}

// name of a row; the first field is the name, if there is any.
func (b *builder) name(r row) string {
	if r.from < r.to && b.field[r.from] == fieldName {
		return b.texts[b.value[r.from]]
	}
	return ""
}

// weightOf is how much a match in a field counts.
func weightOf(field string) uint8 {
	switch field {
	case "name", "instance", "ip", "address", "host", "node", "nodename", "hostname", "__address__":
		return 8
	case "summary":
		return 2
	}
	return 3
}

// sum is a checksum of all that a source tells.
func (it *Item) sum() uint64 {
	var h xxhash.Digest
	h.ResetWithSeed(uint64(it.Kind))
	for _, s := range [...]string{it.Key, it.Name, it.State, it.Summary, it.Ref} {
		_, _ = h.WriteString(s) // a digest never errs
		_, _ = h.WriteString("\x00")
	}
	for _, ls := range [...]labels.Labels{it.Labels, it.More} {
		ls.Range(func(l labels.Label) {
			_, _ = h.WriteString(l.Name)
			_, _ = h.WriteString("\x01")
			_, _ = h.WriteString(l.Value)
			_, _ = h.WriteString("\x02")
		})
		_, _ = h.WriteString("\x03")
	}
	return h.Sum64()
}
