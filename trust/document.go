package trust

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// Bounds of a document.
const (
	MaxDocumentValue = 1 << 20
	MaxDocumentKind  = 32
	MaxDocumentName  = 200
)

const documentContext = "atoll document 1"

// Kinds of trust documents: State is made of these and nothing else.
const (
	KindNetwork = "network"
	KindSigner  = "signer"
	KindMember  = "member"
	KindRevoked = "revoked"
	KindLeft    = "left"
	KindInvite  = "invite"
	KindPolicy  = "policy"
)

// KindPrimary is of documents that say which islands act for the whole network. It
// is no kind of trust, but who writes it must be allowed to administer.
const KindPrimary = "primary"

// Keys of the trust documents of which there is one.
const (
	NetworkDocument = KindNetwork + "/main"
	PolicyDocument  = KindPolicy + "/main"
)

// SignerDocument is the document key under which a root trusts a signer.
func SignerDocument(signer Key) string { return KindSigner + "/" + signer.String() }

// MemberDocument is the document key of the member whose current node key this is.
func MemberDocument(node Key) string { return KindMember + "/" + node.String() }

// RevokedDocument is the document key under which a node's or signer's key is revoked.
func RevokedDocument(k Key) string { return KindRevoked + "/" + k.String() }

// LeftDocument is the document key under which a member says good-bye.
func LeftDocument(node Key) string { return KindLeft + "/" + node.String() }

// InviteDocument is the document key of the invitation that guest proves itself with.
func InviteDocument(guest Key) string { return KindInvite + "/" + guest.String() }

// trustOrder is the order in which rights depend on each other.
var trustOrder = [...]string{KindNetwork, KindSigner, KindRevoked, KindMember, KindLeft, KindInvite, KindPolicy}

// Order sorts documents so that each is judged after those its author's
// right may hang on: trust documents from 0, all others behind them.
func Order(documentKey string) int {
	kind, _, _ := strings.Cut(documentKey, "/")
	for i, k := range trustOrder {
		if k == kind {
			return i
		}
	}
	return len(trustOrder)
}

// IsTrustKind reports whether a document of this key is one that State is made of.
func IsTrustKind(documentKey string) bool { return Order(documentKey) < len(trustOrder) }

// ParseDocumentKey splits "kind/name": a kind of 1 to 32 of [a-z], a name of 1
// to 200 of [A-Za-z0-9._~-].
func ParseDocumentKey(key string) (kind, name string, err error) {
	kind, name, ok := strings.Cut(key, "/")
	switch {
	case !ok:
		return "", "", fmt.Errorf("document key %.80q: must be kind/name", key)
	case !consistsOf(kind, MaxDocumentKind, isKindChar):
		return "", "", fmt.Errorf("document key %.80q: its kind must be 1 to %d of a-z", key, MaxDocumentKind)
	case !consistsOf(name, MaxDocumentName, isNameChar):
		return "", "", fmt.Errorf("document key %.80q: its name must be 1 to %d of A-Z a-z 0-9 . _ ~ -", key, MaxDocumentName)
	}
	return kind, name, nil
}

func consistsOf(s string, most int, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return s != "" && len(s) <= most
}

func isKindChar(c byte) bool { return 'a' <= c && c <= 'z' }

func isNameChar(c byte) bool {
	return isKindChar(c) || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '~' || c == '-'
}

// DocumentTime is the wall clock inside a document's time, to the millisecond.
func DocumentTime(hlc uint64) time.Time { return time.UnixMilli(int64(hlc >> 16)).UTC() }

// TimeOfDocument is the earliest document time in t's millisecond.
func TimeOfDocument(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) << 16 }

// NewDocument makes and signs a version of a document. time is a hybrid logical
// clock: Unix milliseconds << 16 | counter. A deleted document's value is dropped.
func NewDocument(network NetworkID, author PrivateKey, key string, value []byte, time uint64, deleted bool) *replicapb.Document {
	if deleted {
		value = nil
	}
	d := &replicapb.Document{Key: key, Value: value, Time: time, Deleted: deleted, Author: author.Public().Bytes()}
	d.Signature = author.Sign(documentContext, network, documentMessage(d))
	return d
}

// documentMessage is what an author signs: the fields in a fixed frame, since
// protobuf's own encoding may differ between versions of its library.
func documentMessage(d *replicapb.Document) []byte {
	b := make([]byte, 0, binary.MaxVarintLen64+len(d.GetKey())+8+1+sha256.Size)
	b = binary.AppendUvarint(b, uint64(len(d.GetKey())))
	b = append(b, d.GetKey()...)
	b = binary.BigEndian.AppendUint64(b, d.GetTime())
	b = append(b, 0)
	if d.GetDeleted() {
		b[len(b)-1] = 1
	}
	sum := sha256.Sum256(d.GetValue())
	return append(b, sum[:]...)
}

// VerifyDocument checks shape, bounds and signature. It says nothing about the
// author's rights: that is State.Permit.
func VerifyDocument(network NetworkID, d *replicapb.Document) error {
	author, err := checkDocument(d)
	if err != nil {
		return err
	}
	if !author.Verify(documentContext, network, documentMessage(d), d.GetSignature()) {
		return fmt.Errorf("document %s: signature is not %s's for network %s", d.GetKey(), author, network.Short())
	}
	return nil
}

func checkDocument(d *replicapb.Document) (author Key, err error) {
	if d == nil {
		return Key{}, fmt.Errorf("document: there is none")
	}
	if _, _, err := ParseDocumentKey(d.GetKey()); err != nil {
		return Key{}, err
	}
	problem := ""
	switch {
	case len(d.GetValue()) > MaxDocumentValue:
		problem = fmt.Sprintf("value of %d bytes: at most %d", len(d.GetValue()), MaxDocumentValue)
	case d.GetDeleted() && len(d.GetValue()) > 0:
		problem = fmt.Sprintf("deleted, yet with a value of %d bytes", len(d.GetValue()))
	case !utf8.Valid(d.GetValue()):
		problem = "value is not UTF-8 text"
	case d.GetTime() == 0:
		problem = "time is zero"
	case d.GetTime()>>63 != 0:
		problem = fmt.Sprintf("time %d: is beyond any clock", d.GetTime())
	case len(d.GetSignature()) != ed25519.SignatureSize:
		problem = fmt.Sprintf("signature of %d bytes: must be %d", len(d.GetSignature()), ed25519.SignatureSize)
	case len(d.ProtoReflect().GetUnknown()) > 0:
		problem = "has fields that this version does not know: they are not covered by the signature"
	}
	if problem != "" {
		return Key{}, fmt.Errorf("document %s: %s", d.GetKey(), problem)
	}
	if author, err = KeyOf(d.GetAuthor()); err != nil {
		return Key{}, fmt.Errorf("document %s: author: %w", d.GetKey(), err)
	}
	return author, nil
}

// Newer reports whether a wins over b, two versions of one document. The later
// time wins; with equal times the greater author; then the greater signature.
// Of network/main the longer or prevailing chain of roots wins before all that:
// else a late edit of the name would undo a rotation elsewhere.
func Newer(a, b *replicapb.Document) bool { return compareVersions(a, b) > 0 }

func compareVersions(a, b *replicapb.Document) int {
	if a == nil || b == nil {
		return cmp.Compare(btoi(a != nil), btoi(b != nil))
	}
	if a.GetKey() == NetworkDocument && b.GetKey() == NetworkDocument && !bytes.Equal(a.GetValue(), b.GetValue()) {
		va, errA := DecodeNetwork(a.GetValue())
		vb, errB := DecodeNetwork(b.GetValue())
		if c := compareNetworks(va, vb, errA == nil, errB == nil); c != 0 {
			return c
		}
	}
	return lastWriter(a, b)
}

func lastWriter(a, b *replicapb.Document) int {
	return cmp.Or(
		cmp.Compare(a.GetTime(), b.GetTime()),
		bytes.Compare(a.GetAuthor(), b.GetAuthor()),
		bytes.Compare(a.GetSignature(), b.GetSignature()),
		// Only where a signature was not verified does it go this far.
		bytes.Compare(a.GetValue(), b.GetValue()),
		cmp.Compare(btoi(a.GetDeleted()), btoi(b.GetDeleted())),
	)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
