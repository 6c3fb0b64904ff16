package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/mr-tron/base58"
	"go.yaml.in/yaml/v3"
)

// Key is an ed25519 public key.
type Key [ed25519.PublicKeySize]byte

// peerIDPrefix makes a peer ID of a key: an identity multihash (0x00) of 36
// bytes (0x24) around a protobuf of key type ed25519 (0x08 0x01) and 32 bytes
// (0x12 0x20). Source: libp2p specs, peer-ids.
const peerIDPrefix = "\x00\x24\x08\x01\x12\x20"

// peerIDChars is the length of every ed25519 peer ID in base58.
const peerIDChars = 52

// String is the key's libp2p peer ID, "12D3KooW…".
func (k Key) String() string {
	var b [len(peerIDPrefix) + len(k)]byte
	copy(b[copy(b[:], peerIDPrefix):], k[:])
	return base58.Encode(b[:])
}

// Short is the end of the peer ID, enough for people to tell keys apart.
func (k Key) Short() string { return k.String()[peerIDChars-6:] }

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k == Key{} }

// Bytes returns a copy of the 32 bytes.
func (k Key) Bytes() []byte { return bytes.Clone(k[:]) }

// Compare orders keys by their bytes.
func (k Key) Compare(other Key) int { return bytes.Compare(k[:], other[:]) }

// KeyOf makes a key of its 32 bytes. Keys that anybody could sign for are refused.
func KeyOf(b []byte) (Key, error) {
	var k Key
	if len(b) != len(k) {
		return Key{}, fmt.Errorf("key of %d bytes: must be %d, a raw ed25519 public key", len(b), len(k))
	}
	copy(k[:], b)
	if k.weak() {
		return Key{}, fmt.Errorf("key %x: a point of small order or in a non-canonical form is nobody's key", b)
	}
	return k, nil
}

// ParseKey reads a peer ID as String prints it.
func ParseKey(text string) (Key, error) {
	if len(text) != peerIDChars {
		return Key{}, fmt.Errorf("peer ID %.60q: must be %d characters, beginning with 12D3KooW", text, peerIDChars)
	}
	b, err := base58.Decode(text)
	if err != nil {
		return Key{}, fmt.Errorf("peer ID %q: %w", text, err)
	}
	raw, ok := bytes.CutPrefix(b, []byte(peerIDPrefix))
	if !ok {
		return Key{}, fmt.Errorf("peer ID %q: is not of an ed25519 key; those begin with 12D3KooW", text)
	}
	k, err := KeyOf(raw)
	if err != nil {
		return Key{}, fmt.Errorf("peer ID %q: %w", text, err)
	}
	return k, nil
}

// MarshalText is String; no key is empty text.
func (k Key) MarshalText() ([]byte, error) {
	if k.IsZero() {
		return nil, nil
	}
	return []byte(k.String()), nil
}

// UnmarshalText is ParseKey; empty text is no key.
func (k *Key) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*k = Key{}
		return nil
	}
	*k, err = ParseKey(string(text))
	return err
}

// UnmarshalYAML refuses the other shapes in which YAML would fill 32 bytes.
func (k *Key) UnmarshalYAML(n *yaml.Node) error { return unmarshalScalar(n, k.UnmarshalText) }

// Verify reports whether sig is k's signature over msg for this context and network.
func (k Key) Verify(context string, network NetworkID, msg, sig []byte) bool {
	if len(sig) != ed25519.SignatureSize || len(context) > maxContext || k.weak() {
		return false
	}
	return ed25519.Verify(k[:], signedBytes(context, network, msg), sig)
}

// maxContext keeps the length of a context in one byte.
const maxContext = 64

// signedBytes is what is really signed. A libp2p signature begins with 'n' or
// 'l', or with a length followed by "libp2p": none can be taken for ours.
func signedBytes(context string, network NetworkID, msg []byte) []byte {
	b := make([]byte, 0, 1+len(context)+len(network)+len(msg))
	b = append(b, byte(len(context)))
	b = append(b, context...)
	b = append(b, network[:]...)
	return append(b, msg...)
}

// smallOrder are the y coordinates of the points of order 1, 2, 4 and 8: for a
// key among them one signature holds for many messages. Source: the list in
// libsodium's ge25519_has_small_order.
var smallOrder = [...]string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
}

// weak reports whether k is of small order, or a second spelling (y not below
// the field's prime, 2²⁵⁵−19) of some point.
func (k Key) weak() bool {
	y := k
	y[31] &= 0x7f
	if y[31] == 0x7f && y[0] >= 0xed && bytes.Count(y[1:31], []byte{0xff}) == 30 {
		return true
	}
	if y[31] != 0 && y[31] != 0x7f && y[31] != 0x05 && y[31] != 0x7a {
		return false
	}
	text := hex.EncodeToString(y[:])
	for _, s := range smallOrder {
		if text == s {
			return true
		}
	}
	return false
}

// PrivateKey is an ed25519 private key. Printing it shows whose it is, not what it is.
type PrivateKey struct {
	seed [ed25519.SeedSize]byte
	key  ed25519.PrivateKey
}

// NewKey makes a key from the system's randomness.
func NewKey() (PrivateKey, error) {
	var seed [ed25519.SeedSize]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return PrivateKey{}, fmt.Errorf("make key: %w", err)
	}
	return FromSeed(seed[:])
}

// FromSeed makes the key that the 32 bytes of seed stand for.
func FromSeed(seed []byte) (PrivateKey, error) {
	if len(seed) != ed25519.SeedSize {
		return PrivateKey{}, fmt.Errorf("seed of %d bytes: must be %d", len(seed), ed25519.SeedSize)
	}
	return PrivateKey{seed: [ed25519.SeedSize]byte(seed), key: ed25519.NewKeyFromSeed(seed)}, nil
}

// IsZero reports whether there is no key.
func (p PrivateKey) IsZero() bool { return len(p.key) == 0 }

// Public is the key's public half; no key has none.
func (p PrivateKey) Public() Key {
	if p.IsZero() {
		return Key{}
	}
	return Key(p.key[ed25519.SeedSize:])
}

// Seed returns a copy of the 32 bytes that FromSeed takes.
func (p PrivateKey) Seed() []byte { return bytes.Clone(p.seed[:]) }

// Ed25519 returns a copy of the key as the standard library has it.
func (p PrivateKey) Ed25519() ed25519.PrivateKey { return bytes.Clone(p.key) }

// Sign signs msg for one purpose in one network; Key.Verify is the other half.
// The context is at most 64 bytes and names the purpose and its version.
func (p PrivateKey) Sign(context string, network NetworkID, msg []byte) []byte {
	if len(context) > maxContext {
		panic("BUG: context of a signature is longer than 64 bytes: " + context)
	}
	return ed25519.Sign(p.key, signedBytes(context, network, msg))
}

func (p PrivateKey) String() string {
	if p.IsZero() {
		return "no private key"
	}
	return "private key of " + p.Public().String()
}

// GoString keeps %#v from printing the key.
func (p PrivateKey) GoString() string { return p.String() }

// LogValue keeps the key out of logs.
func (p PrivateKey) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText refuses: a private key travels in its own file only.
func (p PrivateKey) MarshalText() ([]byte, error) {
	return nil, errors.New("write private key: it may be written by SaveKey only")
}
