package bucket

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"golang.org/x/sync/errgroup"
)

const (
	// pageSize is what is fetched at least; some hundred chunks of one metric lie
	// side by side.
	pageSize = 64 << 10
	// maxRun is one request's worth of neighbouring pages, and gap how many needless
	// pages are fetched to save one.
	maxRun = 64
	gap    = 2
	// maxChunk is far above the largest chunk, one of native histograms.
	maxChunk = 64 << 20
	parallel = 8
)

// segment is a chunk file of which some pages are here.
type segment struct {
	e    *cached
	rel  string
	size int64
	f    *os.File
	have []bool // by page; under the block's lock
}

func newSegment(e *cached, rel string, size int64) (*segment, error) {
	f, err := os.Create(filepath.Join(e.dir, filepath.FromSlash(rel)))
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(size); err != nil {
		_ = f.Close() // the reason that matters is err
		return nil, err
	}
	return &segment{e: e, rel: rel, size: size, f: f, have: make([]bool, (size+pageSize-1)/pageSize)}, nil
}

// fetch gets pages, which are sorted, and some beside them.
func (s *segment) fetch(ctx context.Context, p *place, pages []int64) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for len(pages) > 0 {
		n := 1
		for n < len(pages) && pages[n]-pages[n-1] <= gap && pages[n]-pages[0] < maxRun {
			n++
		}
		first, last := pages[0], pages[n-1]
		pages = pages[n:]
		g.Go(func() error { return s.fetchRun(ctx, p, first*pageSize, min((last+1)*pageSize, s.size)) })
		for i := first; i <= last; i++ {
			s.have[i] = true // taken back by the caller's failure
		}
	}
	return g.Wait()
}

func (s *segment) fetchRun(ctx context.Context, p *place, from, to int64) error {
	if err := s.e.c.reserve(s.e, to-from); err != nil {
		return err
	}
	r, err := p.get(ctx, path.Join(s.e.id.String(), s.rel), from, to-from)
	if err != nil {
		return err
	}
	defer r.Close()
	b := make([]byte, to-from)
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("fetch bytes %d to %d of %s of block %s: %w", from, to, s.rel, s.e.id, err)
	}
	s.e.c.b.m.fetched.WithLabelValues("chunks").Add(float64(len(b)))
	_, err = s.f.WriteAt(b, from)
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// load fetches chunks by their offsets and compares their checksums. Where one is
// wrong it is fetched once more.
func (s *segment) load(ctx context.Context, p *place, offsets []int64) error {
	fresh := map[int64]bool{}
	drop := func() {
		for page := range fresh {
			s.have[page] = false
		}
	}
	for again := false; ; again = true {
		if err := s.loadPages(ctx, p, offsets, fresh); err != nil {
			drop()
			return err
		}
		bad := s.verify(offsets, fresh)
		if bad == nil {
			return nil
		}
		drop()
		if again {
			return bad
		}
		clear(fresh)
	}
}

// loadPages fetches first where chunks begin, then, knowing their lengths, what
// of them lies on other pages.
func (s *segment) loadPages(ctx context.Context, p *place, offsets []int64, fresh map[int64]bool) error {
	for {
		missing := map[int64]bool{}
		for _, at := range offsets {
			end, known, err := s.chunkEnd(at)
			if err != nil {
				return err
			}
			if !known {
				end = min(at+chunks.MaxChunkLengthFieldSize, s.size)
			}
			for page := at / pageSize; page <= (end-1)/pageSize; page++ {
				if !s.have[page] {
					missing[page] = true
				}
			}
		}
		if len(missing) == 0 {
			return nil
		}
		pages := make([]int64, 0, len(missing))
		for page := range missing {
			pages = append(pages, page)
		}
		slices.Sort(pages)
		before := slices.Clone(s.have)
		err := s.fetch(ctx, p, pages)
		for page, have := range s.have {
			if have && !before[page] {
				fresh[int64(page)] = true
			}
		}
		if err != nil {
			return err
		}
	}
}

// chunkEnd reads a chunk's length, where its page is here.
func (s *segment) chunkEnd(at int64) (end int64, known bool, err error) {
	if at < chunks.SegmentHeaderSize || at+chunks.MaxChunkLengthFieldSize > s.size {
		return 0, false, fmt.Errorf("read chunk at %d of %s of block %s: the file has %d bytes", at, s.rel, s.e.id, s.size)
	}
	if !s.have[at/pageSize] || !s.have[(at+chunks.MaxChunkLengthFieldSize-1)/pageSize] {
		return 0, false, nil
	}
	var head [chunks.MaxChunkLengthFieldSize]byte
	if _, err := s.f.ReadAt(head[:], at); err != nil {
		return 0, false, err
	}
	end, err = endOf(head[:], at, s.size)
	if err != nil {
		return 0, false, fmt.Errorf("read chunk at %d of %s of block %s: %w", at, s.rel, s.e.id, err)
	}
	return end, true, nil
}

// endOf is where the chunk ends that begins at an offset with these bytes.
func endOf(head []byte, at, size int64) (int64, error) {
	n, w := binary.Uvarint(head)
	if w <= 0 || n > maxChunk {
		return 0, fmt.Errorf("its length of %d cannot be", n)
	}
	end := at + int64(w) + chunks.ChunkEncodingSize + int64(n) + crc32.Size
	if end > size {
		return 0, fmt.Errorf("it ends at %d of %d", end, size)
	}
	return end, nil
}

// verify compares the checksums of the chunks that touch fresh pages.
func (s *segment) verify(offsets []int64, fresh map[int64]bool) error {
	var b []byte
	for _, at := range offsets {
		end, known, err := s.chunkEnd(at)
		if err != nil || !known {
			return fmt.Errorf("read chunk at %d of %s of block %s: %w", at, s.rel, s.e.id, err)
		}
		touched := false
		for page := at / pageSize; page <= (end-1)/pageSize; page++ {
			touched = touched || fresh[page]
		}
		if !touched {
			continue
		}
		b = slices.Grow(b[:0], int(end-at))[:end-at]
		if _, err := s.f.ReadAt(b, at); err != nil {
			return err
		}
		_, w := binary.Uvarint(b)
		body, sum := b[w:len(b)-crc32.Size], binary.BigEndian.Uint32(b[len(b)-crc32.Size:])
		if crc32.Checksum(body, castagnoli) != sum {
			return fmt.Errorf("read chunk at %d of %s of block %s: its checksum is wrong", at, s.rel, s.e.id)
		}
	}
	return nil
}
