package bucket

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// objects is a flat store of named byte strings. Keys are relative to the prefix
// and separated by slashes; all methods are safe for concurrent use.
type objects interface {
	// put stores a file and returns once what lies there was compared with it. It
	// may be called again after any error.
	put(ctx context.Context, key string, f *file) error
	// get reads length bytes from offset on, or all of them for a length below 0.
	// The error wraps errAbsent where there is no such object. Fewer bytes than
	// asked for end with io.ErrUnexpectedEOF.
	get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	// same reports whether an object has the content of the file; absent is no error.
	same(ctx context.Context, key string, f *file) (bool, error)
	// list returns what lies directly below a prefix, or with deep everything below
	// it, where uploads that were not completed have the size -1. Names of
	// directories end with a slash.
	list(ctx context.Context, prefix string, deep bool) ([]object, error)
	// remove deletes an object; absent is no error.
	remove(ctx context.Context, key string) error
}

type object struct {
	key  string
	size int64
}

var (
	errAbsent = errors.New("no such object")
	errSize   = errors.New("has another size than the block's meta.json says")
	// errChanged is content that lies there and is not what was sent.
	errChanged = errors.New("the storage holds something else than was sent; it is sent again")
)

// file is one file of a block on its way up, with what it is compared by.
type file struct {
	rel    string // slash-separated, below the block
	size   int64
	sha256 [sha256.Size]byte
	md5    [md5.Size]byte
	open   func() (io.ReaderAt, io.Closer, error)
}

// digest reads a file once.
func digest(rel, path string) (*file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d := &file{rel: rel, open: func() (io.ReaderAt, io.Closer, error) {
		f, err := os.Open(path)
		return f, f, err
	}}
	sha, md := sha256.New(), md5.New()
	if d.size, err = io.Copy(io.MultiWriter(sha, md), f); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	sha.Sum(d.sha256[:0])
	md.Sum(d.md5[:0])
	return d, nil
}

// budgeted bounds a request that moves n bytes: the silence that is allowed, and
// the time that the bytes take on a line of 32 KiB/s or at the given rate.
func budgeted(ctx context.Context, silence time.Duration, n, rate int64) (context.Context, context.CancelFunc) {
	const slowest = 32 << 10
	if rate <= 0 || rate > slowest {
		rate = slowest
	}
	return context.WithTimeout(ctx, silence+2*time.Duration(float64(n)/float64(rate)*float64(time.Second)))
}

// readAll reads an object that must not be larger than most.
func readAll(ctx context.Context, o objects, key string, most int64) ([]byte, error) {
	r, err := o.get(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("read %s: has more than the %d bytes that are read of such a file", key, most)
	}
	return b, nil
}

// sameContent reads an object back and compares hashes.
func sameContent(ctx context.Context, o objects, key string, f *file) (bool, error) {
	r, err := o.get(ctx, key, 0, -1)
	if errors.Is(err, errAbsent) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer r.Close()
	sha := sha256.New()
	n, err := io.Copy(sha, io.LimitReader(r, f.size+1))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, fmt.Errorf("read %s back: %w", key, err)
	}
	return n == f.size && [sha256.Size]byte(sha.Sum(nil)) == f.sha256, nil
}
