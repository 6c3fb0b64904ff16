package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// What one password costs to hash: 19 MiB and two passes, of which an island of
// 512 MB can afford two at once.
const (
	hashMemory  = 19 << 10 // KiB
	hashTime    = 2
	hashLanes   = 1
	hashBytes   = 32
	saltBytes   = 16
	hashesAtOne = 2
	hashWait    = 5 * time.Second

	minPassword = 8
	maxPassword = 256
)

// hasher bounds how much memory and CPU passwords take.
type hasher struct {
	slots chan struct{}
	// decoy is verified where there is no such user, so that the answer takes as
	// long as for one that exists.
	decoy string
}

func newHasher() *hasher {
	h := &hasher{slots: make(chan struct{}, hashesAtOne)}
	h.decoy = encodeHash(derive("no user has this password", make([]byte, saltBytes)), make([]byte, saltBytes))
	return h
}

var errBusy = &Error{
	Status: 503, Code: "busy", Message: "too many people sign in at this moment",
	Remedy: "try again in a few seconds",
}

func (h *hasher) enter(ctx context.Context) error {
	timer := time.NewTimer(hashWait)
	defer timer.Stop()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return errBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *hasher) leave() { <-h.slots }

func derive(password string, salt []byte) []byte {
	return argon2.IDKey([]byte(password), salt, hashTime, hashMemory, hashLanes, hashBytes)
}

// hash returns the PHC text of a password.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	if err := h.enter(ctx); err != nil {
		return "", err
	}
	defer h.leave()
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never errs
	return encodeHash(derive(password, salt), salt), nil
}

const hashPrefix = "$argon2id$v=19$m=19456,t=2,p=1$"

func encodeHash(sum, salt []byte) string {
	b := base64.RawStdEncoding
	return hashPrefix + b.EncodeToString(salt) + "$" + b.EncodeToString(sum)
}

func decodeHash(text string) (sum, salt []byte, err error) {
	rest, ok := strings.CutPrefix(text, hashPrefix)
	if !ok {
		return nil, nil, fmt.Errorf("password hash: must begin with %q", hashPrefix)
	}
	s, d, ok := strings.Cut(rest, "$")
	if !ok {
		return nil, nil, errors.New("password hash: must be a salt and a digest, divided by $")
	}
	if salt, err = base64.RawStdEncoding.DecodeString(s); err == nil {
		sum, err = base64.RawStdEncoding.DecodeString(d)
	}
	if err != nil || len(salt) != saltBytes || len(sum) != hashBytes {
		return nil, nil, fmt.Errorf("password hash: its salt must be %d bytes and its digest %d, in base64", saltBytes, hashBytes)
	}
	return sum, salt, nil
}

// verify reports whether password is the one of a hash. It takes as long for an
// empty hash, which no password has.
func (h *hasher) verify(ctx context.Context, hash, password string) (bool, error) {
	known := hash != ""
	if !known {
		hash = h.decoy
	}
	sum, salt, err := decodeHash(hash)
	if err != nil {
		return false, err
	}
	if err := h.enter(ctx); err != nil {
		return false, err
	}
	defer h.leave()
	same := subtle.ConstantTimeCompare(derive(password, salt), sum) == 1
	return same && known, nil
}

// checkPassword refuses what is too easily guessed or too long to be meant.
func checkPassword(user, password string) *Error {
	problem := ""
	switch {
	case len(password) > maxPassword:
		problem = fmt.Sprintf("has %d bytes: at most %d", len(password), maxPassword)
	case !utf8.ValidString(password):
		problem = "is not UTF-8 text"
	case utf8.RuneCountInString(password) < minPassword:
		problem = fmt.Sprintf("has %d characters: must have at least %d", utf8.RuneCountInString(password), minPassword)
	case strings.EqualFold(password, user):
		problem = "is the user's name"
	default:
		return nil
	}
	return &Error{Status: 422, Code: "invalid", Field: "password", Message: "the password " + problem, Remedy: "choose a longer one, such as four words"}
}
