package bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"
)

// islandLabel names the island, where the external labels have it: then the
// others of them may change without hiding what was uploaded before.
const islandLabel = "island"

// view is what was last seen in the bucket. It is not changed once published.
type view struct {
	at     time.Time
	place  *place
	raw    map[ulid.ULID]*Meta // this island's own, and adopted ones
	coarse map[ulid.ULID]*Meta // the downsampled ones of these
	others map[ulid.ULID]bool
	// strange are the external labels of others that are no islands, with one of their
	// blocks; the first few.
	strange map[string]ulid.ULID
	// generation is a hash of the blocks that are read, 0 for none.
	generation uint64
}

// lookEvery is how old a view may get while there is nothing to upload; others
// merge and delete blocks.
const lookEvery = 5 * time.Minute

func (b *Bucket) stale(p *place) bool {
	v := b.view.Load()
	return v.place != p || b.now().Sub(v.at) >= lookEvery
}

// mine reports whether a block with these labels is this island's own.
func (p *place) mine(labels map[string]string) bool {
	if name := p.labels[islandLabel]; name != "" {
		return labels[islandLabel] == name
	}
	return maps.Equal(labels, p.labels)
}

// adopts reports whether a block with these labels is another's that is to be read.
func (p *place) adopts(labels map[string]string) bool {
	return slices.ContainsFunc(p.cfg.AlsoRead, func(l map[string]string) bool { return maps.Equal(l, labels) })
}

// Bounds of how many label sets of others are named in the log.
const (
	mostStrange = 16
	maxStrange  = 1 << 10 // bytes of each
)

// look lists the bucket and reads what meta.json it does not know yet.
func (b *Bucket) look(ctx context.Context, p *place) error {
	list, err := p.list(ctx, "", false)
	if err != nil {
		return err
	}
	old := b.view.Load()
	if old.place != p {
		old = &view{}
	}
	next := &view{at: b.now(), place: p, raw: map[ulid.ULID]*Meta{}, coarse: map[ulid.ULID]*Meta{}, others: map[ulid.ULID]bool{}, strange: maps.Clone(old.strange)}
	var fresh []ulid.ULID
	for _, o := range list {
		id, err := ulid.ParseStrict(strings.TrimSuffix(o.key, "/"))
		switch {
		case err != nil || !strings.HasSuffix(o.key, "/"):
		case old.others[id]:
			next.others[id] = true
		case old.raw[id] != nil:
			next.raw[id] = old.raw[id]
		case old.coarse[id] != nil:
			next.coarse[id] = old.coarse[id]
		default:
			fresh = append(fresh, id)
		}
	}
	unusable, err := next.read(ctx, fresh)
	if err != nil {
		return err
	}
	next.count()
	b.view.Store(next)
	b.tellStrangers(old, next)
	adopted := next.adopted()
	b.m.blocks.WithLabelValues("own").Set(float64(len(next.raw) - adopted))
	b.m.blocks.WithLabelValues("adopted").Set(float64(adopted))
	b.m.blocks.WithLabelValues("downsampled").Set(float64(len(next.coarse)))
	b.m.blocks.WithLabelValues("others").Set(float64(len(next.others)))
	b.m.blocks.WithLabelValues("unusable").Set(float64(unusable))
	return nil
}

// tellStrangers names, once, blocks that are not read and that no island wrote: an
// existing bucket may be full of them.
func (b *Bucket) tellStrangers(old, next *view) {
	for _, labels := range slices.Sorted(maps.Keys(next.strange)) {
		if _, told := old.strange[labels]; !told {
			b.log.Info("the bucket has blocks that no island wrote, and that are not read",
				"labels", labels, "for_example", next.strange[labels], "remedy", "list their labels in store.bucket.also_read, or leave them to thanos store")
		}
	}
}

func (v *view) adopted() (n int) {
	for _, m := range v.raw {
		if m.adopted {
			n++
		}
	}
	return n
}

// read sorts blocks by their meta.json. One that has none is on its way up or down.
func (v *view) read(ctx context.Context, ids []ulid.ULID) (unusable int, err error) {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, id := range ids {
		g.Go(func() error {
			m, err := readMeta(ctx, v.place, id)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, errAbsent) || errors.Is(err, errBadMeta):
				unusable++
			case err != nil:
				return fmt.Errorf("look at block %s: %w", id, err)
			default:
				v.add(m)
			}
			return nil
		})
	}
	err = g.Wait()
	return unusable, err
}

func (v *view) add(m *Meta) {
	m.adopted = !v.place.mine(m.Thanos.Labels)
	switch {
	case m.adopted && !v.place.adopts(m.Thanos.Labels):
		v.others[m.ULID] = true
		if labels := fmt.Sprint(m.Thanos.Labels); m.Thanos.Labels[islandLabel] == "" && len(v.strange) < mostStrange {
			if v.strange == nil {
				v.strange = map[string]ulid.ULID{}
			}
			v.strange[labels[:min(len(labels), maxStrange)]] = m.ULID
		}
	case m.Thanos.Downsample.Resolution > 0:
		v.coarse[m.ULID] = m
	default:
		v.raw[m.ULID] = m
	}
}

// with is the view after an upload.
func (v *view) with(m *Meta) *view {
	next := *v
	next.raw = maps.Clone(v.raw)
	next.raw[m.ULID] = m
	next.count()
	return &next
}

// count says which generation this is. A block never changes: another one takes its
// place.
func (v *view) count() {
	v.generation = 0
	if len(v.raw) == 0 {
		return
	}
	sum := fnv.New64a()
	for _, id := range slices.SortedFunc(maps.Keys(v.raw), ulid.ULID.Compare) {
		_, _ = sum.Write(id[:]) // to a hash: it cannot fail
	}
	v.generation = sum.Sum64()
}

// sources are all that went into this island's own blocks there.
func (v *view) sources() map[ulid.ULID]bool {
	out := map[ulid.ULID]bool{}
	for _, blocks := range []map[ulid.ULID]*Meta{v.raw, v.coarse} {
		for _, m := range blocks {
			if m.adopted {
				continue
			}
			for _, id := range m.Compaction.Sources {
				out[id] = true
			}
		}
	}
	return out
}

// choose picks the blocks that are needed to read a time range (ms, inclusive):
// those with a source that neither a local block nor a larger block among them
// has. Blocks that were merged stay in the bucket for days beside their result.
func (v *view) choose(mint, maxt int64, local map[ulid.ULID]bool) []*Meta {
	var in []*Meta
	for _, m := range v.raw {
		if m.MinTime <= maxt && m.MaxTime > mint {
			in = append(in, m)
		}
	}
	slices.SortFunc(in, func(x, y *Meta) int {
		return cmp.Or(
			cmp.Compare(len(y.Compaction.Sources), len(x.Compaction.Sources)),
			cmp.Compare(y.Compaction.Level, x.Compaction.Level),
			y.ULID.Compare(x.ULID))
	})
	have := maps.Clone(local)
	if have == nil {
		have = map[ulid.ULID]bool{}
	}
	var out []*Meta
	for _, m := range in {
		if !slices.ContainsFunc(m.Compaction.Sources, func(id ulid.ULID) bool { return !have[id] }) {
			continue
		}
		for _, id := range m.Compaction.Sources {
			have[id] = true
		}
		out = append(out, m)
	}
	return out
}

// Oldest is the time of the oldest sample that can be read back, in milliseconds;
// false without one.
func (b *Bucket) Oldest() (oldest int64, ok bool) {
	for _, m := range b.view.Load().raw {
		if !ok || m.MinTime < oldest {
			oldest, ok = m.MinTime, true
		}
	}
	return oldest, ok
}

// wanted are the blocks that a query needs from the bucket.
func (b *Bucket) wanted(mint, maxt int64) ([]*Meta, error) {
	v := b.view.Load()
	if len(v.raw) == 0 {
		return nil, nil
	}
	metas, err := b.o.Blocks()
	if err != nil {
		return nil, err
	}
	local := map[ulid.ULID]bool{}
	for _, m := range metas {
		for _, id := range b.state.standsFor(m) {
			local[id] = true
		}
	}
	return v.choose(mint, maxt, local), nil
}

// Generation changes when blocks that can be read back come or go; 0 is for none.
func (b *Bucket) Generation() uint64 { return b.view.Load().generation }

// Seen is false while it is not known what is in the bucket, if there is one.
func (b *Bucket) Seen() bool {
	p := b.cur.Load()
	return p.none() || b.view.Load().place == p
}
