package bucket

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
)

// round brings the bucket up to date: the oldest block first, as others compact in
// that order.
func (b *Bucket) round(ctx context.Context, p *place) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.state.retarget(p.cfg.target()); err != nil {
		return err
	}
	local, err := b.o.Blocks()
	if err != nil {
		return fmt.Errorf("list the store's blocks: %w", err)
	}
	if b.stale(p) || slices.ContainsFunc(local, func(m tsdb.BlockMeta) bool { return !b.Uploaded(m) }) {
		if err := b.look(ctx, p); err != nil {
			return err
		}
	}
	if err := b.state.learn(local, b.view.Load().sources()); err != nil {
		return err
	}
	if err := b.sweep(ctx, p, local); err != nil {
		return err
	}
	local = slices.DeleteFunc(local, b.Uploaded)
	slices.SortFunc(local, func(x, y tsdb.BlockMeta) int { return x.ULID.Compare(y.ULID) })
	var broken []error
	for i, m := range local {
		b.m.waiting.Set(float64(len(local) - i))
		if i > 0 && b.state.has(p.cfg.target(), m) { // by one sent in this round
			continue
		}
		switch err := b.upload(ctx, p, m); {
		case errors.Is(err, errLocal): // others may still be sound
			broken = append(broken, err)
		case err != nil:
			b.m.uploads.WithLabelValues("failed").Inc()
			return fmt.Errorf("upload block %s, %d are waiting: %w", m.ULID, len(local)-i, err)
		}
	}
	b.m.waiting.Set(float64(len(broken)))
	return errors.Join(broken...)
}

var errLocal = errors.New("the block cannot be read here")

// upload sends what is missing of a block. A meta.json found there that says the
// same ends it early, except for looking whether all files are there.
func (b *Bucket) upload(ctx context.Context, p *place, m tsdb.BlockMeta) error {
	files, err := b.files(m.ULID)
	if err != nil {
		if _, gone := os.Stat(filepath.Join(b.o.StoreDir, m.ULID.String())); gone != nil {
			return nil // merged or deleted meanwhile
		}
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	if err := b.state.begin(m.ULID); err != nil {
		return err
	}
	meta := b.describe(m, p.labels, files)
	there, err := b.found(ctx, p, m.ULID)
	if err != nil {
		return err
	}
	if err := clean(ctx, p, m.ULID, files, there); err != nil {
		return err
	}
	for _, f := range files {
		if err := b.send(ctx, p, m.ULID, f, there); err != nil {
			return err
		}
	}
	if err := b.sendMeta(ctx, p, meta, there); err != nil {
		return err
	}
	if err := b.complete(ctx, p, m.ULID, files); err != nil {
		return err
	}
	if err := b.state.finish(m); err != nil {
		return err
	}
	b.view.Store(b.view.Load().with(meta))
	b.m.uploads.WithLabelValues("ok").Inc()
	b.log.Info("block uploaded", "block", m.ULID, "mint", m.MinTime, "maxt", m.MaxTime, "level", m.Compaction.Level)
	return nil
}

// files reads the block's files and hashes them, the index last.
func (b *Bucket) files(id ulid.ULID) ([]*file, error) {
	dir := filepath.Join(b.o.StoreDir, id.String())
	entries, err := os.ReadDir(filepath.Join(dir, chunksDir))
	if err != nil {
		return nil, err
	}
	var out []*file
	for _, e := range entries {
		f, err := digest(chunksDir+e.Name(), filepath.Join(dir, chunksDir, e.Name()))
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	f, err := digest(indexFile, filepath.Join(dir, indexFile))
	return append(out, f), err
}

func (b *Bucket) describe(m tsdb.BlockMeta, labels map[string]string, files []*file) *Meta {
	out := &Meta{BlockMeta: m, Thanos: Thanos{
		Version: 1, Labels: labels, Source: source, UploadTime: b.now().UTC(),
		Files: []File{{RelPath: metaFile}},
	}}
	for _, f := range files {
		out.Thanos.Files = append(out.Thanos.Files, File{f.rel, f.size, &Hash{"SHA256", hex.EncodeToString(f.sha256[:])}})
		if name, ok := strings.CutPrefix(f.rel, chunksDir); ok {
			out.Thanos.SegmentFiles = append(out.Thanos.SegmentFiles, name)
		}
	}
	slices.SortFunc(out.Thanos.Files, func(x, y File) int { return strings.Compare(x.RelPath, y.RelPath) })
	return out
}

// found lists what lies under a block's ULID, by path below it.
func (b *Bucket) found(ctx context.Context, p *place, id ulid.ULID) (map[string]int64, error) {
	list, err := p.list(ctx, id.String()+"/", true)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for _, o := range list {
		out[strings.TrimPrefix(o.key, id.String()+"/")] = o.size
	}
	return out, nil
}

// clean removes what an earlier attempt left that is not part of the block. Marks
// of others stay.
func clean(ctx context.Context, p *place, id ulid.ULID, files []*file, there map[string]int64) error {
	for _, rel := range slices.Sorted(maps.Keys(there)) {
		part := rel == metaFile || strings.HasSuffix(rel, "-mark.json") ||
			slices.ContainsFunc(files, func(f *file) bool { return f.rel == rel })
		if part {
			continue
		}
		if err := p.remove(ctx, path.Join(id.String(), rel)); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bucket) send(ctx context.Context, p *place, id ulid.ULID, f *file, there map[string]int64) error {
	key := path.Join(id.String(), f.rel)
	if size, ok := there[f.rel]; ok && size == f.size {
		same, err := p.same(ctx, key, f)
		if err != nil {
			return err
		}
		if same {
			b.m.resumed.Inc()
			return nil
		}
	}
	if err := p.put(ctx, key, f); err != nil {
		if errors.Is(err, errChanged) {
			b.m.mismatches.Inc()
		}
		return err
	}
	b.m.sentBytes.Add(float64(f.size))
	return nil
}

// sendMeta writes meta.json unless one that says the same is there. One that does
// not is taken away first: nobody is to read a block whose files are replaced.
func (b *Bucket) sendMeta(ctx context.Context, p *place, meta *Meta, there map[string]int64) error {
	key := path.Join(meta.ULID.String(), metaFile)
	if _, ok := there[metaFile]; ok {
		old, err := readMeta(ctx, p, meta.ULID)
		switch {
		case err == nil && old.describes(meta):
			return nil
		case err != nil && !errors.Is(err, errBadMeta) && !errors.Is(err, errAbsent):
			return err
		}
		if err := p.remove(ctx, key); err != nil {
			return err
		}
	}
	text, err := meta.encode()
	if err != nil {
		return err
	}
	f := &file{rel: metaFile, size: int64(len(text)), sha256: sha256.Sum256(text), md5: md5.Sum(text)}
	f.open = func() (io.ReaderAt, io.Closer, error) {
		return bytes.NewReader(text), io.NopCloser(nil), nil
	}
	if err := p.put(ctx, key, f); err != nil {
		if errors.Is(err, errChanged) {
			// Nobody may find a meta.json that is not whole.
			err = errors.Join(err, p.remove(ctx, key))
		}
		return err
	}
	return nil
}

// complete looks once more at all of the block: what was there before may have
// been removed while the rest was sent, by a cleaner who took it for given up.
func (b *Bucket) complete(ctx context.Context, p *place, id ulid.ULID, files []*file) error {
	there, err := b.found(ctx, p, id)
	if err != nil {
		return err
	}
	for _, f := range files {
		if size, ok := there[f.rel]; !ok || size != f.size {
			return fmt.Errorf("look at what was sent: %s has %d bytes there and %d here; it is sent again", f.rel, size, f.size)
		}
	}
	if _, ok := there[metaFile]; !ok {
		return errors.New("look at what was sent: meta.json is not there; it is sent again")
	}
	return nil
}

// sweep removes what was begun and will not be finished, because the block is not
// here any more. It never touches a block that has a sound meta.json.
func (b *Bucket) sweep(ctx context.Context, p *place, local []tsdb.BlockMeta) error {
	for _, id := range b.state.begun() {
		if slices.ContainsFunc(local, func(m tsdb.BlockMeta) bool { return m.ULID == id }) {
			continue
		}
		_, err := readMeta(ctx, p, id)
		switch {
		case errors.Is(err, errAbsent) || errors.Is(err, errBadMeta):
			if err := b.discard(ctx, p, id); err != nil {
				return fmt.Errorf("remove the unfinished upload of %s: %w", id, err)
			}
		case err != nil:
			return err
		}
		if err := b.state.drop(id); err != nil {
			return err
		}
	}
	return nil
}

// discard removes all of a block, meta.json first.
func (b *Bucket) discard(ctx context.Context, p *place, id ulid.ULID) error {
	there, err := b.found(ctx, p, id)
	if err != nil {
		return err
	}
	if err := p.remove(ctx, path.Join(id.String(), metaFile)); err != nil {
		return err
	}
	for rel := range there {
		if err := p.remove(ctx, path.Join(id.String(), rel)); err != nil {
			return err
		}
	}
	b.m.swept.Inc()
	b.log.Info("unfinished upload removed", "block", id)
	return nil
}
