package bucket

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// cached is a block of the bucket as far as it is here.
type cached struct {
	c     *cache
	id    ulid.ULID
	dir   string
	users int           // under the cache's lock, as are the next two
	idle  *list.Element // in the cache's list while there are no users
	bytes int64

	mu    sync.Mutex // one download at a time
	block *tsdb.Block
	parts []*segment
}

const (
	// maxSegment is the most that a reference to a chunk can address.
	maxSegment  = 1 << 32
	maxSegments = 10_000
	maxIndex    = 64 << 30
)

// open fetches the index and the beginning of each chunk file, once.
func (e *cached) open(ctx context.Context, p *place, m *Meta) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.block != nil {
		return nil
	}
	if err := e.fetchParts(ctx, p, m); err != nil {
		return errors.Join(err, e.abandon())
	}
	block, err := openBlock(e.dir)
	if err != nil {
		return errors.Join(fmt.Errorf("open block %s of the bucket: %w", e.id, err), e.abandon())
	}
	e.block = block
	return nil
}

func openBlock(dir string) (b *tsdb.Block, err error) {
	defer func() {
		if r := recover(); r != nil { // the index reader trusts offsets it has not checked
			err = fmt.Errorf("read index: %v", r)
		}
	}()
	return tsdb.OpenBlock(nil, dir, nil, nil)
}

// abandon removes what a failed opening wrote.
func (e *cached) abandon() error {
	errs := []error{e.closeParts(), os.RemoveAll(e.dir)}
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	e.c.used -= e.bytes
	e.bytes = 0
	return errors.Join(errs...)
}

// discard closes and removes all; nobody uses the block.
func (e *cached) discard() error {
	var errs []error
	if e.block != nil {
		errs = append(errs, e.block.Close())
	}
	return errors.Join(append(errs, e.closeParts(), os.RemoveAll(e.dir))...)
}

func (e *cached) closeParts() error {
	var errs []error
	for _, s := range e.parts {
		errs = append(errs, s.f.Close())
	}
	e.parts = nil
	return errors.Join(errs...)
}

func (e *cached) fetchParts(ctx context.Context, p *place, m *Meta) error {
	if err := os.MkdirAll(filepath.Join(e.dir, chunksDir), 0o777); err != nil {
		return err
	}
	sizes, hashes, err := e.sizes(ctx, p, m)
	if err != nil {
		return err
	}
	if err := e.fetchIndex(ctx, p, sizes[indexFile], hashes[indexFile]); err != nil {
		return err
	}
	for _, rel := range slices.Sorted(maps.Keys(sizes)) {
		if !strings.HasPrefix(rel, chunksDir) {
			continue
		}
		s, err := newSegment(e, rel, sizes[rel])
		if err != nil {
			return err
		}
		e.parts = append(e.parts, s)
		if err := s.fetch(ctx, p, []int64{0}); err != nil {
			return err
		}
	}
	text, err := json.Marshal(m.BlockMeta)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(e.dir, metaFile), text, 0o666)
}

// sizes are those that meta.json gives, or where it gives none, those of the
// listing.
func (e *cached) sizes(ctx context.Context, p *place, m *Meta) (sizes map[string]int64, hashes map[string]string, err error) {
	sizes, hashes = map[string]int64{}, map[string]string{}
	for _, f := range m.Thanos.Files {
		sizes[f.RelPath] = f.SizeBytes
		if f.Hash != nil && f.Hash.Func == "SHA256" {
			hashes[f.RelPath] = f.Hash.Value
		}
	}
	if sizes[indexFile] == 0 {
		found, err := e.c.b.found(ctx, p, e.id)
		if err != nil {
			return nil, nil, err
		}
		sizes = found
	}
	n := 0
	for rel, size := range sizes {
		chunk := strings.HasPrefix(rel, chunksDir)
		if chunk {
			n++
		}
		if chunk && (size < chunks.SegmentHeaderSize || size > maxSegment || path.Dir(rel)+"/" != chunksDir) || rel == indexFile && size > maxIndex || n > maxSegments {
			return nil, nil, fmt.Errorf("read block %s of the bucket: file %q with %d bytes cannot be", e.id, rel, size)
		}
	}
	if sizes[indexFile] <= 0 {
		return nil, nil, fmt.Errorf("read block %s of the bucket: index: %w", e.id, errAbsent)
	}
	return sizes, hashes, nil
}

func (e *cached) fetchIndex(ctx context.Context, p *place, size int64, want string) (err error) {
	if err := e.c.reserve(e, size); err != nil {
		return err
	}
	r, err := p.get(ctx, path.Join(e.id.String(), indexFile), 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.Create(filepath.Join(e.dir, indexFile))
	if err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(r, size+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("fetch the index of %s: %w", e.id, err)
	}
	e.c.b.m.fetched.WithLabelValues("index").Add(float64(n))
	if n != size || want != "" && want != hex.EncodeToString(sum.Sum(nil)) {
		return fmt.Errorf("fetch the index of %s: %d bytes of %d, or another content: %w", e.id, n, size, errSize)
	}
	return nil
}
