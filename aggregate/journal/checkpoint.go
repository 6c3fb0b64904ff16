package journal

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/atoll-mesh/atoll/flow/durable"
	"github.com/atoll-mesh/atoll/flow/queue/segment"
)

const (
	checkpointName  = "checkpoint"
	checkpointMagic = "ATLCKP01"
	// A checkpoint is a head (magic, seq), the content, and a foot (content's
	// length, CRC-32C of head and content).
	headBytes = len(checkpointMagic) + 8
	footBytes = 8 + 4
)

// errNoCheckpoint says that none was ever written.
var errNoCheckpoint = errors.New("there is no checkpoint")

func (j *Journal) checkpointPath() string { return filepath.Join(j.o.Dir, checkpointName) }

func newSum() hash.Hash32 { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }

// WriteCheckpoint makes what write writes the checkpoint, which covers every
// frame before segment seq (see Rotate), and removes those segments. Where it
// fails the old checkpoint and all segments are as they were.
func (j *Journal) WriteCheckpoint(seq uint64, write func(io.Writer) error) error {
	j.checkpointing.Lock()
	defer j.checkpointing.Unlock()
	begin := time.Now()
	size, err := j.replace(seq, write)
	if err != nil {
		j.m.failed.Inc()
		j.m.trouble.Set(checkpointTrouble, "no checkpoint was written at %s: %v; the journal grows meanwhile", begin.Format(time.RFC3339), err)
		j.log.Error("no checkpoint was written", "err", err)
		return fmt.Errorf("write a checkpoint to %s: %w; make room on the disk", j.o.Dir, err)
	}
	j.m.trouble.Clear(checkpointTrouble)
	j.m.checkpoints.Inc()
	j.m.checkpointBytes.Set(float64(size))
	j.m.checkpointTime.Set(float64(begin.UnixMilli()) / 1000)
	j.m.seconds.Observe(time.Since(begin).Seconds())
	j.removeBefore(seq)
	return nil
}

func (j *Journal) replace(seq uint64, write func(io.Writer) error) (size int64, err error) {
	j.mu.Lock()
	closed, next := j.closed, j.next
	j.mu.Unlock()
	if closed {
		return 0, ErrClosed
	}
	if seq > next {
		return 0, fmt.Errorf("BUG: segment %d is not begun; the next is %d", seq, next)
	}
	tmp := j.checkpointPath() + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return 0, err
	}
	if size, err = writeTo(f, seq, write); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, j.checkpointPath()); err != nil {
		return 0, errors.Join(err, os.Remove(tmp))
	}
	return size, durable.SyncDir(j.o.Dir)
}

func writeTo(f io.Writer, seq uint64, write func(io.Writer) error) (int64, error) {
	b := bufio.NewWriterSize(f, 256<<10)
	sum := newSum()
	w := &counter{w: io.MultiWriter(b, sum)}
	head := binary.LittleEndian.AppendUint64([]byte(checkpointMagic), seq)
	if _, err := w.Write(head); err != nil {
		return 0, err
	}
	if err := write(w); err != nil {
		return 0, err
	}
	foot := binary.LittleEndian.AppendUint64(nil, uint64(w.n-int64(headBytes)))
	foot = binary.LittleEndian.AppendUint32(foot, sum.Sum32())
	if _, err := b.Write(foot); err != nil {
		return 0, err
	}
	return w.n + int64(footBytes), b.Flush()
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

func (j *Journal) removeBefore(seq uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.pieces) > 0 && j.pieces[0].seq < seq && (len(j.pieces) > 1 || j.writer == nil) {
		p := j.pieces[0]
		if err := os.Remove(j.path(p.seq)); err != nil && !errors.Is(err, os.ErrNotExist) {
			j.log.Warn("a segment of the journal stays behind", "err", err)
			break
		}
		j.pieces = j.pieces[1:]
		j.total -= p.size
	}
	j.m.bytes.Set(float64(j.total))
}

// LoadCheckpoint calls read with the content of the newest checkpoint, once it is
// known to be whole, and returns the segment from which to Replay. Without one it
// returns 0 and does not call read. A damaged one is set aside, with a warning,
// and is as none: what the journal still has is replayed. The error is the disk's
// or read's.
func (j *Journal) LoadCheckpoint(read func(io.Reader) error) (seq uint64, err error) {
	f, err := os.Open(j.checkpointPath())
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("open the checkpoint: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("open the checkpoint: %w", err)
	}
	seq, content, err := verify(f, info.Size())
	if errors.Is(err, segment.ErrDamaged) {
		aside := j.checkpointPath() + ".damaged"
		j.m.damaged.Add(float64(info.Size()))
		j.m.trouble.Set(damageTrouble, "%s (%v) was set aside as %s; sums over open windows and cumulative totals begin anew, but for what the journal still has", j.checkpointPath(), err, aside)
		j.log.Error("setting a damaged checkpoint aside", "file", aside, "err", err)
		return 0, os.Rename(j.checkpointPath(), aside)
	}
	if err != nil {
		return 0, fmt.Errorf("read the checkpoint: %w", err)
	}
	if err := read(bufio.NewReaderSize(content, 256<<10)); err != nil {
		return 0, fmt.Errorf("restore the checkpoint %s: %w", j.checkpointPath(), err)
	}
	return seq, nil
}

// verify reads a checkpoint of size bytes through and returns its content.
func verify(r io.ReaderAt, size int64) (seq uint64, content *io.SectionReader, err error) {
	if size < int64(headBytes+footBytes) {
		return 0, nil, fmt.Errorf("%w: it has %d bytes", segment.ErrDamaged, size)
	}
	var head [headBytes]byte
	var foot [footBytes]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return 0, nil, err
	}
	if _, err := r.ReadAt(foot[:], size-int64(footBytes)); err != nil && !errors.Is(err, io.EOF) {
		return 0, nil, err
	}
	length := size - int64(headBytes+footBytes)
	if string(head[:len(checkpointMagic)]) != checkpointMagic || binary.LittleEndian.Uint64(foot[:]) != uint64(length) {
		return 0, nil, fmt.Errorf("%w: it does not begin or end as a checkpoint does", segment.ErrDamaged)
	}
	sum := newSum()
	if _, err := io.Copy(sum, io.NewSectionReader(r, 0, size-int64(footBytes))); err != nil {
		return 0, nil, err
	}
	if sum.Sum32() != binary.LittleEndian.Uint32(foot[8:]) {
		return 0, nil, fmt.Errorf("%w: its checksum does not match", segment.ErrDamaged)
	}
	return binary.LittleEndian.Uint64(head[len(checkpointMagic):]), io.NewSectionReader(r, int64(headBytes), length), nil
}

// checkpointSeq reads the head alone.
func (j *Journal) checkpointSeq() (uint64, error) {
	f, err := os.Open(j.checkpointPath())
	if err != nil {
		return 0, errors.Join(errNoCheckpoint, err)
	}
	defer f.Close()
	var head [headBytes]byte
	if _, err := f.ReadAt(head[:], 0); err != nil || string(head[:len(checkpointMagic)]) != checkpointMagic {
		return 0, errNoCheckpoint
	}
	return binary.LittleEndian.Uint64(head[len(checkpointMagic):]), nil
}
