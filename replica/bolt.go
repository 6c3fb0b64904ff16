package replica

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// layout is written into the file; another one is refused.
const layout = 1

type bucketNames struct{ documents, history, void, meta []byte }

// buckets: documents key → document; history see history.go; void key → "" where
// the history holds a version given up for want of rights; meta.
func buckets() bucketNames {
	return bucketNames{[]byte("documents"), []byte("history"), []byte("void"), []byte("meta")}
}

// boltOptions are changed by tests of scale only.
type boltOptions struct {
	noSync bool
	// fail, where set, stands between a transaction and its commit.
	fail func() error
}

// store is the file. One transaction is one flush to disk.
type store struct {
	db           *bbolt.DB
	b            bucketNames
	fail         func() error
	historyBytes atomic.Int64
}

func openStore(path string, network []byte, o boltOptions) (*store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the replica's directory: %w", err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, NoSync: o.noSync,
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open the replica's file %s: another process holds it; stop that one first", path)
	case errors.Is(err, syscall.ENOSPC):
		return nil, fmt.Errorf("open the replica's file %s: %w; free space on its file system, then start again", path, err)
	case err != nil:
		return nil, fmt.Errorf("open the replica's file %s: %w; move it away and other islands send the documents again", path, err)
	}
	s := &store{db: db, b: buckets(), fail: o.fail}
	if err := s.prepare(path, network); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

func (s *store) prepare(path string, network []byte) error {
	want := append([]byte{layout}, network...)
	var have []byte
	if err := s.db.View(func(tx *bbolt.Tx) error {
		if meta := tx.Bucket(s.b.meta); meta != nil {
			have = bytes.Clone(meta.Get([]byte("network")))
		}
		return nil
	}); err != nil {
		return err
	}
	switch {
	case bytes.Equal(have, want):
		return nil
	case len(have) > 0 && have[0] == layout:
		return fmt.Errorf("open the replica's file %s: %w; move it away", path, ErrForeign)
	case have != nil:
		return fmt.Errorf("open the replica's file %s: it has the layout of another version of atoll; run that one, or move the file away and other islands send the documents again", path)
	}
	return s.update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{s.b.documents, s.b.history, s.b.void, s.b.meta} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return tx.Bucket(s.b.meta).Put([]byte("network"), want)
	})
}

// update runs one transaction; when it returns nil the changes are on disk.
func (s *store) update(f func(tx *bbolt.Tx) error) error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		if err := f(tx); err != nil {
			return err
		}
		if s.fail != nil {
			return s.fail()
		}
		return nil
	})
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	if err != nil {
		return storage(err)
	}
	return nil
}

func (s *store) view(f func(tx *bbolt.Tx) error) error {
	err := s.db.View(f)
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

// document reads one document; nil where there is none.
func (s *store) document(key string) (d *replicapb.Document, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		d, err = s.in(tx, key)
		return err
	})
	return d, err
}

func (s *store) in(tx *bbolt.Tx, key string) (*replicapb.Document, error) {
	raw := tx.Bucket(s.b.documents).Get([]byte(key))
	if raw == nil {
		return nil, nil
	}
	return decode(key, raw)
}

func decode(key string, raw []byte) (*replicapb.Document, error) {
	d := &replicapb.Document{}
	if err := proto.Unmarshal(raw, d); err != nil {
		return nil, fmt.Errorf("read document %q: %w", key, err)
	}
	return d, nil
}

// documents reads those of keys that exist and can be read.
func (s *store) documents(keys []string) (out []*replicapb.Document, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		for _, key := range keys {
			if d, err := s.in(tx, key); err == nil && d != nil {
				out = append(out, d)
			}
		}
		return nil
	})
	return out, err
}

// load calls f with every document and bad with the key of every unreadable one.
func (s *store) load(f func(*replicapb.Document), bad func(key string, err error)) error {
	return s.view(func(tx *bbolt.Tx) error {
		if err := tx.Bucket(s.b.history).ForEach(func(_, v []byte) error {
			s.historyBytes.Add(int64(len(v)))
			return nil
		}); err != nil {
			return err
		}
		return tx.Bucket(s.b.documents).ForEach(func(k, v []byte) error {
			d, err := decode(string(k), v)
			if err == nil && d.GetKey() != string(k) {
				err = fmt.Errorf("read document %q: it calls itself %q", k, d.GetKey())
			}
			if err != nil {
				bad(string(k), err)
				return nil
			}
			f(d)
			return nil
		})
	})
}

// meta reads a number; 0 where it was never written.
func (s *store) meta(name string) (v uint64, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		if raw := tx.Bucket(s.b.meta).Get([]byte(name)); len(raw) == 8 {
			v = binary.BigEndian.Uint64(raw)
		}
		return nil
	})
	return v, err
}

func (s *store) setMeta(tx *bbolt.Tx, name string, v uint64) error {
	return tx.Bucket(s.b.meta).Put([]byte(name), binary.BigEndian.AppendUint64(nil, v))
}
