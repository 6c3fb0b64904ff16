package trust

import (
	"crypto/sha256"
	"fmt"

	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// decoded remembers values by the hash of their kind and text: decoding is a
// pure function of these. The zero value remembers nothing. It keeps what the
// last evaluation used, so it is as large as the set of documents.
type decoded struct {
	old, now map[[sha256.Size]byte]any
}

func newDecoded() decoded { return decoded{now: map[[sha256.Size]byte]any{}} }

// next begins an evaluation: what this one does not use is forgotten by the one after it.
func (c decoded) next() decoded {
	return decoded{old: c.now, now: make(map[[sha256.Size]byte]any, len(c.now))}
}

func valueHash(kind string, text []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write([]byte(kind))
	h.Write([]byte{0})
	h.Write(text)
	return [sha256.Size]byte(h.Sum(nil))
}

// frozen is what an evaluation that is over remembered. Nothing is added to it
// any more, so that it may be asked concurrently.
func (c decoded) frozen() decoded { return decoded{old: c.now} }

func recall[T any](c decoded, kind string, d *replicapb.Document, decode func([]byte) (T, error)) (T, error) {
	if c.now == nil && c.old == nil {
		return decode(d.GetValue())
	}
	hash := valueHash(kind, d.GetValue())
	for _, m := range []map[[sha256.Size]byte]any{c.now, c.old} {
		if v, ok := m[hash].(T); ok {
			c.keep(hash, v)
			return v, nil
		}
	}
	v, err := decode(d.GetValue())
	if err == nil {
		c.keep(hash, v)
	}
	return v, err
}

func (c decoded) keep(hash [sha256.Size]byte, v any) {
	if c.now != nil {
		c.now[hash] = v
	}
}

func (c decoded) network(d *replicapb.Document) (NetworkValue, error) {
	return recall(c, KindNetwork, d, DecodeNetwork)
}

func (c decoded) signer(d *replicapb.Document) (SignerValue, error) {
	return recall(c, KindSigner, d, DecodeSigner)
}

func (c decoded) revoked(d *replicapb.Document) (RevokedValue, error) {
	return recall(c, KindRevoked, d, DecodeRevoked)
}

// namedMember is a member's value with its current key's peer ID: making that
// out is the dearest part of an evaluation that remembers all values.
type namedMember struct {
	MemberValue
	id string
}

func (c decoded) member(d *replicapb.Document) (namedMember, error) {
	return recall(c, KindMember, d, func(text []byte) (namedMember, error) {
		v, err := DecodeMember(text)
		if err != nil {
			return namedMember{}, err
		}
		return namedMember{MemberValue: v, id: v.Keys[0].Key.String()}, nil
	})
}

func (c decoded) left(d *replicapb.Document) (LeftValue, error) {
	return recall(c, KindLeft, d, DecodeLeft)
}

func (c decoded) invite(d *replicapb.Document) (InviteValue, error) {
	return recall(c, KindInvite, d, DecodeInvite)
}

func (c decoded) policy(d *replicapb.Document) (*policy.Set, error) {
	return recall(c, KindPolicy, d, func(text []byte) (*policy.Set, error) {
		set, err := policy.Parse(PolicyDocument, text)
		if err != nil {
			return nil, fmt.Errorf("read policy: %w", err)
		}
		return set, nil
	})
}

func (c decoded) defaultPolicy() *policy.Set {
	d := &replicapb.Document{}
	set, _ := recall(c, "default "+KindPolicy, d, func([]byte) (*policy.Set, error) { return parseDefaultPolicy(), nil })
	return set
}
