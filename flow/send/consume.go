package send

import (
	"context"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
)

// consume takes one WAL record that ends at end of the tail's segment.
func (p *pump) consume(ctx context.Context, rec []byte, end int64) {
	at := position{Segment: p.tail.number, Offset: end}
	dec := &p.tail.decoder
	cfg := p.spec.Load().config
	var err error
	switch dec.Type(rec) {
	case record.Series, record.Metadata:
		p.learn(dec, rec, at.Segment)
	case record.Samples, record.SamplesV2:
		p.samples, err = dec.Samples(rec, p.samples[:0])
		for i, s := range p.samples {
			at.Index = i
			p.take(ctx, s.Ref, item{at: at, st: s.ST, t: s.T, v: s.V})
		}
	case record.HistogramSamples, record.CustomBucketsHistogramSamples, record.HistogramSamplesV2:
		if !cfg.SendNativeHistograms {
			break
		}
		var all []record.RefHistogramSample
		all, err = dec.HistogramSamples(rec, nil)
		for i, s := range all {
			at.Index = i
			p.take(ctx, s.Ref, item{at: at, st: s.ST, t: s.T, h: s.H})
		}
	case record.FloatHistogramSamples, record.CustomBucketsFloatHistogramSamples, record.FloatHistogramSamplesV2:
		if !cfg.SendNativeHistograms {
			break
		}
		var all []record.RefFloatHistogramSample
		all, err = dec.FloatHistogramSamples(rec, nil)
		for i, s := range all {
			at.Index = i
			p.take(ctx, s.Ref, item{at: at, st: s.ST, t: s.T, fh: s.FH})
		}
	case record.Exemplars:
		if !cfg.SendExemplars {
			break
		}
		var all []record.RefExemplar
		all, err = dec.Exemplars(rec, nil)
		for i, e := range all {
			at.Index = i
			p.attach(at, e)
		}
	}
	if err != nil {
		p.log.Warn("ignoring the unreadable rest of a WAL record", "place", at, "err", err)
	}
	at.Index = wholeRecord
	if at.after(p.at) {
		p.at = at
	}
}

// take decides what becomes of one sample from the WAL.
func (p *pump) take(ctx context.Context, ref chunks.HeadSeriesRef, it item) {
	s, ok := p.table.byRef[ref]
	if !ok {
		if it.at.after(p.floor) {
			p.drop(dropUnknownSeries, 1)
		}
		return
	}
	if !s.keep {
		return
	}
	late := it.t <= s.newest
	s.newest = max(s.newest, it.t)
	if !it.at.after(p.floor) {
		return
	}
	it.series = s
	if !p.sendable(it.h, it.fh) {
		p.drop(dropNHCB, 1)
		return
	}
	if len(s.held) > 0 && p.skimming == nil {
		it.ex, s.held = s.held, nil
	}
	p.add(ctx, it, late)
}

// sendable says whether the protocol can carry the histogram.
func (p *pump) sendable(h *histogram.Histogram, fh *histogram.FloatHistogram) bool {
	if p.spec.Load().v2() {
		return true
	}
	if h != nil {
		return h.Schema != histogram.CustomBucketsSchema
	}
	return fh == nil || fh.Schema != histogram.CustomBucketsSchema
}

// attach puts an exemplar on its sample if that is still in the batch being built,
// else on the next one: remote write 2.0 allows no exemplar without a sample.
func (p *pump) attach(at position, e record.RefExemplar) {
	s, ok := p.table.byRef[e.Ref]
	if !ok || !s.keep || p.skimming != nil || !at.after(p.floor) {
		return
	}
	ex := exemplar.Exemplar{Labels: e.Labels, Value: e.V, Ts: e.T, HasTs: true}
	sh := p.shardOf(s)
	if f := sh.building; f != nil && s.batch == sh.batch && s.slot < len(f.items) && f.items[s.slot].series == s {
		f.items[s.slot].ex = append(f.items[s.slot].ex, ex)
		return
	}
	if len(s.held) < maxHeldExemplars {
		s.held = append(s.held, ex)
	}
}
