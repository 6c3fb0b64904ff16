package plane

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// magic begins every zstd frame, so columns leave it out.
var magic = [4]byte{0x28, 0xb5, 0x2f, 0xfd}

// worthwhile is the size from which compressing a column is tried.
const worthwhile = 48

// MaxWindow is the largest zstd window in use, in bytes.
const MaxWindow = 8 << 20

// Packer compresses columns. It is not safe for concurrent use.
type Packer struct {
	enc     *zstd.Encoder
	scratch []byte
	plain   bool
	raw     int
}

// NewPacker makes a Packer. It starts no goroutine.
func NewPacker() (*Packer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithAllLitEntropyCompression(true), zstd.WithWindowSize(1<<20), zstd.WithSingleSegment(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("set up compression: %w", err)
	}
	return &Packer{enc: enc}, nil
}

// Begin sets Raw to 0, and whether all columns from here on stay uncompressed.
func (p *Packer) Begin(plain bool) { p.plain, p.raw = plain, 0 }

// Raw is the bytes of all columns since Begin.
func (p *Packer) Raw() int { return p.raw }

// Append adds a column to dst, compressed where that makes it smaller.
func (p *Packer) Append(dst, column []byte) []byte {
	if len(column) >= worthwhile && !p.plain {
		p.scratch = p.enc.EncodeAll(column, p.scratch[:0])
		if packed := p.scratch[len(magic):]; len(packed)+2 < len(column) {
			p.raw += len(column)
			dst = binary.AppendUvarint(dst, uint64(len(column))<<1|1)
			dst = binary.AppendUvarint(dst, uint64(len(packed)))
			return append(dst, packed...)
		}
	}
	return p.AppendPlain(dst, column)
}

// AppendPlain adds a column that is known not to compress.
func (p *Packer) AppendPlain(dst, column []byte) []byte {
	p.raw += len(column)
	return append(binary.AppendUvarint(dst, uint64(len(column))<<1), column...)
}

// AppendValues adds the columns of w.
func (p *Packer) AppendValues(dst []byte, w *Writer) []byte {
	for i := range w.changed {
		dst = p.Append(dst, w.changed[i].bytes())
	}
	for i := range w.symbols {
		dst = p.Append(dst, w.symbols[i])
	}
	dst = p.Append(dst, w.kinds)
	dst = p.Append(dst, w.numbers)
	return p.AppendPlain(dst, w.low.bytes())
}

// Errors of columns that cannot be unpacked.
var (
	ErrColumn = errors.New("a column ends too early or is no zstd frame of its length")
	ErrRoom   = errors.New("the columns are larger than allowed")
)

// Unpacker gives back columns, never more bytes than its limit. It is not safe
// for concurrent use.
type Unpacker struct {
	dec    *zstd.Decoder
	packed []byte
	room   []byte
	limit  int
	left   int
}

// NewUnpacker makes an Unpacker whose columns between two Resets have at most
// limit bytes. It starts no goroutine.
func NewUnpacker(limit int) (*Unpacker, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(uint64(max(limit, 1))), zstd.WithDecoderMaxWindow(MaxWindow), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("set up decompression of at most %d bytes: %w", limit, err)
	}
	return &Unpacker{dec: dec, limit: limit, left: limit}, nil
}

// Release makes room again, and leaves the columns given so far to their users.
func (u *Unpacker) Release() { u.room, u.left = nil, u.limit }

// Reset makes room again. The columns given so far may be overwritten.
func (u *Unpacker) Reset() { u.room, u.left = u.room[:0], u.limit }

// Next takes the first column off src. It is valid until the next Reset.
func (u *Unpacker) Next(src []byte) (column, rest []byte, err error) {
	head, src, ok := uvarint(src)
	size := head >> 1
	switch {
	case !ok:
		return nil, nil, ErrColumn
	case size > uint64(u.left):
		return nil, nil, fmt.Errorf("%w: %d bytes where %d are left of %d", ErrRoom, size, u.left, u.limit)
	case head&1 == 0 && size > uint64(len(src)):
		return nil, nil, ErrColumn
	}
	u.left -= int(size)
	if head&1 == 0 {
		return src[:size], src[size:], nil
	}
	n, src, ok := uvarint(src)
	if !ok || n > uint64(len(src)) {
		return nil, nil, ErrColumn
	}
	u.packed = append(append(u.packed[:0], magic[:]...), src[:n]...)
	out, err := u.dec.DecodeAll(u.packed, u.take(int(size)))
	if err != nil || len(out) != int(size) {
		return nil, nil, ErrColumn
	}
	return out, src[n:], nil
}

// take gives room for a column. Columns handed out before stay where they are.
func (u *Unpacker) take(size int) []byte {
	if cap(u.room)-len(u.room) < size {
		u.room = make([]byte, 0, max(size, 2*cap(u.room), 1<<12))
	}
	n := len(u.room)
	u.room = u.room[:n+size]
	return u.room[n : n : n+size]
}

// Values takes the columns of a Writer off src.
func (u *Unpacker) Values(src []byte, r *Reader) (rest []byte, err error) {
	*r = Reader{}
	for i := range r.changed {
		if r.changed[i].buf, src, err = u.Next(src); err != nil {
			return nil, err
		}
	}
	for i := range r.symbols {
		if r.symbols[i], src, err = u.Next(src); err != nil {
			return nil, err
		}
	}
	for _, column := range []*[]byte{&r.kinds, &r.numbers, &r.low.buf} {
		if *column, src, err = u.Next(src); err != nil {
			return nil, err
		}
	}
	return src, nil
}

func uvarint(b []byte) (uint64, []byte, bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}
