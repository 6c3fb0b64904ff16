package receive

import (
	"github.com/prometheus/prometheus/prompb"

	"github.com/atoll-mesh/atoll/flow"
)

// decodeV1 reads a prometheus.WriteRequest but for the series that were taken as they
// were shown. Metadata is checked and dropped: 1.0 sends it apart from the series it
// belongs to.
func (b *batch) decodeV1(p []byte, shown []flow.RawSample) error {
	const message = "WriteRequest"
	for i := 0; i < len(p); {
		start := i
		field, wire, next := tag(p, i)
		i = next
		switch {
		case i < 0:
		case field == 1 || field == 3:
			if wire != wireBytes {
				return wrongWire(message, field, wire)
			}
			lo, hi := sized(p, i)
			if i = hi; i < 0 {
				break
			}
			var err error
			switch {
			case field == 3:
				err = new(prompb.MetricMetadata).Unmarshal(p[lo:hi])
			case len(shown) > 0 && shown[0].Taken:
				b.elsewhere++
				shown = shown[1:]
			default:
				shown = shown[min(1, len(shown)):]
				if !b.plainSeriesV1(p[lo:hi]) {
					err = b.decodeSeriesV1(p[lo:hi])
				}
			}
			if err != nil {
				return err
			}
		default:
			i = skip(p, start)
		}
		if i < 0 {
			return wireError(message, i)
		}
	}
	return nil
}

func (b *batch) decodeSeriesV1(p []byte) error {
	const message = "TimeSeries"
	s, err := b.addSeries()
	if err != nil {
		return err
	}
	labels := extent{p: p}
	for i := labels.run(); i < len(p); {
		start := i
		field, wire, next := tag(p, i)
		if i = next; i < 0 {
			return wireError(message, i)
		}
		if field > 4 {
			if i = skip(p, start); i < 0 {
				return wireError(message, i)
			}
			continue
		}
		if wire != wireBytes {
			return wrongWire(message, field, wire)
		}
		lo, hi := sized(p, i)
		if i = hi; i < 0 {
			return wireError(message, i)
		}
		switch field {
		case 1:
			labels.add(b, start, hi)
		case 2:
			err = b.decodeSample(p[lo:hi], false)
		case 3:
			err = b.decodeExemplarV1(p[lo:hi])
		case 4:
			err = b.decodeHistogramV1(p[lo:hi])
		}
		if err != nil {
			return err
		}
	}
	s.labels = labels.bytes(b)
	b.endSeries(s)
	return nil
}

// extent is where the label fields of a series lie: as a rule one stretch of the
// message; if other fields lie between, they are copied together.
type extent struct {
	p        []byte
	from, to int
	side     int // 1 + where in batch.side, 0 if one stretch
}

// run passes over the label fields that a series begins with, each shorter than
// 128 bytes as nearly all are. What is in them is read only if the series is not
// known by their bytes.
func (e *extent) run() (i int) {
	p := e.p
	for i+1 < len(p) && p[i] == 1<<3|wireBytes && p[i+1] < 0x80 {
		next := i + 2 + int(p[i+1])
		if next > len(p) {
			break
		}
		i = next
	}
	e.to = i
	return i
}

func (e *extent) add(b *batch, from, to int) {
	switch {
	case e.side > 0:
		b.side = append(b.side, e.p[from:to]...)
	case e.to == 0:
		e.from, e.to = from, to
	case e.to == from:
		e.to = to
	default:
		e.side = len(b.side) + 1
		b.side = append(append(b.side, e.p[e.from:e.to]...), e.p[from:to]...)
	}
}

// bytes may point into batch.side, of which a later append leaves this part as
// it is, wherever it moves the rest.
func (e *extent) bytes(b *batch) []byte {
	if e.side > 0 {
		return b.side[e.side-1 : len(b.side) : len(b.side)]
	}
	return e.p[e.from:e.to]
}

// decodeLabel reads a prometheus.Label; name and value point into p.
func decodeLabel(p []byte) (name, value []byte, err error) {
	// As nearly all are: name, then value, both shorter than 128 bytes.
	if len(p) >= 4 && p[0] == 1<<3|wireBytes && int(p[1])+4 <= len(p) {
		end := 2 + int(p[1])
		if p[1] < 0x80 && p[end] == 2<<3|wireBytes && p[end+1] < 0x80 && end+2+int(p[end+1]) == len(p) {
			return p[2:end], p[end+2:], nil
		}
	}
	return decodeOddLabel(p)
}

func decodeOddLabel(p []byte) (name, value []byte, err error) {
	for i := 0; i < len(p); {
		start := i
		field, wire, next := tag(p, i)
		i = next
		switch {
		case i < 0:
		case field <= 2:
			if wire != wireBytes {
				return nil, nil, wrongWire("Label", field, wire)
			}
			var lo int
			if lo, i = sized(p, i); i < 0 {
				break
			}
			if field == 1 {
				name = p[lo:i]
			} else {
				value = p[lo:i]
			}
		default:
			i = skip(p, start)
		}
		if i < 0 {
			return nil, nil, wireError("Label", i)
		}
	}
	return name, value, nil
}

func (b *batch) decodeHistogramV1(p []byte) error {
	if err := b.take(histogramGrowth * len(p)); err != nil {
		return err
	}
	var m prompb.Histogram
	if err := m.Unmarshal(p); err != nil {
		return err
	}
	s := histogramSample{t: m.Timestamp}
	if m.IsFloatHistogram() {
		s.fh = m.ToFloatHistogram()
	} else {
		s.h = m.ToIntHistogram()
	}
	b.histograms = append(b.histograms, s)
	return nil
}

func (b *batch) decodeExemplarV1(p []byte) error {
	if err := b.take(exemplarGrowth * len(p)); err != nil {
		return err
	}
	var m prompb.Exemplar
	if err := m.Unmarshal(p); err != nil {
		return err
	}
	b.exemplarV1 = append(b.exemplarV1, m)
	return nil
}
