package send

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

const (
	// maxLate bounds the late samples kept in memory while a gap is open.
	maxLate = 20_000
	// lostOverlap is how far before the last delivered timestamp filling starts
	// when the WAL was gone before it could be read: samples of different targets
	// reach the WAL some seconds to minutes apart.
	lostOverlap = 5 * time.Minute
)

// gap is what is owed from the store: a time span for each series, by the hash of
// its labels as stored. 16 bytes and a map entry per series.
type gap struct {
	*gapState
	spans map[uint64]span
}

func newGap() *gap {
	return &gap{
		gapState: &gapState{ID: uint64(time.Now().UnixNano()), From: math.MaxInt64, To: math.MinInt64},
		spans:    map[uint64]span{},
	}
}

// add widens the span of one series so that it has t.
func (g *gap) add(hash uint64, t int64) {
	sp, ok := g.spans[hash]
	if !ok {
		sp = span{t, t}
	}
	g.spans[hash] = span{min(sp.From, t), max(sp.To, t)}
	g.From, g.To = min(g.From, t), max(g.To, t)
}

// owed returns what the series owes.
func (g *gap) owed(hash uint64) (span, bool) {
	if sp, ok := g.spans[hash]; ok {
		return sp, true
	}
	return span{g.From, g.To}, g.Everyone
}

// owe notes a sample that was read from the WAL and not sent.
func (p *pump) owe(it item, late bool) {
	g := p.skimming
	if late {
		// Inside the span the store has it in place when the gap is filled; before
		// it, everything else was delivered, so the sample is kept by itself.
		sp, ok := g.spans[it.series.hash]
		if (!ok || it.t < sp.From) && p.keepLate(it) {
			return
		}
	}
	g.add(it.series.hash, it.t)
}

func (p *pump) keepLate(it item) bool {
	if len(p.late) >= maxLate {
		return false
	}
	it.at = position{}
	p.late = append(p.late, it)
	return true
}

// displace ends the live path: what is in memory and not acknowledged is owed.
func (p *pump) displace() {
	p.stopWorkers(0)
	p.mu.Lock()
	defer p.mu.Unlock()
	g, uncertain := newGap(), newGap()
	uncertain.ID = g.ID + 1
	for _, sh := range p.shards {
		flushes := sh.pending
		if sh.building != nil {
			flushes = append(flushes, sh.building)
		}
		for _, f := range flushes {
			// A request in flight may have been delivered. It becomes a gap by itself,
			// one slice long: the same samples of each shard in one request again.
			to := g
			if f.tried {
				to = uncertain
			}
			for _, it := range f.items {
				to.add(it.series.hash, it.t)
			}
			for _, it := range f.late {
				if !p.keepLate(it) {
					g.add(it.series.hash, it.t)
				}
			}
		}
		sh.pending, sh.building = nil, nil
	}
	p.skimming, p.uncertain = g, uncertain
}

// skimToEnd reads the WAL to its present end without sending, then records the gap.
func (p *pump) skimToEnd(ctx context.Context) error {
	for {
		rec, end, ok, err := p.tail.next()
		if errors.Is(err, errLost) {
			return p.recoverLost(ctx)
		}
		if err != nil {
			return err
		}
		if !ok {
			return p.closeGap()
		}
		p.consume(ctx, rec, end)
	}
}

// closeGap makes the noted gap durable. Until then the cursor points to WAL
// segments that are still there.
func (p *pump) closeGap() error {
	g := p.skimming
	p.skimming = nil
	p.mu.Lock()
	defer p.mu.Unlock()
	if u := p.uncertain; u != nil && len(u.spans) > 0 {
		u.Next, u.SliceEnd, u.End = u.From, u.To, p.at
		if err := p.registerLocked(u); err != nil {
			return err
		}
	}
	p.uncertain = nil
	g.End = p.at
	if len(g.spans) == 0 && !g.Everyone {
		if n := len(p.gaps); n > 0 {
			p.gaps[n-1].End = p.at
		} else {
			p.state.resetShards(len(p.state.Shards), p.at)
		}
		p.saveLocked()
		return p.cursor.sync()
	}
	if n := len(p.gaps); n > 0 && p.gaps[n-1] == g {
		if err := writeSpans(gapPath(p.dir, p.key, g.ID), g.spans); err != nil {
			return err
		}
	} else {
		g.Next = g.From
		if err := p.registerLocked(g); err != nil {
			return err
		}
		p.m.gaps.WithLabelValues(p.name).Inc()
		p.log.Info("continuing remote write from the store", "series", len(g.spans), "from", time.UnixMilli(g.From), "to", time.UnixMilli(g.To), "place", g.End)
	}
	g.Next = min(g.Next, g.From)
	p.saveLocked()
	return p.cursor.sync()
}

func (p *pump) registerLocked(g *gap) error {
	if err := writeSpans(gapPath(p.dir, p.key, g.ID), g.spans); err != nil {
		return err
	}
	p.gaps = append(p.gaps, g)
	p.state.Gaps = append(p.state.Gaps, g.gapState)
	return nil
}

// skimMore notes what the WAL brought since the last gap was closed, before it is
// truncated. The gap being filled is fixed; a second one takes what is new.
func (p *pump) skimMore(ctx context.Context) error {
	if len(p.gaps) > 1 {
		p.skimming = p.gaps[len(p.gaps)-1]
	} else {
		p.skimming = newGap()
	}
	return p.skimToEnd(ctx)
}

// recoverLost goes on after the WAL was truncated or replaced before it was read:
// every series owes what the store has since shortly before the last delivery.
func (p *pump) recoverLost(ctx context.Context) error {
	g := p.skimming
	if g == nil {
		g = newGap()
		p.skimming = g
	}
	from, newest, before := p.lastKnown(g)
	p.log.Warn("the WAL was truncated before it was read; filling from the store", "from", time.UnixMilli(from))
	if err := p.reopen(); err != nil {
		return err
	}
	p.floor = position{}
	for {
		rec, end, ok, err := p.tail.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		p.consume(ctx, rec, end)
	}
	g.Everyone = true
	g.From = min(g.From, from)
	g.To = max(g.To, g.From, time.Now().UnixMilli())
	for h, sp := range g.spans {
		g.spans[h] = span{g.From, sp.To}
	}
	// Where a gap before this one says what a series had, nothing is sent twice.
	for h, b := range before {
		sp, ok := g.spans[h]
		if !ok {
			sp.To = g.To
		}
		g.spans[h] = span{b.To + 1, sp.To}
	}
	// Elsewhere some of the overlap was delivered. It is a slice by itself, so that a
	// receiver that refuses repeated samples refuses nothing new with them.
	g.SliceEnd = max(min(newest, g.To), g.From)
	return p.closeGap()
}

// lastKnown returns from when, in ms, samples are owed after the WAL was lost, the
// newest timestamp that was not, and what the series owed until then.
func (p *pump) lastKnown(g *gap) (from, newest int64, before map[uint64]span) {
	p.mu.Lock()
	defer p.mu.Unlock()
	newest = p.state.Newest
	if n := len(p.gaps); n > 0 && p.gaps[n-1] != g {
		before, newest = p.gaps[n-1].spans, p.gaps[n-1].To
	}
	if newest == 0 {
		return p.state.Created, 0, before
	}
	return newest - lostOverlap.Milliseconds(), newest, before
}

// reopen starts at the beginning of what there is of the WAL.
func (p *pump) reopen() error {
	first, _, err := wlog.Segments(p.wal)
	if err != nil {
		return fmt.Errorf("list WAL segments in %s: %w", p.wal, err)
	}
	place := position{Segment: max(first, 0)}
	if _, number, err := wlog.LastCheckpoint(p.wal); err == nil {
		place.Segment = max(place.Segment, number+1)
	}
	if p.tail != nil {
		p.tail.close()
	}
	if len(p.gaps) == 0 {
		// Their places mean nothing any more.
		p.shards = nil
	}
	return p.openAt(place)
}

// loadGaps takes up the gaps that the state names, and removes files of others.
func (p *pump) loadGaps() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	files, err := filepath.Glob(filepath.Join(p.dir, p.key+".*"+gapSuffix))
	if err != nil {
		return fmt.Errorf("list gaps: %w", err)
	}
	for _, file := range files {
		if !slices.ContainsFunc(p.state.Gaps, func(st *gapState) bool { return gapPath(p.dir, p.key, st.ID) == file }) {
			if err := os.Remove(file); err != nil {
				return fmt.Errorf("remove a gap nobody needs: %w", err)
			}
		}
	}
	for _, st := range p.state.Gaps {
		spans, err := readSpans(gapPath(p.dir, p.key, st.ID))
		if err != nil {
			p.log.Error("filling a gap for every series, as its list is gone", "err", err)
			st.Everyone, spans = true, map[uint64]span{}
		}
		p.gaps = append(p.gaps, &gap{gapState: st, spans: spans})
	}
	return nil
}

// finishGap forgets the first gap; after the last one the WAL goes on where it ends.
func (p *pump) finishGap() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.gaps[0]
	p.gaps, p.state.Gaps = p.gaps[1:], p.state.Gaps[1:]
	if len(p.gaps) == 0 {
		p.state.resetShards(len(p.state.Shards), p.at)
	}
	p.saveLocked()
	if err := p.cursor.sync(); err != nil {
		return err
	}
	p.log.Info("filled a gap from the store", "from", time.UnixMilli(g.From), "to", time.UnixMilli(g.To))
	if err := os.Remove(gapPath(p.dir, p.key, g.ID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove a filled gap: %w", err)
	}
	return nil
}

// keepLateForStart turns late samples that are only in memory into a gap of their
// series, so that a stop does not lose them.
func (p *pump) keepLateForStart() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := newGap()
	for _, it := range p.late {
		g.add(it.series.hash, it.t)
	}
	for _, sh := range p.shards {
		for _, f := range append(sh.pending, sh.building) {
			if f == nil {
				continue
			}
			for _, it := range f.late {
				if it.at == (position{}) {
					g.add(it.series.hash, it.t)
				}
			}
		}
	}
	if len(g.spans) == 0 {
		return nil
	}
	g.Next, g.End = g.From, p.state.low()
	return p.registerLocked(g)
}
