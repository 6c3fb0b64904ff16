package trust

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// NetworkID names a network for good: the SHA-256 of "atoll network\n" and the
// first root's key.
type NetworkID [sha256.Size]byte

// text32 is lower-case base32 without padding: one word for a double click.
var text32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NetworkOf is the network whose first root is root.
func NetworkOf(root Key) NetworkID {
	return sha256.Sum256(append([]byte("atoll network\n"), root[:]...))
}

// NetworkFromBytes makes an ID of its 32 bytes.
func NetworkFromBytes(b []byte) (NetworkID, error) {
	if len(b) != sha256.Size {
		return NetworkID{}, fmt.Errorf("network ID of %d bytes: must be %d", len(b), sha256.Size)
	}
	return NetworkID(b), nil
}

// ParseNetwork reads an ID as String prints it.
func ParseNetwork(text string) (NetworkID, error) {
	var id NetworkID
	if len(text) != text32.EncodedLen(len(id)) {
		return NetworkID{}, fmt.Errorf("network ID %.60q: must be %d characters", text, text32.EncodedLen(len(id)))
	}
	b, err := text32.DecodeString(text)
	if err != nil {
		return NetworkID{}, fmt.Errorf("network ID %q: must be lower-case base32: %w", text, err)
	}
	copy(id[:], b)
	if id.String() != text {
		return NetworkID{}, fmt.Errorf("network ID %q: bits are set after its end: copy it again", text)
	}
	return id, nil
}

// String is lower-case base32 without padding, 52 characters.
func (n NetworkID) String() string { return text32.EncodeToString(n[:]) }

// Short is the first 8 characters of String.
func (n NetworkID) Short() string { return n.String()[:8] }

// IsZero reports whether there is no network.
func (n NetworkID) IsZero() bool { return n == NetworkID{} }

// Bytes returns a copy of the 32 bytes.
func (n NetworkID) Bytes() []byte { return bytes.Clone(n[:]) }

// MarshalText is String.
func (n NetworkID) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText is ParseNetwork.
func (n *NetworkID) UnmarshalText(text []byte) (err error) {
	*n, err = ParseNetwork(string(text))
	return err
}

// UnmarshalYAML refuses the other shapes in which YAML would fill 32 bytes.
func (n *NetworkID) UnmarshalYAML(node *yaml.Node) error {
	return unmarshalScalar(node, n.UnmarshalText)
}
