package store

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
)

// Elsewhere keeps blocks in another place too. It is asked while the TSDB loads
// blocks and must not block. An implementation answers quickly and never calls
// the store back.
type Elsewhere interface {
	// Uploaded reports whether all samples of a block are there. Before that a block
	// is not merged with others: the result would have to be sent a second time.
	Uploaded(tsdb.BlockMeta) bool
	// Deletable reports whether a block that is beyond its retention may go. It may
	// say yes to one that is not uploaded, which is then lost.
	Deletable(tsdb.BlockMeta) bool
}

// blocksToDelete applies the retention, and keeps what waits for its upload. Of
// those only the oldest goes in one pass, for each frees space.
func (s *Store) blocksToDelete(h *handle) tsdb.BlocksToDeleteFunc {
	return func(blocks []*tsdb.Block) map[ulid.ULID]struct{} {
		var beyond map[ulid.ULID]struct{}
		if h.db == nil { // it is being opened
			beyond = s.cfg.Load().Retention.beyond(blocks)
		} else {
			beyond = tsdb.DefaultBlocksToDelete(h.db)(blocks)
		}
		oldest := slices.Clone(blocks)
		slices.SortFunc(oldest, func(a, b *tsdb.Block) int { return a.Meta().ULID.Compare(b.Meta().ULID) })
		given := false
		for _, b := range oldest {
			m := b.Meta()
			if _, ok := beyond[m.ULID]; !ok || m.Compaction.Deletable || s.elsewhere.Uploaded(m) {
				continue
			}
			if given || !s.elsewhere.Deletable(m) {
				delete(beyond, m.ULID)
				continue
			}
			given = true
		}
		return beyond
	}
}

// beyond is the TSDB's own retention as far as blocks tell; it counts neither the
// log nor the head.
func (r Retention) beyond(blocks []*tsdb.Block) map[ulid.ULID]struct{} {
	newest := slices.Clone(blocks)
	slices.SortFunc(newest, func(a, b *tsdb.Block) int { return int(b.MaxTime()/1000 - a.MaxTime()/1000) })
	out := map[ulid.ULID]struct{}{}
	var size int64
	for _, b := range newest {
		size += b.Size()
		old := r.Time > 0 && newest[0].MaxTime()-b.MaxTime() >= time.Duration(r.Time).Milliseconds()
		if old || r.Size > 0 && size > int64(r.Size) || b.Meta().Compaction.Deletable {
			out[b.Meta().ULID] = struct{}{}
		}
	}
	return out
}

// mergeable is the plan, or nothing while a part of it waits for its upload.
func (c *compactor) mergeable(plan []string) ([]string, error) {
	for _, dir := range plan {
		text, err := os.ReadFile(filepath.Join(dir, "meta.json"))
		if err != nil {
			return nil, err
		}
		var m tsdb.BlockMeta
		if err := json.Unmarshal(text, &m); err != nil {
			return nil, fmt.Errorf("read meta.json of %s: %w", dir, err)
		}
		if !c.elsewhere.Uploaded(m) {
			return nil, nil
		}
	}
	return plan, nil
}
