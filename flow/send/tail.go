package send

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// errLost means that WAL segments were deleted before they were read.
var errLost = errors.New("the WAL was truncated under the reader")

// tail reads WAL records one by one, also while they are being written.
type tail struct {
	dir     string
	logger  *slog.Logger
	metrics *wlog.LiveReaderMetrics

	number  int
	segment *wlog.Segment
	reader  *wlog.LiveReader
	decoder record.Decoder
	// last is true once a later segment was seen: this one grows no more.
	last bool
}

// openTail starts at the beginning of the given segment. A segment that is not
// there yet is not an error: next waits for it.
func openTail(dir string, segment int, logger *slog.Logger, metrics *wlog.LiveReaderMetrics) (*tail, error) {
	t := &tail{dir: dir, logger: logger, metrics: metrics, number: segment}
	return t, t.open()
}

func (t *tail) open() error {
	s, err := wlog.OpenReadSegment(wlog.SegmentName(t.dir, t.number))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open WAL segment %d: %w", t.number, err)
	}
	t.segment = s
	t.reader = wlog.NewLiveReader(t.logger, t.metrics, s)
	// One symbol table a segment, so that it does not grow for ever.
	t.decoder = record.NewDecoder(labels.NewSymbolTable(), t.logger)
	t.last = false
	return nil
}

func (t *tail) close() {
	if t.segment != nil {
		_ = t.segment.Close()
		t.segment, t.reader = nil, nil
	}
}

// next returns the next record and the offset of its end; ok is false at the
// present end of the WAL. The record is valid until the next call.
func (t *tail) next() (rec []byte, end int64, ok bool, err error) {
	for {
		if t.segment == nil {
			if err := t.open(); err != nil {
				return nil, 0, false, err
			}
			if t.segment == nil {
				return nil, 0, false, t.checkMissing()
			}
		}
		if t.reader.Next() {
			return t.reader.Record(), t.reader.Offset(), true, nil
		}
		if rerr := t.reader.Err(); rerr != nil && !errors.Is(rerr, io.EOF) {
			if !t.last {
				later, err := t.hasLater()
				if err != nil {
					return nil, 0, false, err
				}
				if !later {
					return nil, 0, false, fmt.Errorf("read WAL segment %d: %w", t.number, rerr)
				}
			}
			t.logger.Warn("skipping the unreadable rest of a WAL segment", "segment", t.number, "err", rerr)
			t.last = true
		}
		if !t.last {
			// A segment is complete once its successor exists: then what was
			// written between our EOF and that moment is read before moving on.
			later, err := t.hasLater()
			if err != nil || !later {
				return nil, 0, false, err
			}
			t.last = true
			continue
		}
		t.close()
		t.number++
	}
}

func (t *tail) hasLater() (bool, error) {
	_, err := os.Stat(wlog.SegmentName(t.dir, t.number+1))
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("look for WAL segment %d: %w", t.number+1, err)
	}
	_, last, err := wlog.Segments(t.dir)
	if err != nil {
		return false, fmt.Errorf("list WAL segments in %s: %w", t.dir, err)
	}
	return last > t.number, nil
}

// checkMissing tells a segment that is still to come from one that is gone.
func (t *tail) checkMissing() error {
	first, last, err := wlog.Segments(t.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list WAL segments in %s: %w", t.dir, err)
	}
	if first >= 0 && (t.number < first || t.number > last+1) {
		return fmt.Errorf("segment %d of %d to %d: %w", t.number, first, last, errLost)
	}
	return nil
}

// doomedUpTo returns the highest segment that the TSDB's next truncation would
// delete, or -1. It mirrors tsdb.(*Head).truncateWAL: the lower two thirds go.
func doomedUpTo(dir string) int {
	first, last, err := wlog.Segments(dir)
	if err != nil || last < 0 {
		return -1
	}
	last--
	if bound := first + (last-first)*2/3; bound > first {
		return bound
	}
	return -1
}

// readCheckpoint calls fn with every record of the newest checkpoint, and
// returns the checkpoint's number, or -1 if there is none.
func readCheckpoint(dir string, logger *slog.Logger, metrics *wlog.LiveReaderMetrics, fn func(dec *record.Decoder, rec []byte)) (int, error) {
	path, number, err := wlog.LastCheckpoint(dir)
	if errors.Is(err, record.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("find the WAL checkpoint in %s: %w", dir, err)
	}
	first, last, err := wlog.Segments(path)
	if err != nil {
		return -1, fmt.Errorf("list the WAL checkpoint %s: %w", path, err)
	}
	for i := max(first, 0); i <= last; i++ {
		if err := readSegment(path, i, logger, metrics, func(dec *record.Decoder, rec []byte, _ int64) { fn(dec, rec) }); err != nil {
			return -1, err
		}
	}
	return number, nil
}

// readSegment calls fn with every record of a segment that grows no more.
func readSegment(dir string, number int, logger *slog.Logger, metrics *wlog.LiveReaderMetrics, fn func(dec *record.Decoder, rec []byte, end int64)) error {
	s, err := wlog.OpenReadSegment(wlog.SegmentName(dir, number))
	if err != nil {
		return fmt.Errorf("open WAL segment %d in %s: %w", number, dir, err)
	}
	defer s.Close()
	r := wlog.NewLiveReader(logger, metrics, s)
	dec := record.NewDecoder(labels.NewSymbolTable(), logger)
	for r.Next() {
		fn(&dec, r.Record(), r.Offset())
	}
	if err := r.Err(); err != nil && !errors.Is(err, io.EOF) {
		logger.Warn("ignoring the unreadable rest of a WAL segment", "dir", dir, "segment", number, "err", err)
	}
	return nil
}

// walEnd returns the place behind everything that is in the WAL now.
func walEnd(dir string) (position, error) {
	_, last, err := wlog.Segments(dir)
	if errors.Is(err, os.ErrNotExist) || (err == nil && last < 0) {
		return position{}, nil
	}
	if err != nil {
		return position{}, fmt.Errorf("list WAL segments in %s: %w", dir, err)
	}
	info, err := os.Stat(wlog.SegmentName(dir, last))
	if err != nil {
		return position{}, fmt.Errorf("measure WAL segment %d: %w", last, err)
	}
	return position{Segment: last, Offset: info.Size(), Index: wholeRecord}, nil
}

// walDir is where a TSDB in dir keeps its WAL.
func walDir(dir string) string { return filepath.Join(dir, "wal") }

// String is for log lines.
func (p position) String() string {
	if p.Index == math.MaxInt32 {
		return strconv.Itoa(p.Segment) + "/" + strconv.FormatInt(p.Offset, 10)
	}
	return strconv.Itoa(p.Segment) + "/" + strconv.FormatInt(p.Offset, 10) + "#" + strconv.Itoa(p.Index)
}
