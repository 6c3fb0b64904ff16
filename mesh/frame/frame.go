// Package frame reads and writes length-delimited protocol buffers of bounded size.
//
// In: a stream from somebody who is not trusted. Out: a message, or an error
// that says what was wrong. Guaranteed: not a byte more than the limit is
// allocated, and no byte behind the message is read.
package frame

import (
	"errors"
	"fmt"
	"io"

	"github.com/multiformats/go-varint"
	"google.golang.org/protobuf/proto"
)

// ErrTooLong is wrapped by the error of a message over the limit.
var ErrTooLong = errors.New("message too long")

// Read fills m from one message of at most limit bytes.
func Read(r io.Reader, limit int, m proto.Message) error {
	n, err := varint.ReadUvarint(oneByte{r})
	if err != nil {
		return fmt.Errorf("read the length of a %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	if n > uint64(limit) {
		return fmt.Errorf("read a %s of %d bytes: %w, the limit is %d", m.ProtoReflect().Descriptor().Name(), n, ErrTooLong, limit)
	}
	buf, err := readAll(r, int(n))
	if err != nil {
		return fmt.Errorf("read a %s of %d bytes: %w", m.ProtoReflect().Descriptor().Name(), n, err)
	}
	if err := proto.Unmarshal(buf, m); err != nil {
		return fmt.Errorf("decode a %s of %d bytes: %w", m.ProtoReflect().Descriptor().Name(), n, err)
	}
	return nil
}

// chunk is how much is allocated on the word of a length alone.
const chunk = 16 << 10

// readAll allocates as bytes arrive, so that a claim of a long message costs its
// sender as much as the receiver.
func readAll(r io.Reader, n int) ([]byte, error) {
	buf := make([]byte, 0, min(n, chunk))
	for len(buf) < n {
		step := min(n-len(buf), max(chunk, len(buf)))
		buf = append(buf, make([]byte, step)...)
		if _, err := io.ReadFull(r, buf[len(buf)-step:]); err != nil {
			return nil, err
		}
	}
	return buf, nil
}

// Write sends m in one call to w; a message over the limit is an error and
// nothing is sent.
func Write(w io.Writer, limit int, m proto.Message) error {
	size := proto.Size(m)
	if size > limit {
		return fmt.Errorf("write a %s of %d bytes: %w, the limit is %d", m.ProtoReflect().Descriptor().Name(), size, ErrTooLong, limit)
	}
	buf := append(make([]byte, 0, size+varint.MaxLenUvarint63), varint.ToUvarint(uint64(size))...)
	buf, err := proto.MarshalOptions{}.MarshalAppend(buf, m)
	if err != nil {
		return fmt.Errorf("encode a %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	if _, err := w.Write(buf); err != nil {
		return fmt.Errorf("write a %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return nil
}

// oneByte reads single bytes without reading ahead.
type oneByte struct{ io.Reader }

func (o oneByte) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(o.Reader, b[:])
	return b[0], err
}
