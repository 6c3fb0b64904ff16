package replica

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// Version is a document that is no longer in force.
type Version struct {
	Document *replicapb.Document
	// Until is when this island replaced it, Unix milliseconds.
	Until int64
	// Reason is empty where a newer version took its place; otherwise it says why
	// the version was given up.
	Reason string
	// Void is set where the author had no right to it any more. Such a version
	// comes back should the right come back.
	Void bool
}

// A version's key is the document's key, 0, its time and hash; its value a flag
// byte, Unix ms, the reason's length (2 bytes), the reason, the document.
const (
	versionHeader = 1 + 8 + 2
	maxReason     = 1024
)

func versionKey(key string, time, hash uint64) []byte {
	b := append([]byte(key), 0)
	b = binary.BigEndian.AppendUint64(b, time)
	return binary.BigEndian.AppendUint64(b, hash)
}

func encodeVersion(v Version) ([]byte, error) {
	reason := v.Reason[:min(len(v.Reason), maxReason)]
	b := make([]byte, 1, versionHeader+len(reason)+proto.Size(v.Document))
	if v.Void {
		b[0] = 1
	}
	b = binary.BigEndian.AppendUint64(b, uint64(v.Until))
	b = binary.BigEndian.AppendUint16(b, uint16(len(reason)))
	b = append(b, reason...)
	return proto.MarshalOptions{}.MarshalAppend(b, v.Document)
}

func decodeVersion(raw []byte) (Version, error) {
	if len(raw) < versionHeader {
		return Version{}, errors.New("read an older version: it is cut short")
	}
	v := Version{Void: raw[0]&1 == 1, Until: int64(binary.BigEndian.Uint64(raw[1:]))}
	n := int(binary.BigEndian.Uint16(raw[9:]))
	rest := raw[versionHeader:]
	if len(rest) < n {
		return Version{}, errors.New("read an older version: its reason is cut short")
	}
	v.Reason = string(rest[:n])
	d, err := decode("", rest[n:])
	v.Document = d
	return v, err
}

// remember writes a version into the history and forgets the oldest over the
// limits; it returns how many were forgotten.
func (s *store) remember(tx *bbolt.Tx, c Config, v Version) (forgotten int, err error) {
	if c.History == 0 {
		return 0, nil
	}
	d := v.Document
	raw, err := encodeVersion(v)
	if err != nil {
		return 0, err
	}
	h := tx.Bucket(s.b.history)
	k := versionKey(d.GetKey(), d.GetTime(), hashOf(d))
	grown := int64(len(raw) - len(h.Get(k)))
	if s.historyBytes.Load()+grown > int64(c.MaxBytes) {
		return 1, nil
	}
	if err := h.Put(k, raw); err != nil {
		return 0, err
	}
	tx.OnCommit(func() { s.historyBytes.Add(grown) })
	if v.Void {
		if err := tx.Bucket(s.b.void).Put([]byte(d.GetKey()), nil); err != nil {
			return 0, err
		}
	}
	return s.trim(tx, c, d.GetKey())
}

func (s *store) trim(tx *bbolt.Tx, c Config, key string) (forgotten int, err error) {
	cur := tx.Bucket(s.b.history).Cursor()
	prefix := append([]byte(key), 0)
	var old [][]byte
	kept, size := 0, 0
	for k, v := lastOf(cur, prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = cur.Prev() {
		if size += len(v); kept > 0 && (kept >= c.History || size > int(c.HistoryBytes)) {
			old = append(old, bytes.Clone(k))
			continue
		}
		kept++
	}
	return len(old), s.forget(tx, old)
}

func lastOf(cur *bbolt.Cursor, prefix []byte) (k, v []byte) {
	after := bytes.Clone(prefix)
	after[len(after)-1] = 1
	if k, _ := cur.Seek(after); k == nil {
		return cur.Last()
	}
	return cur.Prev()
}

func (s *store) forget(tx *bbolt.Tx, versions [][]byte) error {
	h := tx.Bucket(s.b.history)
	var freed int64
	for _, k := range versions {
		freed += int64(len(h.Get(k)))
		if err := h.Delete(k); err != nil {
			return err
		}
	}
	tx.OnCommit(func() { s.historyBytes.Add(-freed) })
	return nil
}

// forgetAll forgets every older version of key.
func (s *store) forgetAll(tx *bbolt.Tx, key string) error {
	prefix := append([]byte(key), 0)
	var all [][]byte
	cur := tx.Bucket(s.b.history).Cursor()
	for k, _ := cur.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = cur.Next() {
		all = append(all, bytes.Clone(k))
	}
	if err := s.forget(tx, all); err != nil {
		return err
	}
	return tx.Bucket(s.b.void).Delete([]byte(key))
}

// versions lists the older versions of key, the newest first.
func (s *store) versions(tx *bbolt.Tx, key string) (out []Version) {
	prefix := append([]byte(key), 0)
	cur := tx.Bucket(s.b.history).Cursor()
	for k, raw := cur.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, raw = cur.Next() {
		if v, err := decodeVersion(raw); err == nil {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b Version) int {
		switch {
		case trust.Newer(a.Document, b.Document):
			return -1
		case trust.Newer(b.Document, a.Document):
			return 1
		}
		return cmp.Compare(b.Until, a.Until)
	})
	return out
}

// Versions lists the older versions of a document that this island still holds,
// the newest first. Islands differ in them.
func (r *Replica) Versions(key string) (out []Version, err error) {
	err = r.store.view(func(tx *bbolt.Tx) error {
		out = r.store.versions(tx, key)
		return nil
	})
	return out, err
}

// History lists the documents of Versions.
func (r *Replica) History(key string) []*replicapb.Document {
	versions, err := r.Versions(key)
	if err != nil {
		r.logger.Warn("read history", "document", key, "err", err)
	}
	out := make([]*replicapb.Document, 0, len(versions))
	for _, v := range versions {
		out = append(out, v.Document)
	}
	return out
}
