package trust

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// Bounds of a word of the roots.
const (
	MaxWord          = 256 << 10 // bytes of its documents, encoded
	MaxWordDocuments = 1024
)

// Word picks from documents in force what the roots said of themselves and of
// signers: network/main, then signers, tombstones and revocations, the newest first.
// It is what an island needs to hear to judge all else, and what anybody may hand to
// it: see Hear. What is beyond the bounds is left out.
func (s *State) Word(docs []*replicapb.Document) []*replicapb.Document {
	var out []*replicapb.Document
	for _, d := range docs {
		if isOfWord(d.GetKey()) && s.IsRoot(authorOf(d)) {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b *replicapb.Document) int {
		return cmp.Or(
			-cmp.Compare(btoi(a.GetKey() == NetworkDocument), btoi(b.GetKey() == NetworkDocument)),
			-cmp.Compare(a.GetTime(), b.GetTime()), cmp.Compare(a.GetKey(), b.GetKey()))
	})
	out = out[:min(len(out), MaxWordDocuments)]
	size := 0
	for i, d := range out {
		if size += proto.Size(d); size > MaxWord {
			return out[:i]
		}
	}
	return out
}

// isOfWord reports whether roots speak by documents of this key.
func isOfWord(documentKey string) bool {
	switch kind, _, _ := strings.Cut(documentKey, "/"); kind {
	case KindNetwork, KindSigner, KindRevoked:
		return true
	}
	return false
}

// Hear returns what of a word is news, to be put among this island's documents. It
// may come from anybody, the revoked and thieves of keys included, and is believed
// for its signatures alone: each document must be signed by a root of the chain that
// is known here or of one that prevails over it, or none is heard. held returns the
// version that is held of a key, or nil.
//
// What is no newer than that is passed over before its signature is looked at, so a
// replayed word costs little. So is a signer of before forgotten, a document time,
// whom nobody here knows: it may have been removed so long ago that its tombstone is
// forgotten. Revocations are never forgotten and have no age.
func (s *State) Hear(word []*replicapb.Document, held func(key string) *replicapb.Document, forgotten uint64) ([]*replicapb.Document, error) {
	if err := checkWord(word); err != nil {
		return nil, fmt.Errorf("hear a word of the roots: %w", err)
	}
	if len(s.info.Chain) == 0 {
		return nil, fmt.Errorf("hear a word of the roots: this island does not know its own network's %s", NetworkDocument)
	}
	roots, fresh, err := s.hearNetwork(word, held)
	if err != nil {
		return nil, fmt.Errorf("hear a word of the roots: %w", err)
	}
	for _, d := range word {
		if d.GetKey() == NetworkDocument {
			continue
		}
		if _, ok := roots[authorOf(d)]; !ok {
			return nil, fmt.Errorf("hear a word of the roots: %w", refuse("document %s is by %s, who is no root of this network", d.GetKey(), authorOf(d)))
		}
		h := held(d.GetKey())
		signer := strings.HasPrefix(d.GetKey(), KindSigner+"/")
		if h != nil && lastWriter(d, h) <= 0 || h == nil && signer && d.GetTime() < forgotten {
			continue
		}
		if err := VerifyDocument(s.network, d); err != nil {
			return nil, fmt.Errorf("hear a word of the roots: %w", err)
		}
		fresh = append(fresh, d)
	}
	return fresh, nil
}

// checkWord looks at shapes and bounds.
func checkWord(word []*replicapb.Document) error {
	if len(word) == 0 || len(word) > MaxWordDocuments {
		return fmt.Errorf("%d documents: must be 1 to %d", len(word), MaxWordDocuments)
	}
	size := 0
	seen := make(map[string]bool, len(word))
	for _, d := range word {
		if _, err := checkDocument(d); err != nil {
			return err
		}
		if size += proto.Size(d); size > MaxWord {
			return fmt.Errorf("more than %d bytes", MaxWord)
		}
		if !isOfWord(d.GetKey()) {
			return refuse("document %s: roots speak by documents of kind %s, %s and %s only", d.GetKey(), KindNetwork, KindSigner, KindRevoked)
		}
		if seen[d.GetKey()] {
			return refuse("document %s: is there twice", d.GetKey())
		}
		seen[d.GetKey()] = true
	}
	return nil
}

// hearNetwork finds whose signature counts: that of the roots known here, unless the
// word brings a chain that prevails.
func (s *State) hearNetwork(word []*replicapb.Document, held func(string) *replicapb.Document) (roots map[Key]struct{}, fresh []*replicapb.Document, err error) {
	i := slices.IndexFunc(word, func(d *replicapb.Document) bool { return d.GetKey() == NetworkDocument })
	if i < 0 {
		return s.roots, nil, nil
	}
	d, h := word[i], held(NetworkDocument)
	if h != nil && lastWriter(d, h) == 0 {
		return s.roots, nil, nil
	}
	if err := VerifyDocument(s.network, d); err != nil {
		return nil, nil, err
	}
	v, err := s.judgeNetwork("main", d, decoded{})
	if err != nil {
		return nil, nil, err
	}
	order := compareChains(v.Chain, s.info.Chain)
	if order < 0 || order == 0 && h != nil && lastWriter(d, h) < 0 {
		return s.roots, nil, nil
	}
	roots = map[Key]struct{}{}
	for _, r := range v.last().Roots {
		roots[r] = struct{}{}
	}
	return roots, []*replicapb.Document{d}, nil
}
