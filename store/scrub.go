package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
)

var errStopped = errors.New("stopped")

// scrub reads every block once after start, and every new one once, and compares
// all checksums. What it finds it reports; the block stays in use, for its sound
// series are worth more than a hole, and a query for the others fails by name.
func (s *Store) scrub(ctx context.Context) {
	done := map[ulid.ULID]string{} // "" for a sound block
	wait := s.every.scrubAfter
	for {
		if !pause(ctx, wait) {
			return
		}
		wait = s.every.maintain
		h := s.acquire()
		if h == nil {
			continue
		}
		s.scrubBlocks(ctx, h, done)
		h.release()
	}
}

func (s *Store) scrubBlocks(ctx context.Context, h *handle, done map[ulid.ULID]string) {
	blocks := h.db.Blocks()
	present := map[ulid.ULID]bool{}
	for _, b := range slices.Backward(blocks) { // the newest are asked for most
		id := b.Meta().ULID
		present[id] = true
		if _, seen := done[id]; seen || s.cfg.Load().ScrubRate == 0 || s.cur.Load() != h {
			continue
		}
		err := s.scrubBlock(ctx, h, b)
		switch {
		case errors.Is(err, errStopped):
			return
		case errors.Is(err, tsdb.ErrClosing): // compacted away meanwhile
		case err != nil:
			m := b.Meta()
			done[id] = fmt.Sprintf("%s (%s): %v", id, timeSpan(m.MinTime, m.MaxTime), err)
			s.logger.Error("damaged block in use", "block", b.Dir(), "err", err)
		default:
			done[id] = ""
		}
	}
	s.reportDamage(done, present)
}

func (s *Store) reportDamage(done map[ulid.ULID]string, present map[ulid.ULID]bool) {
	var found []string
	for id, text := range done {
		if !present[id] {
			delete(done, id)
		} else if text != "" {
			found = append(found, text)
		}
	}
	s.m.damaged.Set(float64(len(found)))
	if len(found) == 0 {
		s.warn.blockDamaged.Clear()
		return
	}
	slices.Sort(found)
	report(s.warn.blockDamaged, found)
}

// scrubBlock reads all series and chunks of a block. It returns how many series
// are damaged and how the first one is.
func (s *Store) scrubBlock(ctx context.Context, h *handle, b *tsdb.Block) (err error) {
	defer func() {
		if r := recover(); r != nil { // the index reader trusts offsets it has not checked
			err = fmt.Errorf("read index: %v", r)
		}
	}()
	ir, err := b.Index()
	if err != nil {
		return err
	}
	defer ir.Close()
	cr, err := b.Chunks()
	if err != nil {
		return err
	}
	defer cr.Close()
	name, value := index.AllPostingsKey()
	series, err := ir.Postings(ctx, name, value)
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	var (
		pace    = pacer{s: s, h: h, b: b}
		lset    labels.ScratchBuilder
		metas   []chunks.Meta
		damaged int
		first   error
	)
	for series.Next() {
		err := ir.Series(series.At(), &lset, &metas)
		for i := 0; err == nil && i < len(metas); i++ {
			if stop := pace.take(ctx, chunkBytes(metas, i)); stop != nil {
				return stop
			}
			_, _, err = cr.ChunkOrIterable(metas[i])
		}
		if err != nil {
			damaged++
			if first == nil {
				first = fmt.Errorf("%s: %w", lset.Labels(), err)
			}
		}
	}
	if first != nil {
		return fmt.Errorf("%d series unreadable, the first is %w", damaged, first)
	}
	return series.Err()
}

// chunkBytes estimates how much a chunk reads: the distance to the next one, for
// the chunks of one series lie side by side.
func chunkBytes(metas []chunks.Meta, i int) int {
	const usual, most = 200, 64 << 10
	if i+1 < len(metas) {
		if d := int64(metas[i+1].Ref) - int64(metas[i].Ref); d > 0 && d < most {
			return int(d)
		}
	}
	return usual
}

// pacer keeps the scrub below its rate by resting after each tenth of a second's
// worth. When it wakes it gives way to whoever waits for the scrub to end: the
// store closing or reopening, or a compaction that deletes the block.
type pacer struct {
	s    *Store
	h    *handle
	b    *tsdb.Block
	debt int
}

func (p *pacer) take(ctx context.Context, n int) error {
	p.debt += n
	rate := int(p.s.cfg.Load().ScrubRate)
	if rate == 0 {
		rate = 1 << 20 // switched off in the middle: finish this block gently
	}
	if p.debt < max(rate/10, 4096) {
		return nil
	}
	p.s.m.scrubbed.Add(float64(p.debt))
	rest := time.Duration(float64(p.debt) / float64(rate) * float64(time.Second))
	p.debt = 0
	if !pause(ctx, rest) || p.s.cur.Load() != p.h {
		return errStopped
	}
	r, err := p.b.Index() // fails once the block is being closed
	if err != nil {
		return err
	}
	return r.Close()
}

// pause waits and reports whether ctx still lasts.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
