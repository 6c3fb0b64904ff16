package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/atoll-mesh/atoll/flow/durable"
)

const (
	// Magic begins every file.
	Magic = "ATLSEG01"
	// Header is the size of Magic, bytes.
	Header = int64(len(Magic))
	// FrameHeader is what a frame adds to its content, bytes.
	FrameHeader = 8
	// MaxFrame is the largest content, bytes.
	MaxFrame = 64 << 20
)

var (
	// ErrDamaged is wrapped by every finding of bytes that are no whole frame.
	ErrDamaged = errors.New("damaged")
	// ErrFrameSize is wrapped by the refusal of an empty or oversized frame.
	ErrFrameSize = errors.New("frame size")
)

func checksum(length, content []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // made once by the library
	return crc32.Update(crc32.Checksum(length, table), table, content)
}

// AppendFrame appends the frame of content to b.
func AppendFrame(b, content []byte) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(content)))
	b = binary.LittleEndian.AppendUint32(b, checksum(b[at:at+4], content))
	return append(b, content...)
}

// Writer appends to one file. It is not for concurrent use.
type Writer struct {
	file *os.File
	size int64
	buf  []byte
	// dirty says that bytes of a failed write could not be cut off.
	dirty bool
}

// Create makes the file, which must not exist.
func Create(path string) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return nil, fmt.Errorf("make segment: %w", err)
	}
	if _, err := f.Write([]byte(Magic)); err != nil {
		return nil, errors.Join(fmt.Errorf("begin segment: %w", err), f.Close(), os.Remove(path))
	}
	return &Writer{file: f, size: Header}, nil
}

// Append writes one frame with one write(2).
func (w *Writer) Append(content []byte) error {
	if len(content) == 0 || len(content) > MaxFrame {
		return fmt.Errorf("%w: got %d bytes, must be 1 to %d", ErrFrameSize, len(content), MaxFrame)
	}
	if w.dirty {
		if err := w.cut(); err != nil {
			return err
		}
	}
	w.buf = AppendFrame(w.buf[:0], content)
	n, err := w.file.WriteAt(w.buf, w.size)
	if cap(w.buf) > 4<<20 {
		defer func() { w.buf = nil }()
	}
	if err != nil {
		err = fmt.Errorf("append %d bytes to %s: %w", len(w.buf), w.file.Name(), err)
		if n > 0 {
			w.dirty = true
			return errors.Join(err, w.cut())
		}
		return err
	}
	w.size += int64(len(w.buf))
	return nil
}

func (w *Writer) cut() error {
	if err := w.file.Truncate(w.size); err != nil {
		return fmt.Errorf("cut off a half-written frame of %s: %w", w.file.Name(), err)
	}
	w.dirty = false
	return nil
}

// Size is where the next frame begins, bytes.
func (w *Writer) Size() int64 { return w.size }

// Sync makes the file and what was appended survive a power cut.
func (w *Writer) Sync() error {
	return errors.Join(w.file.Sync(), durable.SyncDir(filepath.Dir(w.file.Name())))
}

// Close closes the file; it does not sync it.
func (w *Writer) Close() error { return w.file.Close() }

// Reader reads frames of one file in order.
type Reader struct {
	r     io.ReaderAt
	at    int64  // where the next frame begins
	buf   []byte // bytes of the file from start on
	start int64
}

// NewReader reads the file r from its beginning.
func NewReader(r io.ReaderAt) *Reader { return &Reader{r: r} }

// Offset is the end of the last frame that was read, bytes; 0 before the magic.
func (r *Reader) Offset() int64 { return r.at }

// readAhead is how much is read from the file at least.
const readAhead = 128 << 10

// Next returns the next frame of those that end at or before limit (the file's
// size, or less where it is being written). The content is valid until the next
// call. The error is io.EOF where limit is reached exactly and wraps ErrDamaged
// where what follows is no whole frame; Offset then says where that begins.
func (r *Reader) Next(limit int64) ([]byte, error) {
	if r.at == 0 {
		b, err := r.window(0, int(min(limit, Header)), limit)
		if err != nil {
			return nil, err
		}
		if string(b) != Magic {
			return nil, fmt.Errorf("%w: it does not begin as a segment does", ErrDamaged)
		}
		r.at = Header
	}
	if r.at == limit {
		return nil, io.EOF
	}
	if limit-r.at < FrameHeader {
		return nil, fmt.Errorf("%w: %d bytes are left, a frame's header has %d", ErrDamaged, limit-r.at, FrameHeader)
	}
	head, err := r.window(r.at, FrameHeader, limit)
	if err != nil {
		return nil, err
	}
	n, sum := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
	if n == 0 || n > MaxFrame || int64(n) > limit-r.at-FrameHeader {
		return nil, fmt.Errorf("%w: a frame claims %d bytes, %d are left", ErrDamaged, n, limit-r.at-FrameHeader)
	}
	frame, err := r.window(r.at, FrameHeader+int(n), limit)
	if err != nil {
		return nil, err
	}
	if checksum(frame[:4], frame[FrameHeader:]) != sum {
		return nil, fmt.Errorf("%w: the checksum of a frame does not match", ErrDamaged)
	}
	r.at += FrameHeader + int64(n)
	return frame[FrameHeader:], nil
}

// window returns n bytes at off; n never exceeds what limit leaves.
func (r *Reader) window(off int64, n int, limit int64) ([]byte, error) {
	if off >= r.start && off+int64(n) <= r.start+int64(len(r.buf)) {
		return r.buf[off-r.start:][:n], nil
	}
	want := int(min(limit-off, int64(max(n, readAhead))))
	if cap(r.buf) < want || cap(r.buf) > 4<<20 && want <= readAhead {
		r.buf = make([]byte, max(want, readAhead))
	}
	r.buf, r.start = r.buf[:want], off
	got, err := r.r.ReadAt(r.buf, off)
	r.buf = r.buf[:got]
	if got >= n {
		return r.buf[:n], nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: the file ends %d bytes early", ErrDamaged, n-got)
	}
	return nil, fmt.Errorf("read segment: %w", err)
}

// Scan reads a whole file and calls each, which may be nil, with every frame. It
// returns the number of whole frames, where they end, and the file's size; end <
// size says that a torn tail follows. The error is the file's or each's.
func Scan(path string, each func(content []byte) error) (frames uint64, end, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("open segment: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, 0, 0, fmt.Errorf("open segment: %w", err)
	}
	r := NewReader(f)
	for size = info.Size(); ; frames++ {
		content, err := r.Next(size)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, ErrDamaged):
			return frames, r.Offset(), size, nil
		case err != nil:
			return frames, r.Offset(), size, err
		}
		if each == nil {
			continue
		}
		if err := each(content); err != nil {
			return frames, r.Offset(), size, err
		}
	}
}
