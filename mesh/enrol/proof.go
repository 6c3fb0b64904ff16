package enrol

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

// Contexts of signatures, so that none can be taken for another.
const (
	joinContext  = "atoll join"
	rekeyContext = "atoll rekey"
)

// joinMessage is what the keys of a joining island sign: everything that the
// request asks for. Each part is led by its length, so that no two requests
// have the same bytes.
func joinMessage(guest trust.Key, req *meshpb.JoinRequest) []byte {
	var b []byte
	add := func(part []byte) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	add(guest[:])
	add(req.GetNodeKey())
	add(req.GetSignerKey())
	add([]byte(req.GetName()))
	b = binary.BigEndian.AppendUint32(b, req.GetVersion())
	b = binary.BigEndian.AppendUint32(b, uint32(len(req.GetLabels())))
	for _, k := range slices.Sorted(maps.Keys(req.GetLabels())) {
		add([]byte(k))
		add([]byte(req.GetLabels()[k]))
	}
	return b
}

// proveJoin signs the request with the node key, the guest key and, where one is
// offered, the signer key, in this order. The guest key signs too because a
// request may be passed on by a member: without it any member could redeem an
// invitation, whose public key every island knows.
func proveJoin(network trust.NetworkID, guest, node trust.PrivateKey, signer *trust.PrivateKey, req *meshpb.JoinRequest) {
	msg := joinMessage(guest.Public(), req)
	proof := node.Sign(joinContext, network, msg)
	proof = append(proof, guest.Sign(joinContext, network, msg)...)
	if signer != nil {
		proof = append(proof, signer.Sign(joinContext, network, msg)...)
	}
	req.Proof = proof
}

// checkJoinProof gives the keys of a request whose signatures hold; signer is
// zero where none is offered.
func checkJoinProof(network trust.NetworkID, guest trust.Key, req *meshpb.JoinRequest) (node, signer trust.Key, err error) {
	node, err = trust.KeyOf(req.GetNodeKey())
	if err != nil {
		return node, signer, fmt.Errorf("node_key: %w", err)
	}
	keys := []trust.Key{node, guest}
	if len(req.GetSignerKey()) > 0 {
		if signer, err = trust.KeyOf(req.GetSignerKey()); err != nil {
			return node, signer, fmt.Errorf("signer_key: %w", err)
		}
		keys = append(keys, signer)
	}
	proof := req.GetProof()
	if len(proof) != len(keys)*ed25519.SignatureSize {
		return node, signer, fmt.Errorf("proof: %d bytes, must be %d: one signature by each of %d keys",
			len(proof), len(keys)*ed25519.SignatureSize, len(keys))
	}
	if distinct := map[trust.Key]bool{node: true, guest: true, signer: true}; len(distinct) != 3 {
		return node, signer, errors.New("node_key, signer_key and the token's key must differ")
	}
	msg := joinMessage(guest, req)
	for i, k := range keys {
		if !k.Verify(joinContext, network, msg, proof[i*ed25519.SignatureSize:(i+1)*ed25519.SignatureSize]) {
			return node, signer, fmt.Errorf("proof: signature %d is not by key %s over this request", i+1, k)
		}
	}
	return node, signer, nil
}

// proveRekey shows that the holder of the new key wants to take the old one's place.
func proveRekey(network trust.NetworkID, old trust.Key, next trust.PrivateKey) *meshpb.RekeyRequest {
	pub := next.Public()
	return &meshpb.RekeyRequest{NewKey: pub[:], Proof: next.Sign(rekeyContext, network, old[:])}
}

func checkRekeyProof(network trust.NetworkID, old trust.Key, req *meshpb.RekeyRequest) (trust.Key, error) {
	next, err := trust.KeyOf(req.GetNewKey())
	if err != nil {
		return next, fmt.Errorf("new_key: %w", err)
	}
	if !next.Verify(rekeyContext, network, old[:], req.GetProof()) {
		return next, fmt.Errorf("proof: not a signature by %s over the key that it replaces", next)
	}
	return next, nil
}
