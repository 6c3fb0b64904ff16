package trust

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxKeyFile bounds every file of a Home.
const maxKeyFile = 64 << 10

// disk changes files durably. Each change of the file system is one step, asked
// of before first: tests stop there, as a kill or a power cut would.
type disk struct {
	before func(step, path string) error
}

func (d disk) step(name, path string, do func() error) error {
	if d.before != nil {
		if err := d.before(name, path); err != nil {
			return err
		}
	}
	return do()
}

// write makes a file that must not exist, with all of b on disk.
func (d disk) write(path string, b []byte) (err error) {
	var f *os.File
	if err := d.step("create", path, func() (err error) {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// Two steps, so that a test sees a torn file.
	for _, part := range [][]byte{b[:len(b)/2], b[len(b)/2:]} {
		if err := d.step("write", path, func() error { _, err := f.Write(part); return err }); err != nil {
			return err
		}
	}
	return d.step("sync", path, f.Sync)
}

// replace puts b in path's place: whoever reads sees all of the old or all of the new.
func (d disk) replace(path string, b []byte) error {
	tmp := path + ".tmp"
	if err := d.remove(tmp); err != nil {
		return err
	}
	if err := d.write(tmp, b); err != nil {
		return errors.Join(err, d.remove(tmp))
	}
	return d.rename(tmp, path)
}

// rename is durable once it returns nil.
func (d disk) rename(from, to string) error {
	if err := d.step("rename", to, func() error { return os.Rename(from, to) }); err != nil {
		return err
	}
	return d.syncDir(filepath.Dir(to))
}

func (d disk) mkdir(path string) error {
	return d.step("mkdir", path, func() error { return os.Mkdir(path, 0o700) })
}

func (d disk) remove(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return d.step("remove", path, func() error { return os.RemoveAll(path) })
}

func (d disk) syncDir(path string) error {
	return d.step("syncdir", path, func() error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// readBounded reads a whole file of at most most bytes.
func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s: is larger than %d bytes", path, most)
	}
	return b, err
}
