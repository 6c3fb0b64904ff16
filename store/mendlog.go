package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"

	"github.com/atoll-mesh/atoll/flow"
)

// mendLog makes a log readable from end to end: every segment is there, and
// each one is cut before its first damaged record. It returns what was lost.
func (s *Store) mendLog(dir string) (lost []string, err error) {
	if err := undoRepair(dir); err != nil {
		return nil, err
	}
	checkpoint, covered, err := wlog.LastCheckpoint(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil // no log yet
	case errors.Is(err, record.ErrNotFound):
		covered = -1
	case err != nil:
		return nil, err
	default:
		if lost, err = s.mendSegments(checkpoint, 0, -1); err != nil {
			return nil, err
		}
	}
	first := covered + 1
	if filepath.Base(dir) == wlog.WblDirName {
		first = -1 // it is shortened from the front without a checkpoint
	}
	more, err := s.mendSegments(dir, first, covered)
	return append(lost, more...), err
}

// undoRepair takes back a repair by the TSDB that was interrupted: it moves the
// segment aside and writes its good part anew, for which a full disk has no room.
func undoRepair(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, "*.repair"))
	if err != nil {
		return err
	}
	for _, f := range left {
		if err := os.Rename(f, strings.TrimSuffix(f, ".repair")); err != nil {
			return err
		}
	}
	return nil
}

// mendSegments mends the segments of a log. The TSDB begins to read at number
// first (-1: wherever the log begins), fails if that or any later one is missing,
// and never reads those up to number covered.
func (s *Store) mendSegments(dir string, first, covered int) (lost []string, err error) {
	segments, err := numbered(dir)
	if err != nil {
		return nil, err
	}
	if len(segments) == 0 {
		if covered < 0 {
			return nil, nil
		}
		// Else the TSDB would begin anew at 0, and not read that next time.
		return nil, fillGap(dir, first, first+1)
	}
	next := segments[0]
	if first >= 0 {
		next = min(next, first)
	}
	for _, n := range append(segments, max(covered, segments[len(segments)-1])+1) {
		if n > next {
			if err := fillGap(dir, next, n); err != nil {
				return nil, err
			}
			s.logger.Error("log segments are missing", "dir", dir, "first", next, "last", n-1)
			lost = append(lost, fmt.Sprintf("log segments %d to %d are missing in %s", next, n-1, dir))
		}
		next = n + 1
	}
	for _, n := range segments {
		if n <= covered {
			continue
		}
		text, err := s.mendSegment(wlog.SegmentName(dir, n))
		if err != nil {
			return nil, err
		}
		if text != "" {
			lost = append(lost, text)
		}
	}
	return lost, nil
}

// fillGap puts empty segments where the numbering has a hole; the TSDB does not
// open a log with one.
func fillGap(dir string, from, to int) error {
	for n := from; n < to; n++ {
		seg, err := wlog.CreateSegment(dir, n)
		if err != nil {
			return err
		}
		if err := seg.Close(); err != nil {
			return err
		}
	}
	return nil
}

// mendSegment cuts a segment behind its last good record. That is safe in place:
// after an opening the TSDB writes to a new segment only. It needs no space.
func (s *Store) mendSegment(name string) (lost string, err error) {
	good, bad, err := scanSegment(name)
	if err != nil || bad == nil {
		return "", err
	}
	if environmental(bad) {
		return "", bad
	}
	st, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	if err := os.Truncate(name, good); err != nil {
		return "", fmt.Errorf("cut damaged log segment: %w", err)
	}
	cut := max(0, st.Size()-good) // the reader takes a short page for one ending in zeros
	if !s.opened {
		s.m.lostBytes.Add(float64(cut))
	}
	s.logger.Error("damaged log segment cut", "segment", name, "offset", good, "lost_bytes", cut, "err", bad)
	return fmt.Sprintf("%s was damaged at byte %d: the %s behind it is lost (%v)", name, good, flow.Bytes(cut).Short(), errors.Unwrap(bad)), nil
}

// scanSegment reads a segment through. good is where its last good record ends;
// bad is nil if the whole of it can be read.
func scanSegment(name string) (good int64, bad, err error) {
	seg, err := wlog.OpenReadSegment(name)
	if err != nil {
		return 0, nil, fmt.Errorf("read log segment %s: %w", name, err)
	}
	buf := wlog.NewSegmentBufReader(seg)
	defer buf.Close()
	r := wlog.NewReader(buf)
	for r.Next() {
		good = r.Offset()
	}
	return good, r.Err(), nil
}

// mendHeadChunks deletes head chunk files from the first on that has no valid
// header or follows a gap. Damage behind the header the TSDB finds itself.
func (s *Store) mendHeadChunks(dir string) error {
	files, err := numbered(dir)
	if err != nil || len(files) == 0 {
		return err
	}
	for i, n := range files {
		name := filepath.Join(dir, fmt.Sprintf("%06d", n))
		bad := headChunkHeader(name)
		if i > 0 && n != files[i-1]+1 {
			bad = fmt.Errorf("follows %06d, some are missing", files[i-1])
		}
		if bad == nil {
			continue
		}
		for _, later := range files[i:] {
			if err := os.Remove(filepath.Join(dir, fmt.Sprintf("%06d", later))); err != nil {
				return fmt.Errorf("delete damaged head chunk file: %w", err)
			}
		}
		s.headRepaired(fmt.Sprintf("%s: %v; it and %d later ones are rebuilt from the log", name, bad, len(files)-i-1))
		return nil
	}
	return nil
}

func headChunkHeader(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [chunks.HeadChunkFileHeaderSize]byte
	if _, err := io.ReadFull(f, b[:]); err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	if magic := binary.BigEndian.Uint32(b[:]); magic != chunks.MagicHeadChunks {
		return fmt.Errorf("header: magic number %x, must be %x", magic, chunks.MagicHeadChunks)
	}
	if v := b[chunks.MagicChunksSize]; v != 1 {
		return fmt.Errorf("header: version %d, must be 1", v)
	}
	return nil
}

func (s *Store) headRepaired(text string) {
	s.m.headRepairs.Inc()
	s.logger.Warn("damaged head chunk file", "found", text)
	s.warn.headRepaired.Set("%s", text)
}

// number reads a file name made of digits only.
func number(name string) (int, bool) {
	n, err := strconv.ParseUint(name, 10, 31)
	return int(n), err == nil
}

// environmental tells trouble of this process from damage of a file, which would
// otherwise be thrown away.
func environmental(err error) bool {
	for _, e := range []error{syscall.EACCES, syscall.EPERM, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
