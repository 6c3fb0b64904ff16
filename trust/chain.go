package trust

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	chainContext = "atoll chain 1"
	maxChain     = 64
	maxRoots     = 8
)

// NetworkValue is the value of network/main. It proves itself: the first entry
// of its chain is by the root whose hash is the network's ID.
type NetworkValue struct {
	ID      NetworkID    `yaml:"id"`
	Name    string       `yaml:"name"`
	Created time.Time    `yaml:"created"`
	Chain   []ChainEntry `yaml:"chain"`
}

// ChainEntry says who is root from now on, signed by a root of the entry before
// it or by that entry's recovery key.
type ChainEntry struct {
	// Epoch counts from 1.
	Epoch int       `yaml:"epoch"`
	At    time.Time `yaml:"at"`
	// Roots are trusted side by side.
	Roots []Key `yaml:"roots"`
	// Recovery may sign the next entry, and nothing else; there need be none.
	Recovery  Key       `yaml:"recovery,omitempty"`
	SignedBy  Key       `yaml:"signed_by"`
	Signature Signature `yaml:"signature"`
}

// Signature is an ed25519 signature, base64 in text.
type Signature [ed25519.SignatureSize]byte

// MarshalText is standard base64.
func (s Signature) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, s[:]), nil
}

// UnmarshalText reads standard base64.
func (s *Signature) UnmarshalText(text []byte) error {
	b, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err == nil && len(b) != len(s) {
		err = fmt.Errorf("%d bytes: must be %d", len(b), len(s))
	}
	if err != nil {
		return fmt.Errorf("signature: %w", err)
	}
	copy(s[:], b)
	return nil
}

// UnmarshalYAML refuses the other shapes in which YAML would fill the bytes.
func (s *Signature) UnmarshalYAML(n *yaml.Node) error { return unmarshalScalar(n, s.UnmarshalText) }

// NewNetwork makes the value of a network that begins with root. recovery may be none.
func NewNetwork(name string, root PrivateKey, recovery Key, created time.Time) (NetworkValue, error) {
	v := NetworkValue{ID: NetworkOf(root.Public()), Name: name, Created: wholeMillisecond(created)}
	first := ChainEntry{Epoch: 1, At: v.Created, Roots: []Key{root.Public()}, Recovery: recovery}
	first.sign(v.ID, nil, root)
	v.Chain = []ChainEntry{first}
	if err := v.check(); err != nil {
		return NetworkValue{}, fmt.Errorf("make network: %w", err)
	}
	return v, nil
}

// ExtendChain returns current with one more entry: from now on roots are
// trusted, and no others. signedBy is a root of the chain's last entry or its
// recovery key. A zero recovery keeps the one there is.
func ExtendChain(current NetworkValue, roots []Key, recovery Key, signedBy PrivateKey, at time.Time) (NetworkValue, error) {
	if err := current.check(); err != nil {
		return NetworkValue{}, fmt.Errorf("extend chain of roots: %w", err)
	}
	last := current.last()
	if recovery.IsZero() {
		recovery = last.Recovery
	}
	at = wholeMillisecond(at)
	if at.Before(last.At) {
		at = last.At
	}
	e := ChainEntry{Epoch: last.Epoch + 1, At: at, Roots: slices.SortedFunc(slices.Values(roots), Key.Compare), Recovery: recovery}
	e.sign(current.ID, &last, signedBy)
	current.Chain = append(slices.Clone(current.Chain), e)
	if err := current.check(); err != nil {
		return NetworkValue{}, fmt.Errorf("extend chain of roots: %w", err)
	}
	return current, nil
}

// EncodeNetwork writes a network's value.
func EncodeNetwork(v NetworkValue) ([]byte, error) { return encodeValue(KindNetwork, v) }

// DecodeNetwork reads a network's value and proves its chain.
func DecodeNetwork(text []byte) (NetworkValue, error) {
	var v NetworkValue
	return v, decodeValue(KindNetwork, text, &v)
}

// Roots are the keys that the last entry trusts.
func (v NetworkValue) Roots() []Key { return slices.Clone(v.last().Roots) }

// Recovery is the key that may sign the next entry though it is no root.
func (v NetworkValue) Recovery() Key { return v.last().Recovery }

func (v NetworkValue) last() ChainEntry { return v.Chain[len(v.Chain)-1] }

func (v NetworkValue) check() error {
	if len(v.Chain) == 0 || len(v.Chain) > maxChain {
		return fmt.Errorf("chain: %d entries: must be 1 to %d", len(v.Chain), maxChain)
	}
	if err := errors.Join(CheckName(v.Name), checkTime("created", v.Created)); err != nil {
		return err
	}
	var before *ChainEntry
	for i := range v.Chain {
		if err := v.Chain[i].checkAfter(v.ID, before, i+1); err != nil {
			return fmt.Errorf("chain[%d]: %w", i, err)
		}
		before = &v.Chain[i]
	}
	return nil
}

func (e *ChainEntry) checkAfter(network NetworkID, before *ChainEntry, epoch int) error {
	if e.Epoch != epoch {
		return fmt.Errorf("epoch: %d: must be %d", e.Epoch, epoch)
	}
	if len(e.Roots) == 0 || len(e.Roots) > maxRoots {
		return fmt.Errorf("roots: %d of them: must be 1 to %d", len(e.Roots), maxRoots)
	}
	for i, r := range e.Roots {
		if r.IsZero() || slices.Contains(e.Roots[:i], r) || r == e.Recovery {
			return fmt.Errorf("roots: %q: must be a key, listed once, and not the recovery key", r)
		}
	}
	if err := checkTime("at", e.At); err != nil {
		return err
	}
	switch {
	case before == nil && NetworkOf(e.SignedBy) != network:
		return fmt.Errorf("signed_by: %s is not the root that network %s began with", e.SignedBy, network)
	case before != nil && e.At.Before(before.At):
		return fmt.Errorf("at: %s: is before the entry before it", e.At.Format(time.RFC3339))
	case before != nil && e.SignedBy != before.Recovery && !slices.Contains(before.Roots, e.SignedBy):
		return fmt.Errorf("signed_by: %s is neither a root nor the recovery key of the entry before it", e.SignedBy)
	case !e.SignedBy.Verify(chainContext, network, e.message(before), e.Signature[:]):
		return fmt.Errorf("signature: is not %s's", e.SignedBy)
	}
	return nil
}

func (e *ChainEntry) sign(network NetworkID, before *ChainEntry, by PrivateKey) {
	e.SignedBy = by.Public()
	copy(e.Signature[:], by.Sign(chainContext, network, e.message(before)))
}

// message frames the entry and, by hash, all entries before it.
func (e *ChainEntry) message(before *ChainEntry) []byte {
	var prev [sha256.Size]byte
	if before != nil {
		// The signature covers what came before, and so on to the first.
		prev = sha256.Sum256(before.Signature[:])
	}
	b := bytes.Clone(prev[:])
	b = binary.BigEndian.AppendUint64(b, uint64(e.Epoch))
	b = binary.BigEndian.AppendUint64(b, uint64(e.At.UnixNano()))
	b = binary.BigEndian.AppendUint64(b, uint64(len(e.Roots)))
	for _, r := range e.Roots {
		b = append(b, r[:]...)
	}
	b = append(b, e.Recovery[:]...)
	return append(b, e.SignedBy[:]...)
}

// compareNetworks orders two network values by their chains; one that is not
// proven comes before all that are.
func compareNetworks(a, b NetworkValue, provenA, provenB bool) int {
	if !provenA || !provenB || a.ID != b.ID {
		return cmp.Compare(btoi(provenA), btoi(provenB))
	}
	return compareChains(a.Chain, b.Chain)
}

// compareChains says which of two proven chains of one network prevails: the
// longer where one continues the other. At a fork a branch that begins with the
// recovery key wins, else the one that began earlier, else the one whose first
// signature is smaller.
func compareChains(a, b []ChainEntry) int {
	for i := range min(len(a), len(b)) {
		if a[i].Signature == b[i].Signature {
			continue
		}
		var recoveredA, recoveredB bool
		if i > 0 {
			recoveredA, recoveredB = a[i].SignedBy == a[i-1].Recovery, b[i].SignedBy == a[i-1].Recovery
		}
		return cmp.Or(
			cmp.Compare(btoi(recoveredA), btoi(recoveredB)),
			b[i].At.Compare(a[i].At),
			bytes.Compare(b[i].Signature[:], a[i].Signature[:]),
		)
	}
	return cmp.Compare(len(a), len(b))
}
