package replica

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

const (
	headBytes   = 24
	refBytes    = 16
	headsAtOnce = 2048 // heads in one message
	askMost     = 4096 // prefixes in one Ask
	askDeepMost = 16   // prefixes in one Ask for two levels
)

// head is what travels of a document in a comparison.
type head struct{ place, time, hash uint64 }

func appendHead(b []byte, e *entry) []byte {
	b = binary.BigEndian.AppendUint64(b, e.place)
	b = binary.BigEndian.AppendUint64(b, e.time)
	return binary.BigEndian.AppendUint64(b, e.hash)
}

func parseHeads(b []byte) []head {
	out := make([]head, 0, len(b)/headBytes)
	for ; len(b) >= headBytes; b = b[headBytes:] {
		out = append(out, head{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])})
	}
	return out
}

func checkPrefix(prefix []byte) error {
	if len(prefix) > maxDepth {
		return fmt.Errorf("prefix of %d digits: a place has %d", len(prefix), maxDepth)
	}
	for _, d := range prefix {
		if d >= fanOut {
			return fmt.Errorf("prefix with digit %d: must be below %d", d, fanOut)
		}
	}
	return nil
}

// checkSubtree holds a foreign subtree against its own rules.
func checkSubtree(s *replicapb.Subtree) error {
	prefix := s.GetPrefix()
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	if n := len(s.GetHeads()); n%headBytes != 0 || n > headsAtOnce*headBytes {
		return fmt.Errorf("heads of %d bytes: must be at most %d of %d", n, headsAtOnce, headBytes)
	}
	if s.GetLeaf() {
		for _, h := range parseHeads(s.GetHeads()) {
			if !under(h.place, prefix, 0) {
				return fmt.Errorf("head %016x: is not under prefix %x", h.place, prefix)
			}
		}
		return nil
	}
	if len(prefix) == maxDepth {
		return fmt.Errorf("subtree at full depth: must be a leaf")
	}
	n := 8 * bits.OnesCount32(s.GetChildren())
	if got := len(s.GetDigests()); s.GetChildren()>>fanOut != 0 || got != 0 && got != n || len(s.GetHeads()) != 0 || s.GetMore() {
		return fmt.Errorf("subtree %x: children %x with %d bytes of digests and %d of heads do not fit", prefix, s.GetChildren(), got, len(s.GetHeads()))
	}
	return nil
}

// opened describes a subtree down to the given level: 1 its children's digests, 2
// its grandchildren's, 0 all heads below.
func (x *index) opened(section int, prefix []byte, levels uint32) []*replicapb.Subtree {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.trees[section].at(prefix)
	switch {
	case n == nil:
		return []*replicapb.Subtree{{Prefix: prefix, Leaf: true}}
	case levels == 0:
		return allHeads(n, prefix)
	}
	return describe(nil, n, prefix, levels)
}

func describe(out []*replicapb.Subtree, n *node, prefix []byte, levels uint32) []*replicapb.Subtree {
	if n.kids == nil {
		return append(out, allHeads(n, prefix)...)
	}
	s := &replicapb.Subtree{Prefix: prefix}
	out = append(out, s)
	for i, k := range n.kids {
		if k == nil || k.count == 0 {
			continue
		}
		s.Children |= 1 << i
		if levels == 1 {
			s.Digests = binary.BigEndian.AppendUint64(s.Digests, k.sum())
			continue
		}
		out = describe(out, k, append(slices.Clone(prefix), byte(i)), levels-1)
	}
	return out
}

func allHeads(n *node, prefix []byte) (out []*replicapb.Subtree) {
	s := &replicapb.Subtree{Prefix: prefix, Leaf: true}
	out = append(out, s)
	n.each(func(e *entry) {
		if len(s.Heads) == headsAtOnce*headBytes {
			s.More = true
			s = &replicapb.Subtree{Prefix: prefix, Leaf: true}
			out = append(out, s)
		}
		s.Heads = appendHead(s.Heads, e)
	})
	return out
}

// findings are the outcome of comparing one subtree.
type findings struct {
	deeper [][]byte // to open further
	heads  [][]byte // nothing is held here: all heads are wanted
	want   []head
	newer  []*entry // the other side has an older version
	absent []*entry // the other side has none
}

// compare holds the other side's subtree (checked, of an inner node) against this side's.
func (x *index) compare(section int, s *replicapb.Subtree, f *findings) {
	x.mu.Lock()
	defer x.mu.Unlock()
	digests := s.GetDigests()
	for i := range fanOut {
		prefix := append(slices.Clone(s.GetPrefix()), byte(i))
		mine := x.trees[section].at(prefix)
		if s.GetChildren()&(1<<i) == 0 {
			if mine != nil {
				mine.each(func(e *entry) { f.absent = append(f.absent, e) })
			}
			continue
		}
		if len(digests) == 0 {
			continue // described by a subtree of its own
		}
		theirs := binary.BigEndian.Uint64(digests)
		digests = digests[8:]
		switch {
		case mine.sum() == theirs:
		case mine == nil || mine.count == 0:
			f.heads = append(f.heads, prefix)
		default:
			f.deeper = append(f.deeper, prefix)
		}
	}
}

// compareHeads holds the heads of a whole subtree against what is held below it.
func (x *index) compareHeads(section int, prefix []byte, heads []head, f *findings) {
	x.mu.Lock()
	defer x.mu.Unlock()
	mine := map[uint64][]*entry{}
	if n := x.trees[section].at(prefix); n != nil {
		n.each(func(e *entry) { mine[e.place] = append(mine[e.place], e) })
	}
	theirs := map[uint64][]head{}
	for _, h := range heads {
		theirs[h.place] = append(theirs[h.place], h)
		if wanted(h, mine[h.place]) {
			f.want = append(f.want, h)
		}
	}
	for place, entries := range mine {
		for _, e := range entries {
			switch other := theirs[place]; {
			case len(other) == 0:
				f.absent = append(f.absent, e)
			case offered(e, other):
				f.newer = append(f.newer, e)
			}
		}
	}
}

// wanted and offered leave to trust.Newer what times do not decide: equal times,
// places shared by several keys, and the chain of roots, whose order is its own.
func wanted(h head, mine []*entry) bool {
	for _, e := range mine {
		if e.hash == h.hash {
			return false
		}
	}
	return len(mine) != 1 || mine[0].time <= h.time || mine[0].key == trust.NetworkDocument
}

func offered(e *entry, theirs []head) bool {
	for _, h := range theirs {
		if h.hash == e.hash {
			return false
		}
	}
	return len(theirs) != 1 || theirs[0].time <= e.time || e.key == trust.NetworkDocument
}
