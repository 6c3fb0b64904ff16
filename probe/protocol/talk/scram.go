package talk

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// maxIterations bounds the work that a server may ask for; PostgreSQL's own is 4096.
const maxIterations = 1_000_000

// scram is a client of SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding.
// The password is taken as it is, which SASLprep leaves alone where it is ASCII.
type scram struct {
	password string
	nonce    string
	bare     string // client-first-message-bare
	server   [sha256.Size]byte
	// proved tells that the server knows the password too.
	proved bool
}

func newSCRAM(password string) *scram { return &scram{password: password, nonce: rand.Text()} }

// first is the first message; PostgreSQL knows the user's name already.
func (s *scram) first() string {
	s.bare = "n=,r=" + s.nonce
	return "n,," + s.bare
}

// final answers the server's first message by the proof.
func (s *scram) final(challenge string) (string, error) {
	nonce, salt, iterations, err := parseSCRAM(challenge)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(nonce, s.nonce) || nonce == s.nonce {
		return "", fmt.Errorf("read the server's SCRAM challenge: its nonce is not made of ours")
	}
	salted, err := pbkdf2.Key(sha256.New, s.password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive a key from the password: %w", err)
	}
	bare := "c=biws,r=" + nonce
	message := s.bare + "," + challenge + "," + bare
	client := mac(salted, "Client Key")
	stored := sha256.Sum256(client[:])
	signature := mac(stored[:], message)
	subtle.XORBytes(client[:], client[:], signature[:])
	key := mac(salted, "Server Key")
	s.server = mac(key[:], message)
	return bare + ",p=" + base64.StdEncoding.EncodeToString(client[:]), nil
}

// verify checks the server's own proof.
func (s *scram) verify(message string) error {
	v, ok := strings.CutPrefix(message, "v=")
	got, err := base64.StdEncoding.DecodeString(v)
	if !ok || err != nil || !hmac.Equal(got, s.server[:]) {
		return fmt.Errorf("check the server's SCRAM proof: it does not know the password")
	}
	s.proved = true
	return nil
}

func mac(key []byte, text string) [sha256.Size]byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return [sha256.Size]byte(h.Sum(nil))
}

// parseSCRAM reads "r=nonce,s=salt,i=iterations".
func parseSCRAM(challenge string) (nonce string, salt []byte, iterations int, err error) {
	parts := strings.SplitN(challenge, ",", 4)
	if len(parts) < 3 || !strings.HasPrefix(parts[0], "r=") || !strings.HasPrefix(parts[1], "s=") || !strings.HasPrefix(parts[2], "i=") {
		return "", nil, 0, fmt.Errorf("read the server's SCRAM challenge: it is %s, want r=…,s=…,i=…", quote(challenge))
	}
	salt, err = base64.StdEncoding.DecodeString(parts[1][2:])
	if err != nil || len(salt) == 0 {
		return "", nil, 0, fmt.Errorf("read the server's SCRAM challenge: its salt is %s, want base64", quote(parts[1][2:]))
	}
	iterations, err = strconv.Atoi(parts[2][2:])
	if err != nil || iterations < 1 || iterations > maxIterations {
		return "", nil, 0, fmt.Errorf("read the server's SCRAM challenge: %s iterations, want 1 to %d", quote(parts[2][2:]), maxIterations)
	}
	return parts[0][2:], salt, iterations, nil
}
