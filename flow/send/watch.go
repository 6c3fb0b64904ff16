package send

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

const (
	reshardEvery = 10 * time.Second
	// busyShare of the time spent waiting for a full shard asks for more shards.
	busyShare = 0.5
)

// view is what a remote looks like from outside.
type view struct {
	// cursor and owed are timestamps in ms; owed is 0 if nothing is owed.
	cursor, owed int64
	filling      bool
}

// housekeep does what is due once a second, from wherever the reader waits.
func (p *pump) housekeep(ctx context.Context) {
	p.look()
	p.keepPlaces()
	p.cleanTable()
	if p.skimming != nil || !p.endangered() {
		return
	}
	if len(p.gaps) == 0 {
		p.displace()
		return
	}
	if err := p.skimMore(ctx); err != nil {
		p.fail(fmt.Errorf("read the WAL behind a gap: %w", err))
	}
}

// endangered says whether the TSDB's next truncation would delete WAL that is
// still needed.
func (p *pump) endangered() bool {
	place := p.at
	if len(p.gaps) == 0 {
		p.mu.Lock()
		place = p.state.low()
		p.mu.Unlock()
	}
	return place.Segment <= doomedUpTo(p.wal)
}

// keepPlaces moves the cursor of shards that have nothing to send, and syncs it.
func (p *pump) keepPlaces() {
	p.mu.Lock()
	if len(p.gaps) == 0 && p.skimming == nil {
		for i, sh := range p.shards {
			if len(sh.pending) == 0 && sh.building == nil && p.at.after(p.state.Shards[i].Acked) {
				p.state.Shards[i] = shardState{Acked: p.at, InFlight: p.at}
			}
		}
	}
	due := time.Since(p.synced) >= syncEvery
	if due {
		p.saveLocked()
	}
	p.mu.Unlock()
	if !due {
		return
	}
	p.synced = time.Now()
	// Not under the lock: the workers save meanwhile, and a disk can be slow.
	if err := p.cursor.sync(); err != nil {
		p.m.cursorFail.WithLabelValues(p.name).Inc()
		p.log.Warn("syncing the remote write cursor did not work", "err", err)
	}
}

// look measures what is owed.
func (p *pump) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	low, pending := int64(math.MaxInt64), 0
	for _, sh := range p.shards {
		for _, f := range sh.pending {
			low, pending = min(low, f.low), pending+f.len()
		}
		if f := sh.building; f != nil {
			low, pending = min(low, f.low), pending+f.len()
		}
	}
	for _, g := range p.gaps {
		low = min(low, max(g.Next, g.From))
	}
	v := view{cursor: p.state.Newest, filling: len(p.gaps) > 0}
	lag, extent := 0.0, 0.0
	if low != math.MaxInt64 {
		v.cursor, v.owed = low, low
		lag = max(0, time.Since(time.UnixMilli(low)).Seconds())
	}
	for _, g := range p.gaps {
		extent += float64(max(0, g.To-max(g.Next, g.From))) / 1000
	}
	p.view = v
	p.m.cursor.WithLabelValues(p.name).Set(float64(v.cursor) / 1000)
	p.m.lag.WithLabelValues(p.name).Set(lag)
	p.m.pending.WithLabelValues(p.name).Set(float64(pending))
	p.m.gapSeconds.WithLabelValues(p.name).Set(extent)
}

// cleanTable forgets series that a new checkpoint no longer has.
func (p *pump) cleanTable() {
	dir, number, err := wlog.LastCheckpoint(p.wal)
	if err != nil || dir == p.checkpoint || p.tail == nil || number >= p.tail.number || p.skimming != nil {
		return
	}
	p.checkpoint = dir
	if _, err := readCheckpoint(p.wal, p.log, p.reader, func(dec *record.Decoder, rec []byte) {
		if dec.Type(rec) != record.Series {
			return
		}
		all, err := dec.Series(rec, nil)
		if err != nil {
			return
		}
		for _, r := range all {
			if s, ok := p.table.byRef[r.Ref]; ok {
				s.segment = max(s.segment, number)
			}
		}
	}); err != nil {
		// The series stay until the next checkpoint.
		p.log.Warn("reading a WAL checkpoint did not work", "err", err)
		return
	}
	p.table.expire(number)
}

// reshard doubles the shards while full ones hold the reader up, and halves them
// when none does. All that was read is acknowledged before the number changes, so
// the order within a series stays.
func (p *pump) reshard(ctx context.Context) {
	queue := p.spec.Load().config.QueueConfig
	n := len(p.shards)
	want := min(max(n, queue.MinShards), queue.MaxShards, maxShards)
	if want == n {
		want = p.wantShards(n)
	}
	if want == n {
		return
	}
	// After a restart the shards are level only once the reader has passed them all.
	for _, sh := range p.shards {
		if sh.skip.after(p.at) || sh.repeat.after(p.at) {
			return
		}
	}
	if !p.drain(ctx) {
		return
	}
	p.stopWorkers(stopGrace)
	p.mu.Lock()
	p.state.resetShards(want, p.at)
	p.saveLocked()
	p.mu.Unlock()
	p.log.Info("changed the number of shards", "from", n, "to", want)
	p.startWorkers(ctx, false)
}

// wantShards looks, from time to time, at how long the reader had to wait.
func (p *pump) wantShards(n int) int {
	if time.Since(p.resharded) < reshardEvery {
		return n
	}
	elapsed := time.Since(p.resharded)
	first := p.resharded.IsZero()
	busy := p.busy.Seconds() / elapsed.Seconds()
	p.resharded, p.busy = time.Now(), 0
	p.outlook.mu.Lock()
	healthy := p.outlook.failing.IsZero()
	p.outlook.mu.Unlock()
	queue := p.spec.Load().config.QueueConfig
	switch {
	case first || !healthy:
		return n
	case busy > busyShare:
		return min(n*2, queue.MaxShards, maxShards)
	case busy == 0:
		return max(n/2, queue.MinShards)
	}
	return n
}

// status returns what health and tests want to know.
func (p *pump) status() (v view, failing time.Time, refused time.Time, lastError string) {
	p.mu.Lock()
	v = p.view
	p.mu.Unlock()
	p.outlook.mu.Lock()
	defer p.outlook.mu.Unlock()
	return v, p.outlook.failing, p.outlook.refused, p.outlook.lastError
}
