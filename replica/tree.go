package replica

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

const (
	fanOut   = 16
	maxDepth = 16 // hexadecimal digits in a place
	leafSize = 8  // documents up to which a subtree is not divided
)

// entry is what is kept in memory of a document.
type entry struct {
	key     string
	place   uint64 // first 8 bytes of SHA-256(key)
	time    uint64
	hash    uint64 // see hashOf
	size    uint32 // encoded bytes
	deleted bool
	trust   bool
}

func placeOf(key string) uint64 {
	sum := sha256.Sum256([]byte(key))
	return binary.BigEndian.Uint64(sum[:])
}

// tree is a digest tree over the places of documents. Its shape follows from the
// set of documents alone (a subtree of at most leafSize is a leaf), so two islands
// with the same documents have the same digests, however they came by them.
// Digests are computed when asked for, of what changed.
//
// They are cut to 8 bytes. Only members' documents get here, so nobody outside
// can choose what is hashed. To hide somebody else's document a member would need
// a second preimage, 2^64 hashes for one subtree until the next change in it; a
// collision (2^32) can be had between sets of his own documents only, and hides
// them alone.
type tree struct{ root node }

type node struct {
	kids   *[fanOut]*node
	docs   []*entry // of a leaf, by place, then hash
	count  int
	digest uint64
	clean  bool
}

func digit(place uint64, depth int) int { return int(place >> (60 - 4*depth) & 15) }

func byPlace(a, b *entry) int {
	return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.hash, b.hash))
}

func (t *tree) insert(e *entry) {
	n := &t.root
	for depth := 0; ; depth++ {
		n.count++
		n.clean = false
		if n.kids == nil {
			i, _ := slices.BinarySearchFunc(n.docs, e, byPlace)
			n.docs = slices.Insert(n.docs, i, e)
			n.divide(depth)
			return
		}
		n = n.kid(digit(e.place, depth))
	}
}

func (n *node) kid(i int) *node {
	if n.kids[i] == nil {
		n.kids[i] = &node{}
	}
	return n.kids[i]
}

func (n *node) divide(depth int) {
	if len(n.docs) <= leafSize || depth == maxDepth {
		return
	}
	docs := n.docs
	n.docs, n.kids = nil, new([fanOut]*node)
	for _, e := range docs {
		k := n.kid(digit(e.place, depth))
		k.docs = append(k.docs, e)
		k.count++
	}
	for _, k := range n.kids {
		if k != nil {
			k.divide(depth + 1)
		}
	}
}

// remove takes out e, which must be in the tree.
func (t *tree) remove(e *entry) {
	n := &t.root
	for depth := 0; n != nil; depth++ {
		n.count--
		n.clean = false
		if n.kids != nil && n.count <= leafSize {
			var docs []*entry
			n.each(func(x *entry) { docs = append(docs, x) })
			n.docs, n.kids = docs, nil
		}
		if n.kids == nil {
			n.docs = slices.DeleteFunc(n.docs, func(x *entry) bool { return x == e })
			return
		}
		i := digit(e.place, depth)
		if k := n.kids[i]; k != nil && k.count == 1 {
			n.kids[i] = nil
			return
		}
		n = n.kids[i]
	}
}

func (n *node) each(f func(*entry)) {
	for _, e := range n.docs {
		f(e)
	}
	if n.kids != nil {
		for _, k := range n.kids {
			if k != nil {
				k.each(f)
			}
		}
	}
}

func (n *node) sum() uint64 {
	switch {
	case n == nil || n.count == 0:
		return 0
	case n.clean:
		return n.digest
	}
	if n.kids == nil {
		n.digest = leafDigest(n.docs)
	} else {
		var b [1 + 8*fanOut]byte
		b[0] = 1
		for i, k := range n.kids {
			binary.BigEndian.PutUint64(b[1+8*i:], k.sum())
		}
		n.digest = cut(sha256.Sum256(b[:]))
	}
	n.clean = true
	return n.digest
}

func leafDigest(docs []*entry) uint64 {
	if len(docs) == 0 {
		return 0
	}
	b := make([]byte, 1, 1+16*leafSize)
	for _, e := range docs {
		b = binary.BigEndian.AppendUint64(b, e.place)
		b = binary.BigEndian.AppendUint64(b, e.hash)
	}
	return cut(sha256.Sum256(b))
}

// cut shortens a digest; 0 is kept for "empty".
func cut(sum [32]byte) uint64 { return max(1, binary.BigEndian.Uint64(sum[:])) }

// at finds the subtree of a prefix, one digit per byte. Where this tree is not
// divided that far, the subtree is made from the leaf above.
func (t *tree) at(prefix []byte) *node {
	n := &t.root
	for depth, d := range prefix {
		if n == nil {
			return nil
		}
		if n.kids == nil {
			return n.within(prefix, depth)
		}
		n = n.kids[d]
	}
	return n
}

func (n *node) within(prefix []byte, depth int) *node {
	sub := &node{}
	for _, e := range n.docs {
		if under(e.place, prefix, depth) {
			sub.docs = append(sub.docs, e)
			sub.count++
		}
	}
	return sub
}

func under(place uint64, prefix []byte, from int) bool {
	for depth := from; depth < len(prefix); depth++ {
		if digit(place, depth) != int(prefix[depth]) {
			return false
		}
	}
	return true
}

// find returns the document of a place and hash, or nil.
func (t *tree) find(place, hash uint64) *entry {
	n := &t.root
	for depth := 0; n != nil && n.kids != nil; depth++ {
		n = n.kids[digit(place, depth)]
	}
	if n == nil {
		return nil
	}
	for _, e := range n.docs {
		if e.place == place && e.hash == hash {
			return e
		}
	}
	return nil
}
