package plane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
)

// References to a label value. Larger ones are places in the table of strings,
// plus refFirst.
const (
	refSame = iota // as in the series before, if that had the same label names
	refNext        // the next string of the table
	refFirst
)

// LabelWriter gathers label sets. The zero LabelWriter is ready after Reset.
type LabelWriter struct {
	places map[string]uint64
	shapes map[string]uint64
	texts  []byte   // the table of strings
	refs   []byte   // shapes and label values
	last   []uint64 // places of the values of the series before
	shape  uint64   // its shape
	values []uint64
	key    []byte
}

// Reset empties the columns.
func (w *LabelWriter) Reset() {
	w.places, w.shapes = map[string]uint64{}, map[string]uint64{}
	w.texts, w.refs, w.last, w.shape = w.texts[:0], w.refs[:0], w.last[:0], 0
}

// Add writes the next label set.
func (w *LabelWriter) Add(ls labels.Labels) {
	w.key = w.key[:0]
	ls.Range(func(l labels.Label) {
		w.key = append(binary.AppendUvarint(w.key, uint64(len(l.Name))), l.Name...)
	})
	shape, known := w.shapes[string(w.key)]
	if !known {
		shape = uint64(len(w.shapes))
		w.shapes[string(w.key)] = shape
	}
	w.refs = binary.AppendUvarint(w.refs, shape)
	if !known {
		w.refs = binary.AppendUvarint(w.refs, uint64(ls.Len()))
		ls.Range(func(l labels.Label) { w.text(l.Name, refSame) })
	}
	if shape != w.shape || len(w.last) != ls.Len() {
		w.last = w.last[:0]
	}
	w.values = w.values[:0]
	ls.Range(func(l labels.Label) {
		same := uint64(refSame)
		if i := len(w.values); i < len(w.last) {
			same = w.last[i]
		}
		w.values = append(w.values, w.text(l.Value, same))
	})
	w.last, w.values, w.shape = w.values, w.last, shape
}

// text writes a reference to s and gives its place plus refFirst. It is refSame
// if it is the place same.
func (w *LabelWriter) text(s string, same uint64) uint64 {
	place, known := w.places[s]
	switch {
	case !known:
		place = uint64(len(w.places)) + refFirst
		w.places[s] = place
		w.texts = append(binary.AppendUvarint(w.texts, uint64(len(s))), s...)
		w.refs = append(w.refs, refNext)
	case place == same:
		w.refs = append(w.refs, refSame)
	default:
		w.refs = binary.AppendUvarint(w.refs, place)
	}
	return place
}

// AppendLabels adds the columns of w.
func (p *Packer) AppendLabels(dst []byte, w *LabelWriter) []byte {
	return p.Append(p.Append(dst, w.texts), w.refs)
}

// What the name of a shape and a string of the table count beside their bytes:
// they cost their sender less than their reader.
const (
	shapeCost = 16
	textCost  = 24
)

// LabelCost is what a label counts at most, beside its bytes, in LabelLimits.Total.
const LabelCost = shapeCost + 2*textCost

// LabelLimits bounds what a LabelReader believes.
type LabelLimits struct {
	Labels int  // most labels of a series
	Bytes  int  // most bytes of the names and values of a series
	Total  int  // most bytes of the names and values of all series together
	Empty  bool // whether values may be empty
}

var errLabels = errors.New("label sets end too early, are unsorted, empty or no UTF-8")

// LabelReader gives back label sets.
type LabelReader struct {
	limits  LabelLimits
	texts   []byte
	refs    []byte
	table   []string
	shapes  [][]string
	last    []string
	shape   int
	total   int
	builder labels.ScratchBuilder
}

// Labels takes the columns of a LabelWriter off src.
func (u *Unpacker) Labels(src []byte, r *LabelReader, limits LabelLimits) (rest []byte, err error) {
	*r = LabelReader{limits: limits, shape: -1, builder: labels.NewScratchBuilder(16)}
	if r.texts, src, err = u.Next(src); err != nil {
		return nil, err
	}
	r.refs, src, err = u.Next(src)
	return src, err
}

// Next reads the next label set: sorted names, no empty name or value, UTF-8.
func (r *LabelReader) Next() (labels.Labels, error) {
	shape, err := r.readShape()
	if err != nil {
		return labels.EmptyLabels(), err
	}
	names := r.shapes[shape]
	if shape != r.shape {
		r.last = make([]string, len(names))
	}
	r.shape = shape
	r.builder.Reset()
	size := 0
	for i, name := range names {
		v, err := r.text(r.last[i])
		if err != nil {
			return labels.EmptyLabels(), err
		}
		if v == "" && !r.limits.Empty || !utf8.ValidString(v) {
			return labels.EmptyLabels(), errLabels
		}
		r.last[i] = v
		if size += len(name) + len(v); size > r.limits.Bytes {
			return labels.EmptyLabels(), fmt.Errorf("the labels of a series have more than %d bytes", r.limits.Bytes)
		}
		r.builder.Add(name, v)
	}
	if r.total += size; r.total > r.limits.Total {
		return labels.EmptyLabels(), fmt.Errorf("the labels of all series have more than %d bytes", r.limits.Total)
	}
	return r.builder.Labels(), nil
}

func (r *LabelReader) readShape() (int, error) {
	shape, ok := r.number()
	if !ok || shape > uint64(len(r.shapes)) {
		return 0, errLabels
	}
	if shape < uint64(len(r.shapes)) {
		return int(shape), nil
	}
	n, ok := r.number()
	if !ok || n > uint64(len(r.refs)) {
		return 0, errLabels
	}
	if n > uint64(r.limits.Labels) {
		return 0, fmt.Errorf("a series has %d labels, more than %d", n, r.limits.Labels)
	}
	names := make([]string, n)
	for i := range names {
		name, err := r.text("")
		if err != nil {
			return 0, err
		}
		if name == "" || !utf8.ValidString(name) || i > 0 && names[i-1] >= name {
			return 0, errLabels
		}
		names[i] = name
	}
	if r.total += shapeCost * len(names); r.total > r.limits.Total {
		return 0, fmt.Errorf("the labels of all series have more than %d bytes", r.limits.Total)
	}
	r.shapes = append(r.shapes, names)
	return int(shape), nil
}

// text reads a string; same is what refSame means.
func (r *LabelReader) text(same string) (string, error) {
	ref, ok := r.number()
	if !ok {
		return "", errLabels
	}
	switch ref {
	case refSame:
		return same, nil
	case refNext:
		n, rest, ok := uvarint(r.texts)
		if !ok || n > uint64(len(rest)) {
			return "", errLabels
		}
		if r.total += textCost; r.total > r.limits.Total {
			return "", fmt.Errorf("the labels of all series have more than %d bytes", r.limits.Total)
		}
		s := string(rest[:n])
		r.texts, r.table = rest[n:], append(r.table, s)
		return s, nil
	}
	if ref -= refFirst; ref >= uint64(len(r.table)) {
		return "", errLabels
	}
	return r.table[ref], nil
}

func (r *LabelReader) number() (uint64, bool) {
	v, rest, ok := uvarint(r.refs)
	if ok {
		r.refs = rest
	}
	return v, ok
}

// Spent reports an error if the columns hold more than was read.
func (r *LabelReader) Spent() error {
	if len(r.texts) > 0 || len(r.refs) > 0 {
		return errLabels
	}
	return nil
}
