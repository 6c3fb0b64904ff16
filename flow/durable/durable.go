package durable

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// unfinished is the end of the name under which content is written first. What a
// crash left there is written over the next time.
const unfinished = ".tmp"

// Write replaces the file at path, or makes it, with its directories where they are
// missing. Only one call at a time may be for the same path.
func Write(path string, perm fs.FileMode, content []byte) error {
	return WriteFrom(path, perm, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// WriteFrom is Write for content that is not in memory as a whole.
func WriteFrom(path string, perm fs.FileMode, content func(io.Writer) error) error {
	return disk{}.write(path, perm, content)
}

// SyncDir makes the names in a directory durable: those of files that were made,
// renamed or removed there.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// disk asks before each change of the file system, so that tests can end there.
type disk struct{ before func(step string) error }

func (d disk) step(name string, do func() error) error {
	if d.before != nil {
		if err := d.before(name); err != nil {
			return err
		}
	}
	return do()
}

func (d disk) write(path string, perm fs.FileMode, content func(io.Writer) error) (err error) {
	dir, tmp := filepath.Dir(path), path+unfinished
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		// Private where the file is.
		if err := d.step("mkdir", func() error { return os.MkdirAll(dir, perm|(perm&0o444)>>2) }); err != nil {
			return err
		}
	}
	var f *os.File
	if err := d.step("create", func() (err error) {
		f, err = os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, perm)
		return err
	}); err != nil {
		return err
	}
	b := bufio.NewWriter(f)
	if err = content(b); err == nil {
		err = d.step("write", b.Flush)
	}
	if err == nil {
		err = d.step("sync", f.Sync)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.step("rename", func() error { return os.Rename(tmp, path) })
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return d.step("syncdir", func() error { return SyncDir(dir) })
}
