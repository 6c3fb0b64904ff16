package kafka

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/atoll-mesh/atoll/aggregate/sink/batch"
	"github.com/atoll-mesh/atoll/flow/send/request"
)

// encoder turns samples into records.
type encoder struct {
	c   Config
	enc *request.Encoder
	buf []byte
}

func newEncoder(c Config) *encoder { return &encoder{c: c, enc: request.NewEncoder(false)} }

// key is nil where no labels are chosen.
func (e *encoder) key(ls labels.Labels) []byte {
	if len(e.c.KeyLabels) == 0 {
		return nil
	}
	values := make([]string, len(e.c.KeyLabels))
	for i, name := range e.c.KeyLabels {
		values[i] = ls.Get(name)
	}
	return []byte(strings.Join(values, ";"))
}

// records returns the records of the samples, in order within each key, and how
// many samples the format cannot carry.
func (e *encoder) records(all []batch.Sample) (out []*kgo.Record, custom int, err error) {
	if e.c.Format == JSON {
		for i := range all {
			e.buf = appendJSON(e.buf[:0], &all[i])
			value := append([]byte(nil), e.buf...)
			out = append(out, e.record(e.key(all[i].Labels), value, 1))
		}
		return out, 0, nil
	}
	groups := map[string][]batch.Sample{}
	var order []string
	for _, s := range all {
		if customBuckets(s) {
			custom++
			continue
		}
		k := string(e.key(s.Labels))
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], s)
	}
	for _, k := range order {
		for left := groups[k]; len(left) > 0; {
			n := min(len(left), e.c.SamplesPerRecord)
			body, err := e.request(left[:n])
			if err != nil {
				return nil, custom, err
			}
			out = append(out, e.record(e.key(left[0].Labels), body, n))
			left = left[n:]
		}
	}
	return out, custom, nil
}

func (e *encoder) record(key, value []byte, samples int) *kgo.Record {
	// The record's own timestamp stays the time of producing: retention by time
	// would delete a backlog at once.
	return &kgo.Record{Topic: e.c.Topic, Key: key, Value: value, Context: withWeight(samples)}
}

func (e *encoder) request(some []batch.Sample) ([]byte, error) {
	for i := range some {
		s := &some[i]
		if i == 0 || !labels.Equal(some[i-1].Labels, s.Labels) {
			e.enc.Series(s.Labels, nil)
		}
		e.enc.Sample(s.ST, s.T, s.V, s.H, s.FH)
	}
	body, err := e.enc.Finish()
	return append([]byte(nil), body...), err
}

func customBuckets(s batch.Sample) bool {
	return s.H != nil && histogram.IsCustomBucketsSchema(s.H.Schema) || s.FH != nil && histogram.IsCustomBucketsSchema(s.FH.Schema)
}

func appendJSON(b []byte, s *batch.Sample) []byte {
	b = append(b, `{"labels":{`...)
	first := true
	s.Labels.Range(func(l labels.Label) {
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendText(b, l.Name)
		b = append(b, ':')
		b = appendText(b, l.Value)
	})
	b = append(b, `},"timestamp":`...)
	b = strconv.AppendInt(b, s.T, 10)
	fh := s.FH
	if s.H != nil {
		fh = s.H.ToFloat(nil)
	}
	if fh == nil {
		b = append(b, `,"value":`...)
		return append(appendNumber(b, s.V), '}')
	}
	b = append(b, `,"histogram":{"count":`...)
	b = appendNumber(b, fh.Count)
	b = append(b, `,"sum":`...)
	b = appendNumber(b, fh.Sum)
	b = append(b, `,"buckets":[`...)
	first = true
	for it := fh.AllBucketIterator(); it.Next(); {
		bucket := it.At()
		if bucket.Count == 0 {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendBucket(b, bucket)
	}
	return append(b, "]}}"...)
}

// appendBucket writes [rule, "lower", "upper", count]; the rule says which bounds
// belong to it: 0 upper, 1 lower, 2 none, 3 both.
func appendBucket(b []byte, k histogram.Bucket[float64]) []byte {
	rule := 2
	switch {
	case k.LowerInclusive && k.UpperInclusive:
		rule = 3
	case k.LowerInclusive:
		rule = 1
	case k.UpperInclusive:
		rule = 0
	}
	b = append(b, '[', byte('0'+rule), ',', '"')
	b = strconv.AppendFloat(b, k.Lower, 'g', -1, 64)
	b = append(b, `","`...)
	b = strconv.AppendFloat(b, k.Upper, 'g', -1, 64)
	b = append(b, `",`...)
	return append(appendNumber(b, k.Count), ']')
}

func appendNumber(b []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		b = append(b, '"')
		b = strconv.AppendFloat(b, v, 'g', -1, 64)
		return append(b, '"')
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

func appendText(b []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil { // no string makes it fail
		return append(b, `""`...)
	}
	return append(b, text...)
}
