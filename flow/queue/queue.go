package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/flow/queue/segment"
)

// Default and least sizes of a queue, bytes.
const (
	DefaultBytes = flow.Bytes(1 << 30)
	LeastBytes   = flow.Bytes(64 << 10)
)

var (
	// ErrClosed is returned once Close was called.
	ErrClosed = errors.New("the queue is closed")
	// ErrTooLarge is wrapped by the refusal of an entry that can never fit.
	ErrTooLarge = errors.New("too large for the queue")
)

// Options says where a queue is and how large it may grow.
type Options struct {
	// Dir holds the queue's files and nothing else; it is made.
	Dir string
	// Name tells it from others of its Family.
	Name string
	// MaxBytes bounds the files' sizes together; 0 means DefaultBytes.
	MaxBytes flow.Bytes
	// Family may be nil.
	Family *Family
	// Logger may be nil.
	Logger *slog.Logger
}

// Entry is one entry on its way to the consumer.
type Entry struct {
	// Data is the consumer's to keep and to change.
	Data []byte
	// Seq numbers the entries of a queue from 0, over restarts.
	Seq uint64
}

// Stats says how a queue does; all counts but Entries and Bytes are since Open.
type Stats struct {
	// Entries and Bytes wait: the entries' number, and the files' size.
	Entries, Bytes uint64
	// DroppedEntries and DroppedBytes went because the queue was full.
	DroppedEntries, DroppedBytes uint64
	// DamagedBytes were torn or damaged, Refused entries met a full disk.
	DamagedBytes, Refused uint64
}

// piece is one segment: the entries from first to the next piece's first.
type piece struct {
	first uint64
	size  int64
}

// Queue is safe for concurrent Puts beside one consumer.
type Queue struct {
	opts    Options
	log     *slog.Logger
	segment int64 // a segment ends once it is this large

	mu     sync.Mutex
	closed bool
	cursor *cursor
	pieces []piece // the last is being written if writer is set
	writer *segment.Writer
	total  int64
	next   uint64 // of the next entry to be put
	read   uint64 // of the next entry to be read
	jumps  uint64 // counts changes of read that Next did not make
	stats  Stats
	full   bool
	over   bool
	wake   chan struct{}

	// reading guards source. It is taken before mu; holders of mu only try it.
	reading sync.Mutex
	source  source
}

// Open opens or makes the queue in o.Dir and cuts off a torn tail.
func Open(o Options) (*Queue, error) {
	if o.Dir == "" {
		return nil, errors.New("queue.Options.Dir is empty; give a directory of its own")
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultBytes
	}
	if o.MaxBytes < LeastBytes {
		return nil, fmt.Errorf("queue of %s: must be at least %s", o.MaxBytes, LeastBytes)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the queue's directory: %w", err)
	}
	c, fresh, err := openCursor(filepath.Join(o.Dir, cursorName))
	if err != nil {
		return nil, err
	}
	q := &Queue{
		opts: o, log: o.Logger.With("queue", o.Name), cursor: c, wake: make(chan struct{}),
		segment: segmentBytes(o.MaxBytes),
	}
	if err := q.load(fresh); err != nil {
		return nil, errors.Join(err, c.file.Close())
	}
	q.show()
	return q, nil
}

// Is says whether dir holds a queue.
func Is(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, cursorName))
	return err == nil && info.Mode().IsRegular()
}

func (q *Queue) path(p piece) string {
	return filepath.Join(q.opts.Dir, fmt.Sprintf("%016x.seg", p.first))
}

// load finds the segments. A new one is begun by the first Put.
func (q *Queue) load(fresh bool) error {
	names, err := filepath.Glob(filepath.Join(q.opts.Dir, "*.seg")) // sorted
	if err != nil {
		return fmt.Errorf("list the queue's segments: %w", err)
	}
	for _, name := range names {
		var p piece
		info, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("list the queue's segments: %w", err)
		}
		if n, err := fmt.Sscanf(filepath.Base(name), "%016x.seg", &p.first); n != 1 || err != nil || q.path(p) != name {
			return fmt.Errorf("the queue's directory holds %s, which is no segment; give the queue a directory of its own", name)
		}
		p.size = info.Size()
		q.pieces = append(q.pieces, p)
		q.total += p.size
	}
	if n := len(q.pieces); n > 0 {
		if err := q.mend(n - 1); err != nil {
			return err
		}
	}
	if fresh && len(q.pieces) > 0 {
		q.cursor.value = q.pieces[0].first
	}
	q.next = max(q.next, q.cursor.value)
	q.read = q.cursor.value
	q.clean()
	q.shrink()
	return nil
}

// mend cuts the last segment behind its last whole entry.
func (q *Queue) mend(last int) error {
	p := &q.pieces[last]
	n, end, size, err := segment.Scan(q.path(*p), nil)
	if err != nil {
		return fmt.Errorf("read the queue's last segment: %w", err)
	}
	q.next = p.first + n
	if end < size {
		q.log.Warn("cutting off a torn tail", "file", q.path(*p), "bytes", size-end)
		q.damage(size - end)
	}
	if n == 0 {
		q.pieces = q.pieces[:last]
		q.total -= p.size
		return os.Remove(q.path(*p))
	}
	if end < size {
		if err := os.Truncate(q.path(*p), end); err != nil {
			return fmt.Errorf("cut off a torn tail: %w", err)
		}
		q.total -= size - end
		p.size = end
	}
	return nil
}

// Put appends an entry of 1 byte to 64 MiB; data is the caller's again after it.
// The error wraps flow.ErrUnavailable where the disk does not take it,
// ErrTooLarge where it can never fit.
func (q *Queue) Put(data []byte) error {
	need := int64(len(data)) + segment.FrameHeader
	if need > int64(q.opts.MaxBytes)/2 || len(data) > segment.MaxFrame {
		return fmt.Errorf("put an entry of %d bytes: %w: it holds %s and takes entries up to half of that and 64 MiB; make the queue larger", len(data), ErrTooLarge, q.opts.MaxBytes)
	}
	if len(data) == 0 {
		return fmt.Errorf("put an entry: %w: it is empty", segment.ErrFrameSize)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	if err := q.append(data, need); err != nil {
		q.refuse(err)
		return fmt.Errorf("put an entry of %d bytes into the queue in %s: %w: %w; make room on the disk", len(data), q.opts.Dir, flow.ErrUnavailable, err)
	}
	q.took(len(data))
	return nil
}

func (q *Queue) append(data []byte, need int64) error {
	if q.writer != nil && q.writer.Size() > segment.Header && q.writer.Size()+need > q.segment {
		q.endSegment()
	}
	for q.total+need+segment.Header > int64(q.opts.MaxBytes) && q.dropOldest() {
	}
	if q.writer == nil {
		if err := q.begin(); err != nil {
			return err
		}
	}
	if err := q.writer.Append(data); err != nil {
		if q.read != q.next || q.cursor.value != q.next {
			return err
		}
		// Everything is delivered: the space of its own old entries helps.
		q.endSegment()
		q.clean()
		if q.begin() != nil || q.writer.Append(data) != nil {
			return err
		}
	}
	q.pieces[len(q.pieces)-1].size += need
	q.total += need
	return nil
}

func (q *Queue) begin() error {
	p := piece{first: q.next, size: segment.Header}
	w, err := segment.Create(q.path(p))
	if err != nil {
		return err
	}
	q.writer, q.pieces, q.total = w, append(q.pieces, p), q.total+p.size
	return nil
}

func (q *Queue) endSegment() {
	if q.writer == nil {
		return
	}
	if err := q.writer.Close(); err != nil {
		q.log.Warn("closing a segment did not work", "err", err)
	}
	q.writer = nil
	if last := len(q.pieces) - 1; q.pieces[last].first == q.next { // nothing was put into it
		q.removePiece(last)
	}
}

// end is the sequence number behind the last entry of a piece.
func (q *Queue) end(i int) uint64 {
	if i+1 < len(q.pieces) {
		return q.pieces[i+1].first
	}
	return q.next
}

func (q *Queue) removePiece(i int) {
	p := q.pieces[i]
	if err := os.Remove(q.path(p)); err != nil && !errors.Is(err, os.ErrNotExist) {
		q.log.Warn("a segment stays behind", "err", err)
	}
	if q.reading.TryLock() { // an open file keeps its space
		if q.source.first == p.first {
			q.source.close()
		}
		q.reading.Unlock()
	}
	q.total -= p.size
	q.pieces = append(q.pieces[:i], q.pieces[i+1:]...)
}

// clean removes the segments that are done with.
func (q *Queue) clean() {
	for len(q.pieces) > 0 && q.end(0) <= q.cursor.value && (len(q.pieces) > 1 || q.writer == nil) {
		q.removePiece(0)
	}
}

// shrink meets a bound that became smaller.
func (q *Queue) shrink() {
	for q.total > int64(q.opts.MaxBytes) && q.dropOldest() {
	}
}

// dropOldest gives the oldest segment up; false if there is none to give.
func (q *Queue) dropOldest() bool {
	if len(q.pieces) == 0 {
		return false
	}
	if len(q.pieces) == 1 {
		q.endSegment()
		if len(q.pieces) == 0 {
			return false
		}
	}
	p, end := q.pieces[0], q.end(0)
	q.removePiece(0)
	if lost := end - min(end, max(p.first, q.cursor.value)); lost > 0 {
		// The share of what is acknowledged already is estimated by entries.
		bytes := uint64(float64(p.size-segment.Header) * float64(lost) / float64(end-p.first))
		bytes -= min(bytes, lost*segment.FrameHeader)
		q.dropped(lost, bytes)
		q.log.Warn("the queue is full and loses its oldest entries", "entries", lost, "bytes", bytes)
	}
	q.moveTo(end)
	return true
}

// moveTo makes the consumer go on at seq, or behind it where it is already.
func (q *Queue) moveTo(seq uint64) {
	if q.cursor.value < seq {
		q.save(seq)
	}
	if q.read < seq {
		q.read = seq
		q.jumps++
	}
}

func (q *Queue) save(seq uint64) {
	q.write(seq, q.cursor.flight)
}

func (q *Queue) write(seq, flight uint64) {
	if err := q.cursor.save(seq, flight); err != nil {
		q.cursor.value, q.cursor.flight = seq, flight
		q.log.Warn("after a crash more would be delivered again", "err", err)
		if f := q.opts.Family; f != nil {
			f.cursorFailures.WithLabelValues(q.opts.Name).Inc()
		}
	}
}

// SetMaxBytes changes the bound, which is LeastBytes at least.
func (q *Queue) SetMaxBytes(n flow.Bytes) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.opts.MaxBytes = max(n, LeastBytes)
	q.segment = segmentBytes(q.opts.MaxBytes)
	if !q.closed {
		q.shrink()
		q.show()
	}
}

func segmentBytes(n flow.Bytes) int64 { return min(int64(n)/8, 16<<20) }

// Stats says how the queue does now.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.Entries, s.Bytes = q.next-q.cursor.value, uint64(q.total)
	return s
}

// Sync makes what was put survive a power cut.
func (q *Queue) Sync() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.writer == nil {
		return nil
	}
	return q.writer.Sync()
}

// Close ends the queue; its entries stay on disk. A waiting Next returns ErrClosed.
func (q *Queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	q.closed = true
	close(q.wake)
	var err error
	if q.writer != nil {
		err = q.writer.Sync()
	}
	q.endSegment()
	return errors.Join(err, q.cursor.close())
}

// Remove closes the queue and deletes its files with all entries in them.
func (q *Queue) Remove() error {
	err := q.Close()
	q.reading.Lock()
	q.source.close()
	q.reading.Unlock()
	q.opts.Family.Forget(q.opts.Name)
	return errors.Join(err, os.RemoveAll(q.opts.Dir))
}
