package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/flow/queue/segment"
	"github.com/atoll-mesh/atoll/health"
)

const (
	// DefaultBytes bounds the journal where nothing is said.
	DefaultBytes = flow.Bytes(4 << 30)
	leastBytes   = flow.Bytes(64 << 10)
)

var (
	// ErrFull is wrapped by Append where the journal has reached its bound.
	ErrFull = errors.New("the journal is full")
	// ErrClosed is returned once Close was called.
	ErrClosed = errors.New("the journal is closed")
)

// Options says where the journal is.
type Options struct {
	// Dir holds the journal's files and nothing else; it is made.
	Dir string
	// MaxBytes bounds the segments together, without the checkpoint; 0 means DefaultBytes.
	MaxBytes   flow.Bytes
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *health.List
}

type piece struct {
	seq  uint64
	size int64
}

// Journal is safe for concurrent use.
type Journal struct {
	o    Options
	log  *slog.Logger
	m    *metrics
	lock *os.File
	// checkpointing lets one checkpoint be written at a time.
	checkpointing sync.Mutex

	mu     sync.Mutex
	closed bool
	pieces []piece // the last is being written if writer is set
	next   uint64  // of the next segment
	writer *segment.Writer
	total  int64
	// missed counts the frames since the last one that was written.
	missed uint64
}

// Open opens or makes the journal in o.Dir and cuts off a torn tail.
func Open(o Options) (*Journal, error) {
	if o.Dir == "" {
		return nil, errors.New("journal.Options.Dir is empty; give a directory of its own")
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultBytes
	}
	if o.MaxBytes < leastBytes {
		return nil, fmt.Errorf("journal of %s: must be at least %s", o.MaxBytes, leastBytes)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the journal's directory: %w", err)
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{o: o, log: o.Logger, lock: lock}
	if j.m, err = newMetrics(o.Registerer, o.Health); err == nil {
		err = j.load()
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	j.m.bytes.Set(float64(j.total))
	return j, nil
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open the journal's lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the journal in %s: %w; another process uses it: stop it, or give this one another directory", dir, err), f.Close())
	}
	return f, nil
}

func (j *Journal) path(seq uint64) string {
	return filepath.Join(j.o.Dir, fmt.Sprintf("%016x.journal", seq))
}

// load finds the segments. Appending begins a new one: what is there stays as it is.
func (j *Journal) load() error {
	names, err := filepath.Glob(filepath.Join(j.o.Dir, "*.journal")) // sorted
	if err != nil {
		return fmt.Errorf("list the journal: %w", err)
	}
	for i, name := range names {
		var seq uint64
		if n, err := fmt.Sscanf(filepath.Base(name), "%016x.journal", &seq); n != 1 || err != nil || j.path(seq) != name {
			return fmt.Errorf("the journal's directory holds %s, which is no part of it; give the journal a directory of its own", name)
		}
		info, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("list the journal: %w", err)
		}
		size := info.Size()
		if i == len(names)-1 {
			if size, err = j.mend(name); err != nil {
				return err
			}
		}
		j.pieces = append(j.pieces, piece{seq, size})
		j.total += size
		j.next = seq + 1
	}
	// A checkpoint may stand without any segment behind it.
	if seq, err := j.checkpointSeq(); err == nil {
		j.next = max(j.next, seq)
	}
	return nil
}

func (j *Journal) mend(name string) (size int64, err error) {
	_, end, size, err := segment.Scan(name, nil)
	if err != nil {
		return 0, fmt.Errorf("read the journal's last segment: %w", err)
	}
	if end == size {
		return size, nil
	}
	j.log.Warn("cutting off a torn tail", "file", name, "bytes", size-end)
	j.m.damaged.Add(float64(size - end))
	if err := os.Truncate(name, end); err != nil {
		return 0, fmt.Errorf("cut off a torn tail: %w", err)
	}
	return end, nil
}

// Append writes one frame of 1 byte to 64 MiB; it is the caller's again after it.
// An error says that the frame would not survive a crash: aggregation goes on. It
// wraps ErrFull where the bound is reached, so that a checkpoint is due.
func (j *Journal) Append(frame []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return ErrClosed
	}
	need := int64(len(frame)) + segment.FrameHeader
	err := j.append(frame, need)
	if err == nil {
		j.pieces[len(j.pieces)-1].size += need
		j.total += need
		j.m.frames.Inc()
		j.m.bytes.Set(float64(j.total))
		if j.missed > 0 {
			j.log.Info("the journal is written again", "missed_frames", j.missed)
			j.missed = 0
		}
		j.m.trouble.Clear(journalTrouble)
		return nil
	}
	if errors.Is(err, segment.ErrFrameSize) {
		return fmt.Errorf("append to the journal: %w", err)
	}
	if j.missed++; j.missed == 1 {
		j.log.Error("the journal is not written", "err", err)
	}
	j.m.missed.Inc()
	j.m.trouble.Set(journalTrouble, "%d frames were not written: %v; they count, and would be lost in a crash", j.missed, err)
	return fmt.Errorf("append %d bytes to the journal in %s: %w; make room on the disk", len(frame), j.o.Dir, err)
}

func (j *Journal) append(frame []byte, need int64) error {
	if j.total+need > int64(j.o.MaxBytes) {
		return fmt.Errorf("%w: it holds %s of %s since the last checkpoint", ErrFull, flow.Bytes(j.total).Short(), j.o.MaxBytes)
	}
	if j.writer == nil {
		if err := j.begin(); err != nil {
			return err
		}
	}
	return j.writer.Append(frame)
}

func (j *Journal) begin() error {
	w, err := segment.Create(j.path(j.next))
	if err != nil {
		return err
	}
	j.writer = w
	j.pieces = append(j.pieces, piece{j.next, segment.Header})
	j.total += segment.Header
	j.next++
	return nil
}

// Rotate ends the present segment. Frames appended from now on are in segments
// from seq on, those before in earlier ones. It writes nothing, so that a full
// disk does not stop it.
func (j *Journal) Rotate() (seq uint64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return 0, ErrClosed
	}
	j.end()
	return j.next, nil
}

func (j *Journal) end() {
	if j.writer == nil {
		return
	}
	if err := j.writer.Close(); err != nil {
		j.log.Warn("closing a segment of the journal did not work", "err", err)
	}
	j.writer = nil
}

// Size is how many bytes the segments have, and the bound: a checkpoint is due
// long before they meet.
func (j *Journal) Size() (bytes, bound flow.Bytes) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return flow.Bytes(j.total), j.o.MaxBytes
}

// Replay calls f with each frame of the segments from seq on, in order; the frame
// is f's until it returns. f's error ends it and is returned. Damage does not: what
// is behind it in its segment is skipped and counted. Frames appended meanwhile
// are not seen.
func (j *Journal) Replay(from uint64, f func(frame []byte) error) error {
	j.mu.Lock()
	j.end()
	all := append([]piece(nil), j.pieces...)
	j.mu.Unlock()
	for _, p := range all {
		if p.seq < from {
			continue
		}
		frames, end, size, err := segment.Scan(j.path(p.seq), f)
		if err != nil {
			return fmt.Errorf("replay the journal's segment %d from byte %d: %w", p.seq, end, err)
		}
		if end < size {
			j.log.Error("skipping the unreadable rest of a segment of the journal", "file", j.path(p.seq), "frames_read", frames, "bytes", size-end)
			j.m.damaged.Add(float64(size - end))
		}
	}
	return nil
}

// Close ends the journal; a checkpoint that is being written is waited for.
func (j *Journal) Close() error {
	j.checkpointing.Lock()
	defer j.checkpointing.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil
	}
	j.closed = true
	var err error
	if j.writer != nil {
		err = j.writer.Sync()
	}
	j.end()
	return errors.Join(err, j.lock.Close())
}
