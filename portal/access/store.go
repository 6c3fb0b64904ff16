package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// file holds what is this island's own: its users, its tokens, all sessions.
type file struct{ db *bbolt.DB }

const (
	bucketUsers    = "users"
	bucketTokens   = "tokens"
	bucketSessions = "sessions"
)

func openFile(path string) (*file, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of users and sessions: %w", err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, NoFreelistSync: true})
	if err != nil {
		return nil, fmt.Errorf("open users and sessions %s: %w; if another island holds it, give this one its own island.data_dir", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{bucketUsers, bucketTokens, bucketSessions} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare users and sessions %s: %w", path, err), db.Close())
	}
	return &file{db: db}, nil
}

// get returns nil where there is nothing.
func (f *file) get(bucket, key string) (text []byte, err error) {
	err = f.db.View(func(tx *bbolt.Tx) error {
		text = append(text, tx.Bucket([]byte(bucket)).Get([]byte(key))...)
		return nil
	})
	return text, err
}

func (f *file) each(bucket string, take func(key string, text []byte) error) error {
	return f.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucket)).ForEach(func(k, v []byte) error { return take(string(k), v) })
	})
}

// write stores values as JSON; a nil value removes its key.
func (f *file) write(bucket string, values map[string]any) error {
	err := f.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		for key, v := range values {
			if v == nil {
				if err := b.Delete([]byte(key)); err != nil {
					return err
				}
				continue
			}
			text, err := json.Marshal(v)
			if err != nil {
				return err
			}
			if err := b.Put([]byte(key), text); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", bucket, err)
	}
	return nil
}

func (f *file) close() error { return f.db.Close() }
