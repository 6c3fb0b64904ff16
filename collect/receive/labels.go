package receive

import (
	"fmt"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// badLabels is a series that is refused for its labels.
type badLabels struct {
	reason string
	text   func() string
}

// malformed is an error that refuses the whole request, found after some of it was
// appended.
type malformed struct{ error }

// readLabels fills the builder with the labels of s as they are on the wire. It
// fails on references that lead nowhere, and with malformed on label fields that
// are none.
func (w *writer) readLabels(s *series) error {
	w.builder.Reset()
	w.labelCount, w.longestName, w.longestValue = 0, 0, 0
	if !w.v2 {
		return w.readLabelsV1(s.labels)
	}
	refs, symbols := w.b.refs[s.refFrom:s.refTo], w.b.symbols
	if len(refs)%2 != 0 {
		return fmt.Errorf("labels_refs has %d references, must be pairs", len(refs))
	}
	for i := 0; i < len(refs); i += 2 {
		name, value := refs[i], refs[i+1]
		if int(name) >= len(symbols) || int(value) >= len(symbols) {
			return fmt.Errorf("labels_refs %d (name) = %d (value) is outside of the symbols table (size %d)", name, value, len(symbols))
		}
		w.addLabel(symbols[name], symbols[value])
	}
	return nil
}

func (w *writer) readLabelsV1(p []byte) error {
	for i := 0; i < len(p); {
		lo, hi := i+2, i+2
		if p[i+1] < 0x80 && p[i] < 0x80 { // key and length of one byte each
			hi += int(p[i+1])
		} else {
			_, _, next := tag(p, i)
			lo, hi = sized(p, next)
		}
		name, value, err := decodeLabel(p[lo:hi])
		if err != nil {
			return malformed{err}
		}
		w.addLabel(text(name), text(value))
		i = hi
	}
	return nil
}

// addLabel goes on counting, but not keeping, labels beyond the limit: two bytes
// on the wire are 32 in the builder.
func (w *writer) addLabel(name, value string) {
	if w.labelCount++; w.labelCount > w.h.cfg.MaxLabels {
		return
	}
	w.longestName = max(w.longestName, len(name))
	w.longestValue = max(w.longestValue, len(value))
	w.builder.Add(name, value)
}

// find returns the cached entry for the labels in the builder, or nil.
func (w *writer) find(s *series) (*entry, uint64) {
	c := w.h.cache
	if c == nil {
		return nil, 0
	}
	var hash uint64
	if w.v2 {
		hash = hashRefs(w.symbolHashes, w.b.refs[s.refFrom:s.refTo])
	} else {
		hash = c.hashBytes(s.labels)
	}
	e := c.get(hash)
	if e == nil || w.checkLimits() != nil {
		w.misses++
		return nil, hash
	}
	if !w.builtEqual(e.lset) {
		w.builder.Sort() // a sender need not have sorted them; the cached ones are
		if !w.builtEqual(e.lset) {
			w.misses++
			return nil, hash
		}
	}
	w.hits++
	return e, hash
}

// builtEqual must be called within the limits: what labels cannot hold panics.
func (w *writer) builtEqual(lset labels.Labels) bool {
	w.builder.Overwrite(&w.tmp)
	return labels.Equal(w.tmp, lset)
}

// newEntry checks the labels in the builder and makes an entry of them.
func (w *writer) newEntry() (*entry, *badLabels) {
	if no := w.checkLimits(); no != nil {
		return nil, no
	}
	w.builder.Sort()
	w.builder.Overwrite(&w.tmp)
	if !w.tmp.Has(labels.MetricName) || !w.tmp.IsValid(model.UTF8Validation) {
		return nil, &badLabels{reasonInvalidLabels, func() string { return "no metric name, or names or values that are not UTF-8: " + w.tmp.String() }}
	}
	if name, dup := w.tmp.HasDuplicateLabelNames(); dup {
		return nil, &badLabels{reasonInvalidLabels, func() string { return fmt.Sprintf("label name %q is there twice: %s", name, w.tmp) }}
	}
	e := &entry{}
	if w.refs != nil {
		ref, known := w.refs.GetRef(w.tmp, w.tmp.Hash())
		if ref != 0 && labels.Equal(known, w.tmp) {
			e.lset = known
			e.ref.Store(uint64(ref))
			return e, nil
		}
	}
	e.lset = w.builder.Labels()
	return e, nil
}

func (w *writer) checkLimits() *badLabels {
	limits := &w.h.cfg.Limits
	if n := w.labelCount; n > limits.MaxLabels {
		return &badLabels{reasonTooManyLabels, func() string {
			return fmt.Sprintf("a series has %d labels, the limit is %d (max_labels)", n, limits.MaxLabels)
		}}
	}
	if n := w.longestName; n > int(limits.MaxLabelNameBytes) {
		return &badLabels{reasonLabelTooLong, func() string {
			return fmt.Sprintf("a label name has %d bytes, the limit is %s (max_label_name_bytes)", n, limits.MaxLabelNameBytes)
		}}
	}
	if n := w.longestValue; n > int(limits.MaxLabelValueBytes) {
		return &badLabels{reasonLabelTooLong, func() string {
			return fmt.Sprintf("a label value has %d bytes, the limit is %s (max_label_value_bytes)", n, limits.MaxLabelValueBytes)
		}}
	}
	return nil
}

// labelBytes is the length of all names and values.
func labelBytes(lset labels.Labels) (n int) {
	lset.Range(func(l labels.Label) { n += len(l.Name) + len(l.Value) })
	return n
}

func (w *writer) copied(ref uint32) string {
	if s, ok := w.symbolCopies[ref]; ok {
		return s
	}
	s := strings.Clone(w.b.symbols[ref])
	w.symbolCopies[ref] = s
	return s
}

func metricType(t writev2.Metadata_MetricType) model.MetricType {
	switch t {
	case writev2.Metadata_METRIC_TYPE_COUNTER:
		return model.MetricTypeCounter
	case writev2.Metadata_METRIC_TYPE_GAUGE:
		return model.MetricTypeGauge
	case writev2.Metadata_METRIC_TYPE_HISTOGRAM:
		return model.MetricTypeHistogram
	case writev2.Metadata_METRIC_TYPE_GAUGEHISTOGRAM:
		return model.MetricTypeGaugeHistogram
	case writev2.Metadata_METRIC_TYPE_SUMMARY:
		return model.MetricTypeSummary
	case writev2.Metadata_METRIC_TYPE_INFO:
		return model.MetricTypeInfo
	case writev2.Metadata_METRIC_TYPE_STATESET:
		return model.MetricTypeStateset
	default:
		return model.MetricTypeUnknown
	}
}
