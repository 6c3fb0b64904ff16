// Package ident translates between the project's keys and libp2p's names for them.
//
// In: a trust.Key or a peer.ID. Out: the other. Guaranteed: a peer.ID that is
// not an ed25519 key is refused, so every admitted peer has exactly one key.
package ident

import (
	"fmt"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/atoll-mesh/atoll/trust"
)

// prefix is what stands before the key in a peer.ID: the identity multihash
// (0x00) of 36 bytes, holding the protobuf {type: ed25519, data: 32 bytes}.
const prefix = "\x00\x24\x08\x01\x12\x20"

// Peer returns libp2p's name of a key.
func Peer(k trust.Key) peer.ID { return peer.ID(prefix + string(k[:])) }

// Key returns the key that a peer.ID holds, or false where it is not ed25519.
func Key(p peer.ID) (trust.Key, bool) {
	if len(p) != len(prefix)+len(trust.Key{}) || string(p[:len(prefix)]) != prefix {
		return trust.Key{}, false
	}
	return trust.Key([]byte(p[len(prefix):])), true
}

// Private returns a private key as libp2p holds it.
func Private(k trust.PrivateKey) (crypto.PrivKey, error) {
	key, err := crypto.UnmarshalEd25519PrivateKey(k.Ed25519())
	if err != nil {
		return nil, fmt.Errorf("hand the node key to libp2p: %w", err)
	}
	return key, nil
}

// Short is what a peer is called where space is scarce: the end of its name.
func Short(p peer.ID) string {
	if k, ok := Key(p); ok {
		return k.Short()
	}
	return p.ShortString()
}

// Relayed reports whether an address leads through another island.
func Relayed(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}
