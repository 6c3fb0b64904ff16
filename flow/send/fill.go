package send

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

const (
	// settle is the time between the WAL record of a sample and its being visible
	// to a querier, many times over.
	settle = time.Second
	// sliceSamples is what a slice should hold: some 15 MB in memory. A slice with
	// four times as many is cut in two before it is sent.
	sliceSamples = 100_000
	minSlice     = int64(1) // ms
	firstSlice   = int64(5 * time.Minute / time.Millisecond)
	maxReadTries = 5
)

var errSliceTooBig = errors.New("the slice holds too many samples")

// fillGap sends the first gap from the store, oldest slice first. It returns nil
// without having finished if ctx ends.
func (p *pump) fillGap(ctx context.Context) error {
	g := p.gaps[0]
	p.startWorkers(ctx, true)
	defer p.stopWorkers(stopGrace)
	p.m.filling.WithLabelValues(p.name).Set(1)
	if !p.sleep(ctx, settle) {
		return nil
	}
	if p.slice == 0 {
		p.slice = firstSlice
	}
	for tries := 0; g.Next <= g.To; {
		if p.skipExpired(g); g.Next > g.To {
			break
		}
		items, err := p.nextSlice(ctx, g)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errSliceTooBig):
			continue
		case err != nil && (tries < maxReadTries || errors.Is(err, tsdb.ErrNotReady)):
			tries++
			p.log.Error("reading the store for remote write did not work, trying again", "try", tries, "err", err)
			if !p.sleep(ctx, retryOpen) {
				return nil
			}
			continue
		case err != nil:
			p.log.Error("skipping a slice of the store that cannot be read", "from", time.UnixMilli(g.Next), "to", time.UnixMilli(g.SliceEnd), "err", err)
			p.m.expired.WithLabelValues(p.name).Add(float64(g.SliceEnd-g.Next+1) / 1000)
		}
		tries = 0
		if !p.sendSlice(ctx, items) {
			return nil
		}
		p.endSlice(g, len(items))
	}
	p.m.filling.WithLabelValues(p.name).Set(0)
	return p.finishGap()
}

// skipExpired moves past what is older than the store keeps.
func (p *pump) skipExpired(g *gap) {
	keep := p.retention()
	oldest := time.Now().Add(-keep).UnixMilli()
	if keep <= 0 || oldest <= g.Next {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	until := min(oldest, g.To+1)
	p.m.expired.WithLabelValues(p.name).Add(float64(until-g.Next) / 1000)
	p.log.Warn("samples left the store before the remote was back", "from", time.UnixMilli(g.Next), "to", time.UnixMilli(until))
	g.Next, g.SliceEnd = until, 0
}

// nextSlice fixes the next slice on disk and reads it.
func (p *pump) nextSlice(ctx context.Context, g *gap) ([]item, error) {
	p.mu.Lock()
	if g.SliceEnd < g.Next {
		g.SliceEnd = min(g.Next+p.slice-1, g.To)
		p.saveLocked()
	}
	end := g.SliceEnd
	p.mu.Unlock()
	items, err := p.readSlice(ctx, g, end)
	if errors.Is(err, errSliceTooBig) {
		p.slice = max((end-g.Next+1)/2, minSlice)
		p.mu.Lock()
		g.SliceEnd = 0
		p.mu.Unlock()
	}
	return items, err
}

// readSlice reads what is owed from g.Next to end, and closes the querier before
// anything is sent: an open one holds up compaction and truncation.
func (p *pump) readSlice(ctx context.Context, g *gap, end int64) (items []item, err error) {
	q, err := p.store.Querier(g.Next, end)
	if err != nil {
		return nil, fmt.Errorf("query the store: %w", err)
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	all := labels.MustNewMatcher(labels.MatchEqual, "", "")
	set := q.Select(ctx, true, &storage.SelectHints{Start: g.Next, End: end, DisableTrimming: false}, all)
	metas := p.table.metadata()
	var it chunkenc.Iterator
	for set.Next() {
		stored := set.At().Labels()
		hash := stored.Hash()
		owed, ok := g.owed(hash)
		if !ok || owed.From > end || owed.To < g.Next {
			continue
		}
		sent, keep := p.table.labeler.apply(stored)
		if !keep {
			continue
		}
		s := &series{hash: hash, labels: sent, keep: true}
		s.meta.Store(metas[hash])
		it = set.At().Iterator(it)
		if items, err = p.readSeries(items, it, s, max(owed.From, g.Next), min(owed.To, end)); err != nil {
			return nil, fmt.Errorf("read %s: %w", stored, err)
		}
		if len(items) > 4*sliceSamples && end-g.Next >= minSlice {
			return nil, errSliceTooBig
		}
	}
	if err := set.Err(); err != nil {
		return nil, fmt.Errorf("query the store: %w", err)
	}
	return items, p.addExemplars(ctx, g.Next, end, items)
}

// readSeries appends the samples of one series from mint to maxt, inclusive.
func (p *pump) readSeries(items []item, it chunkenc.Iterator, s *series, mint, maxt int64) ([]item, error) {
	histograms := p.spec.Load().config.SendNativeHistograms
	for kind := it.Seek(mint); kind != chunkenc.ValNone; kind = it.Next() {
		if it.AtT() > maxt {
			break
		}
		out := item{series: s, st: it.AtST()}
		switch kind {
		case chunkenc.ValFloat:
			out.t, out.v = it.At()
		case chunkenc.ValHistogram:
			if !histograms {
				continue
			}
			out.t, out.h = it.AtHistogram(nil)
		case chunkenc.ValFloatHistogram:
			if !histograms {
				continue
			}
			out.t, out.fh = it.AtFloatHistogram(nil)
		}
		if !p.sendable(out.h, out.fh) {
			p.drop(dropNHCB, 1)
			continue
		}
		items = append(items, out)
	}
	return items, it.Err()
}

// addExemplars puts the exemplars the store still has on the samples they are
// nearest to.
func (p *pump) addExemplars(ctx context.Context, mint, maxt int64, items []item) error {
	if p.exs == nil || len(items) == 0 || !p.spec.Load().config.SendExemplars {
		return nil
	}
	q, err := p.exs.ExemplarQuerier(ctx)
	if err != nil {
		return fmt.Errorf("query exemplars: %w", err)
	}
	results, err := q.Select(mint, maxt, []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".*")})
	if err != nil {
		return fmt.Errorf("query exemplars: %w", err)
	}
	found := make(map[uint64][]exemplar.Exemplar, len(results))
	for _, r := range results {
		found[r.SeriesLabels.Hash()] = r.Exemplars
	}
	for i := range items {
		ex := found[items[i].series.hash]
		last := i+1 == len(items) || items[i+1].series != items[i].series
		n := 0
		for n < len(ex) && (last || ex[n].Ts < items[i+1].t) {
			n++
		}
		items[i].ex = ex[:n:n]
		found[items[i].series.hash] = ex[n:]
	}
	return nil
}

// sendSlice sends a slice and waits until all of it is acknowledged.
func (p *pump) sendSlice(ctx context.Context, items []item) bool {
	size := p.spec.Load().config.QueueConfig.MaxSamplesPerSend
	for _, it := range items {
		sh := p.shardOf(it.series)
		if sh.building == nil {
			sh.building = &flush{fill: true, low: it.t}
		}
		sh.building.low = min(sh.building.low, it.t)
		sh.building.items = append(sh.building.items, it)
		if sh.building.len() < size {
			continue
		}
		if !p.sleep(ctx, p.rate.wait(size, time.Now())) {
			return false
		}
		if p.push(ctx, sh); ctx.Err() != nil {
			return false
		}
	}
	return p.drain(ctx)
}

func (p *pump) endSlice(g *gap, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch took := g.SliceEnd - g.Next + 1; {
	case n > sliceSamples:
		p.slice = max(took/2, minSlice)
	case n < sliceSamples/4:
		p.slice = min(max(p.slice, took)*2, maxApart)
	}
	g.Next, g.SliceEnd = g.SliceEnd+1, 0
	p.saveLocked()
}

// sleep waits, and looks after the WAL meanwhile. It returns false if ctx ended.
func (p *pump) sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-p.tick:
			p.housekeep(ctx)
		}
	}
}

// pace spreads samples over time.
type pace struct {
	perSecond int
	next      time.Time
}

// wait returns how long to hold n samples back; 0 without a limit.
func (r *pace) wait(n int, now time.Time) time.Duration {
	if r.perSecond <= 0 {
		return 0
	}
	if r.next.Before(now) {
		r.next = now
	}
	d := r.next.Sub(now)
	r.next = r.next.Add(time.Duration(n) * time.Second / time.Duration(r.perSecond))
	return d
}
