package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/atoll-mesh/atoll/flow/durable"
)

// directory keeps objects as files, as Thanos' type FILESYSTEM does. The base must
// exist, for it may be a mount that is missing; what is below it is made.
type directory struct{ base, root string }

// unfinished marks a file that is being written.
const unfinished = ".atoll-tmp"

func (d directory) path(key string) string { return filepath.Join(d.root, filepath.FromSlash(key)) }

func (d directory) put(ctx context.Context, key string, f *file) error {
	path := d.path(key)
	if _, err := os.Stat(d.base); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	if err := d.write(ctx, path+unfinished, f); err != nil {
		return err
	}
	same, err := sameContent(ctx, d, key+unfinished, f)
	if err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("write %s: %w", path, errChanged)
	}
	if err := os.Rename(path+unfinished, path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

func (directory) write(ctx context.Context, path string, f *file) (err error) {
	from, closer, err := f.open()
	if err != nil {
		return err
	}
	defer closer.Close()
	to, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, &cancelled{ctx, io.NewSectionReader(from, 0, f.size)})
	if err == nil {
		err = to.Sync()
	}
	return errors.Join(err, to.Close())
}

// cancelled ends a copy when ctx does.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func (d directory) get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	f, err := os.Open(d.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open %s: %w", d.path(key), errAbsent)
	}
	if err != nil {
		return nil, err
	}
	if length < 0 {
		length = 1<<63 - 1 - offset
	}
	return struct {
		io.Reader
		io.Closer
	}{&cancelled{ctx, io.NewSectionReader(f, offset, length)}, f}, nil
}

func (d directory) same(ctx context.Context, key string, f *file) (bool, error) {
	info, err := os.Stat(d.path(key))
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() != f.size {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return sameContent(ctx, d, key, f)
}

func (d directory) list(ctx context.Context, prefix string, deep bool) ([]object, error) {
	if !deep {
		return d.listDirect(prefix)
	}
	var out []object
	err := filepath.WalkDir(d.path(prefix), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return errors.Join(err, ctx.Err())
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(d.root, path)
		out = append(out, object{filepath.ToSlash(rel), info.Size()})
		return err
	})
	return out, err
}

func (d directory) listDirect(prefix string) ([]object, error) {
	entries, err := os.ReadDir(d.path(prefix))
	if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat(d.base)
	}
	if err != nil {
		return nil, err
	}
	out := make([]object, 0, len(entries))
	for _, e := range entries {
		key := prefix + e.Name()
		if e.IsDir() {
			key += "/"
		}
		out = append(out, object{key: key})
	}
	return out, nil
}

// remove deletes a file and the directories that it leaves empty.
func (d directory) remove(_ context.Context, key string) error {
	if err := os.Remove(d.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for dir := filepath.Dir(d.path(key)); strings.HasPrefix(dir, filepath.Clean(d.root)+string(filepath.Separator)); dir = filepath.Dir(dir) {
		if os.Remove(dir) != nil {
			break // not empty
		}
	}
	return nil
}
