package access

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/policy"
)

// Kinds of the shared documents in which a network's users and tokens are kept.
const (
	KindUsers  = "users"
	KindTokens = "tokens"
)

// user is a person with a password, as kept on disk or in a shared document.
type user struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
	// Password is its argon2id hash.
	Password string `json:"password"`
	// Stamp changes with the password and with what else must end sessions.
	Stamp    string    `json:"stamp"`
	Disabled bool      `json:"disabled,omitempty"`
	Created  time.Time `json:"created"`
	Changed  time.Time `json:"changed"`
	// By made it or changed it last.
	By string `json:"by,omitempty"`
}

// userName leaves out what documents cannot be called, and "/", which divides
// names of other sources from their prefix. "~" is the "@" of theirs.
var userName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._~-]{0,61}[a-z0-9])?$`)

func checkName(field, name string) *Error {
	if userName.MatchString(name) {
		return nil
	}
	return invalid(field, "%.80q: must be 1 to 63 lower-case letters, digits, '.', '_', '-' or '~', with a letter or digit at both ends", name)
}

// normal is how a name that somebody typed is looked up.
func normal(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

func checkRoles(roles []string) *Error {
	if len(roles) == 0 {
		return invalid("roles", "is empty: name at least one of %s", quoted(policy.UserRoles()))
	}
	for i, role := range roles {
		if !slices.Contains(policy.UserRoles(), role) {
			return invalid("roles", "%.80q: must be one of %s", role, quoted(policy.UserRoles()))
		}
		if slices.Contains(roles[:i], role) {
			return invalid("roles", "%q is named twice", role)
		}
	}
	return nil
}

func (u *user) check() error {
	if err := checkName("name", u.Name); err != nil {
		return err
	}
	if err := checkRoles(u.Roles); err != nil {
		return err
	}
	if u.Stamp == "" || len(u.Stamp) > 64 {
		return fmt.Errorf("stamp of %d characters: must have 1 to 64", len(u.Stamp))
	}
	_, _, err := decodeHash(u.Password)
	return err
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never errs
	return base64.RawURLEncoding.EncodeToString(b)
}

func newStamp() string { return random(9) }

// maxRecord bounds what is decoded as a user or token.
const maxRecord = 8 << 10

func decode[T interface{ check() error }](text []byte, into T) error {
	if len(text) > maxRecord {
		return fmt.Errorf("%d bytes: at most %d", len(text), maxRecord)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return err
	}
	return into.check()
}

// CheckDocument says whether the text can be the shared document kind/….
func CheckDocument(kind string, text []byte) error {
	switch kind {
	case KindUsers:
		return decode(text, &user{})
	case KindTokens:
		return decode(text, &token{})
	}
	return errors.New("BUG: access has no documents of kind " + kind)
}
