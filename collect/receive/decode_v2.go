package receive

import (
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// decodeV2 reads an io.prometheus.write.v2.Request. References are resolved
// later: symbols may come after the series.
func (b *batch) decodeV2(p []byte) error {
	const message = "Request"
	for i := 0; i < len(p); {
		start := i
		field, wire, next := tag(p, i)
		i = next
		switch {
		case i < 0:
		case field == 4 || field == 5:
			if wire != wireBytes {
				return wrongWire(message, field, wire)
			}
			lo, hi := sized(p, i)
			if i = hi; i < 0 {
				break
			}
			var err error
			if field == 5 {
				err = b.decodeSeriesV2(p[lo:hi])
			} else if err = b.take(symbolCost); err == nil {
				b.symbols = append(b.symbols, text(p[lo:hi]))
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

func (b *batch) decodeSeriesV2(p []byte) error {
	const message = "TimeSeries"
	s, err := b.addSeries()
	if err != nil {
		return err
	}
	for i := 0; i < len(p); {
		start := i
		field, wire, next := tag(p, i)
		if i = next; i < 0 {
			return wireError(message, i)
		}
		switch {
		case field > 5:
			i = skip(p, start)
		case field == 1 && wire == wireVarint:
			i, err = b.decodeRefs(p, i, i+1)
		case wire != wireBytes:
			return wrongWire(message, field, wire)
		default:
			lo, hi := sized(p, i)
			if i = hi; i < 0 {
				break
			}
			switch field {
			case 1:
				i, err = b.decodeRefs(p, lo, hi)
			case 2:
				err = b.decodeSample(p[lo:hi], true)
			case 3:
				err = b.decodeHistogramV2(p[lo:hi])
			case 4:
				err = b.decodeExemplarV2(p[lo:hi])
			case 5:
				err = s.decodeMetadata(p[lo:hi])
			}
		}
		if err != nil {
			return err
		}
		if i < 0 {
			return wireError(message, i)
		}
	}
	b.endSeries(s)
	return nil
}

// decodeRefs reads references from lo until hi is reached. Like generated code
// it lets the last one run over hi.
func (b *batch) decodeRefs(p []byte, lo, hi int) (int, error) {
	from := len(b.refs)
	i := lo
	for i < hi {
		var v uint64
		if v, i = varint(p, i); i < 0 {
			return i, nil
		}
		b.refs = append(b.refs, uint32(v))
	}
	return i, b.take(refCost * (len(b.refs) - from))
}

func (s *series) decodeMetadata(p []byte) error {
	const message = "Metadata"
	for i := 0; i < len(p); {
		start := i
		field, wire, next := tag(p, i)
		i = next
		switch {
		case i < 0:
		case field == 1 || field == 3 || field == 4:
			if wire != wireVarint {
				return wrongWire(message, field, wire)
			}
			var v uint64
			v, i = varint(p, i)
			switch field {
			case 1:
				s.metaType = writev2.Metadata_MetricType(v)
			case 3:
				s.helpRef = uint32(v)
			case 4:
				s.unitRef = uint32(v)
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

func (b *batch) decodeHistogramV2(p []byte) error {
	if err := b.take(histogramGrowth * len(p)); err != nil {
		return err
	}
	var m writev2.Histogram
	if err := m.Unmarshal(p); err != nil {
		return err
	}
	s := histogramSample{st: m.StartTimestamp, t: m.Timestamp}
	if m.IsFloatHistogram() {
		s.fh = m.ToFloatHistogram()
	} else {
		s.h = m.ToIntHistogram()
	}
	b.histograms = append(b.histograms, s)
	return nil
}

func (b *batch) decodeExemplarV2(p []byte) error {
	if err := b.take(exemplarGrowth * len(p)); err != nil {
		return err
	}
	var m writev2.Exemplar
	if err := m.Unmarshal(p); err != nil {
		return err
	}
	b.exemplarV2 = append(b.exemplarV2, m)
	return nil
}
