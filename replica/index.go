package replica

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// hashOf identifies a version. The signature covers value and deletion, so they
// need not be read again. A hash says nothing before the signature was verified:
// a forger can put any value beside a signature.
func hashOf(d *replicapb.Document) uint64 {
	h := sha256.New()
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], d.GetTime())
	binary.BigEndian.PutUint64(b[8:], uint64(len(d.GetKey())))
	h.Write(b[:])
	h.Write([]byte(d.GetKey()))
	h.Write(d.GetAuthor())
	h.Write(d.GetSignature())
	return cut([32]byte(h.Sum(nil)))
}

func entryOf(d *replicapb.Document) *entry {
	key := strings.Clone(d.GetKey())
	return &entry{
		key: key, place: placeOf(key), time: d.GetTime(), hash: hashOf(d), size: uint32(proto.Size(d)),
		deleted: d.GetDeleted(), trust: trust.IsTrustKind(key),
	}
}

type totals struct {
	documents, tombstones int
	bytes                 int64
}

// index is what is known of all documents without reading the file. The trees are
// apart because documents of trust are exchanged first, and alone with an island
// in quarantine.
type index struct {
	mu     sync.Mutex
	byKey  map[string]*entry
	trees  [2]tree
	counts [2]totals
}

const (
	otherTree = 0
	trustTree = 1
)

func sectionOf(isTrust bool) int {
	if isTrust {
		return trustTree
	}
	return otherTree
}

func newIndex() *index { return &index{byKey: map[string]*entry{}} }

func (x *index) put(e *entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.removeLocked(e.key)
	x.byKey[e.key] = e
	s := sectionOf(e.trust)
	x.trees[s].insert(e)
	x.count(e, 1)
}

func (x *index) remove(key string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.removeLocked(key)
}

func (x *index) removeLocked(key string) {
	e := x.byKey[key]
	if e == nil {
		return
	}
	delete(x.byKey, key)
	x.trees[sectionOf(e.trust)].remove(e)
	x.count(e, -1)
}

func (x *index) count(e *entry, sign int) {
	c := &x.counts[sectionOf(e.trust)]
	c.documents += sign
	c.bytes += int64(sign) * int64(e.size)
	if e.deleted {
		c.tombstones += sign
	}
}

// get returns what is held of key, or nil. Entries are never changed.
func (x *index) get(key string) *entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.byKey[key]
}

func (x *index) totals() totals {
	x.mu.Lock()
	defer x.mu.Unlock()
	a, b := x.counts[0], x.counts[1]
	return totals{a.documents + b.documents, a.tombstones + b.tombstones, a.bytes + b.bytes}
}

func (x *index) section(s int) totals {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.counts[s]
}

// summary is a tree's digest and size.
func (x *index) summary(s int) *replicapb.Tree {
	x.mu.Lock()
	defer x.mu.Unlock()
	return &replicapb.Tree{Digest: x.trees[s].root.sum(), Documents: uint64(x.counts[s].documents)}
}

// keys lists the keys with a prefix in order; keep filters, nil keeps all.
func (x *index) keys(prefix string, keep func(*entry) bool) []string {
	x.mu.Lock()
	var out []string
	for key, e := range x.byKey {
		if strings.HasPrefix(key, prefix) && (keep == nil || keep(e)) {
			out = append(out, key)
		}
	}
	x.mu.Unlock()
	slices.Sort(out)
	return out
}

// all lists a section's entries in order of place.
func (x *index) all(s int) []*entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := make([]*entry, 0, x.counts[s].documents)
	x.trees[s].root.each(func(e *entry) { out = append(out, e) })
	return out
}

// Root is the digest of everything held: 8 bytes of the documents of trust, 8
// bytes of all others. Two islands with the same root hold the same documents.
func (r *Replica) Root() []byte {
	b := binary.BigEndian.AppendUint64(nil, r.index.summary(trustTree).GetDigest())
	return binary.BigEndian.AppendUint64(b, r.index.summary(otherTree).GetDigest())
}
