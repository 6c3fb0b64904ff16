package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
)

const pemType = "PRIVATE KEY"

// SaveKey writes k as PEM (PKCS #8), readable by its owner only. What was there
// is replaced as a whole.
func SaveKey(path string, k PrivateKey) error {
	b, err := encodeKey(k)
	if err == nil {
		err = disk{}.replace(path, b)
	}
	if err != nil {
		return fmt.Errorf("save key: %w", err)
	}
	return nil
}

// LoadKey reads what SaveKey wrote, or openssl genpkey -algorithm ed25519. A
// file that everybody may read is refused.
func LoadKey(path string) (PrivateKey, error) {
	k, err := loadKey(path)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("load key: %w", err)
	}
	return k, nil
}

func loadKey(path string) (PrivateKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return PrivateKey{}, err
	}
	// The group may read: Kubernetes sets that on volumes with an fsGroup.
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return PrivateKey{}, fmt.Errorf("%s: mode %#o lets everybody at it: chmod 600 it, and replace the key if others were on this machine", path, mode)
	}
	b, err := readBounded(path, maxKeyFile)
	if err != nil {
		return PrivateKey{}, err
	}
	k, err := decodeKey(b)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

func encodeKey(k PrivateKey) ([]byte, error) {
	if k.IsZero() {
		return nil, fmt.Errorf("there is no key")
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

func decodeKey(b []byte) (PrivateKey, error) {
	block, rest := pem.Decode(b)
	if block == nil || block.Type != pemType || len(bytes.TrimSpace(rest)) > 0 {
		return PrivateKey{}, fmt.Errorf("must be one PEM block of type %s", pemType)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return PrivateKey{}, err
	}
	k, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return PrivateKey{}, fmt.Errorf("is a key of type %T: must be ed25519", parsed)
	}
	return FromSeed(k.Seed())
}
