package bucket

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/oklog/ulid/v2"

	"github.com/atoll-mesh/atoll/flow"
)

// cache holds blocks on disk as the TSDB reads them: the whole index, and chunk
// files of full length in which only the pages are written that a query needed;
// the rest are holes that take no space. The TSDB maps the files into memory, so
// that the system's page cache is the part of the cache in memory. What no query
// holds is dropped when room is needed, the block that was used longest ago first.
type cache struct {
	dir string
	b   *Bucket

	mu     sync.Mutex
	used   int64
	blocks map[ulid.ULID]*cached
	idle   *list.List // of *cached with no users, the longest unused in front
	closed bool
}

func newCache(dir string, b *Bucket) *cache {
	return &cache{dir: dir, b: b, blocks: map[ulid.ULID]*cached{}, idle: list.New()}
}

// errCacheFull is a query that needs more of the bucket at once than may be held.
var errCacheFull = errors.New("the query needs more of the bucket at once than store.bucket.cache holds; ask for less time or fewer series, have Thanos Compact merge the blocks, or raise it")

// clear removes what an earlier process left.
func (c *cache) clear() error {
	if err := os.RemoveAll(c.dir); err != nil {
		return err
	}
	return os.MkdirAll(c.dir, 0o777)
}

// close drops everything. Blocks that are still read go when their readers do.
func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for c.idle.Len() > 0 {
		c.evict()
	}
}

// acquire opens a block and keeps it until release.
func (c *cache) acquire(ctx context.Context, p *place, m *Meta) (*cached, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, errors.New("read from the bucket: it is closed")
	}
	e := c.blocks[m.ULID]
	if e == nil {
		e = &cached{c: c, id: m.ULID, dir: filepath.Join(c.dir, m.ULID.String())}
		c.blocks[m.ULID] = e
	}
	if e.idle != nil {
		c.idle.Remove(e.idle)
		e.idle = nil
	}
	e.users++
	c.mu.Unlock()
	if err := e.open(ctx, p, m); err != nil {
		c.release(e)
		return nil, err
	}
	return e, nil
}

func (c *cache) release(e *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.users--; e.users > 0 {
		return
	}
	e.idle = c.idle.PushBack(e)
	if c.closed || e.block == nil {
		c.remove(e)
	}
}

// reserve makes room for n more bytes of a block.
func (c *cache) reserve(e *cached, n int64) error {
	if c.b.o.Pressed() {
		return fmt.Errorf("read from the bucket: the disk is too full to hold %s of block %s", flow.Bytes(n).Short(), e.id)
	}
	limit := int64(c.b.cur.Load().cfg.Cache)
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.used+n > limit {
		if c.idle.Len() == 0 {
			return fmt.Errorf("read block %s from the bucket: %w", e.id, errCacheFull)
		}
		c.evict()
		c.b.m.evicted.Inc()
	}
	c.used += n
	e.bytes += n
	c.b.m.cacheBytes.Set(float64(c.used))
	return nil
}

func (c *cache) evict() {
	if e, ok := c.idle.Front().Value.(*cached); ok {
		c.remove(e)
	}
}

// remove forgets a block without users; the caller holds the lock.
func (c *cache) remove(e *cached) {
	c.idle.Remove(e.idle)
	delete(c.blocks, e.id)
	c.used -= e.bytes
	c.b.m.cacheBytes.Set(float64(c.used))
	if err := e.discard(); err != nil {
		c.b.log.Warn("removing a block from the cache", "block", e.id, "err", err)
	}
}
