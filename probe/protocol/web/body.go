package web

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// Bounds of a body, in bytes.
const (
	// maxKept is what is kept of it for assertions where the module sets no limit.
	maxKept = 1 << 20
	// maxDecoded ends a body that was compressed, where the module sets no limit: a bomb
	// has a thousand bytes in one.
	maxDecoded = 256 << 20
)

// body is what was read of an answer's.
type body struct {
	kept []byte
	size int64
	// cut tells that kept is not all of it.
	cut bool
	// whole tells that it was read to its end.
	whole bool
	sum   hash.Hash
}

// errTooLarge tells that a body has more than the module allows.
type errTooLarge int64

func (e errTooLarge) Error() string {
	return fmt.Sprintf("the body has more than %s", bytesOf(int64(e)))
}

var errCompression = errors.New("unsupported compression algorithm")

// chunks are what a body is read through.
var chunks = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// read takes a body to its end, or to limit bytes (0 for none), and keeps the first
// keep bytes of it.
func (p *probe) read(a *answer, compression string, limit int64, keep int, sum bool) (*body, error) {
	b := &body{}
	if sum {
		b.sum = sha256.New()
	}
	defer func(start time.Time) { p.r.Phases[protocol.Transfer] += time.Since(start) }(a.first)
	src, err := decoder(compression, a.Body)
	if err != nil {
		return b, err
	}
	if limit == 0 && compression != "" {
		limit = maxDecoded
	}
	err = b.drain(p.ctx, src, limit, keep)
	b.whole = err == nil
	return b, err
}

// drain is bounded by ctx too, since what a decompressor makes of a few bytes is not
// bounded by the connection's deadline.
func (b *body) drain(ctx context.Context, src io.Reader, limit int64, keep int) error {
	chunk := chunks.Get().(*[16 << 10]byte)
	defer chunks.Put(chunk)
	for {
		n, err := src.Read(chunk[:])
		got := chunk[:n]
		over := limit > 0 && b.size+int64(n) > limit
		if over {
			got = got[:limit-b.size]
		}
		b.size += int64(len(got))
		if room := keep - len(b.kept); room > 0 {
			b.kept = append(b.kept, got[:min(room, len(got))]...)
		}
		b.cut = b.size > int64(len(b.kept))
		if b.sum != nil {
			_, _ = b.sum.Write(got)
		}
		switch {
		case over:
			return errTooLarge(limit)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// decoder undoes what the module says the body is compressed by.
func decoder(algorithm string, src io.Reader) (io.Reader, error) {
	switch strings.ToLower(algorithm) {
	case "br":
		return brotli.NewReader(src), nil
	case "deflate":
		return flate.NewReader(src), nil
	case "gzip":
		return gzip.NewReader(src)
	case "identity", "":
		return src, nil
	}
	return nil, errCompression
}

// failBody says why a body could not be read to its end.
func (p *probe) failBody(a *answer, b *body, err error) {
	var large errTooLarge
	switch {
	case errors.As(err, &large):
		p.r.Fail(protocol.TooLarge, protocol.Transfer, "%v", large)
	case errors.Is(err, errCompression):
		p.r.Fail(protocol.Internal, protocol.Transfer, "read the body: %v %.20q", err, p.want.Compression)
	case p.late(err):
		p.r.Fail(protocol.TransferTimeout, protocol.Transfer, "the body did not end in time: %s%s came", bytesOf(b.size), ofLength(a.ContentLength))
	case errors.Is(err, io.ErrUnexpectedEOF) && p.want.Compression == "", errors.Is(err, syscall.ECONNRESET):
		p.r.Fail(protocol.ConnectionReset, protocol.Transfer, "the connection ended in the middle of the body: %s%s came", bytesOf(b.size), ofLength(a.ContentLength))
	default:
		p.r.Fail(protocol.Malformed, protocol.Transfer, "read the body: %.150q after %s", strings.TrimPrefix(err.Error(), "http: "), bytesOf(b.size))
	}
}

func ofLength(n int64) string {
	if n < 0 {
		return ""
	}
	return " of " + bytesOf(n)
}

func bytesOf(n int64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	case n == 1:
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}
