package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/policy"
)

// Scopes are what a token can be good for: actions of the policy, of which the
// one who holds it can do those that its owner may as well. The scope silence
// covers acknowledging.
func Scopes() []string {
	return []string{"read", "ingest", "silence", "probe", "write", "administer"}
}

func covers(scopes []string, action policy.Action) bool {
	if action == policy.Acknowledge {
		action = policy.Silence
	}
	return slices.Contains(scopes, string(action))
}

// token is an API token, as kept: its secret only as a hash.
type token struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// User owns it: it ends with them and has no more rights than they. Empty for
	// a service token, which has Roles of its own.
	User    string    `json:"user,omitempty"`
	Roles   []string  `json:"roles,omitempty"`
	Scopes  []string  `json:"scopes"`
	Hash    string    `json:"hash"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	By      string    `json:"by,omitempty"`
}

var tokenID = regexp.MustCompile(`^[0-9a-f]{16}$`)

const (
	maxTokenName = 100
	// maxTokenLife bounds how long a forgotten token stays dangerous.
	maxTokenLife     = 2 * 366 * 24 * time.Hour
	defaultTokenLife = 90 * 24 * time.Hour
)

func checkScopes(scopes []string) *Error {
	if len(scopes) == 0 {
		return invalid("scopes", "is empty: name at least one of %s", quoted(Scopes()))
	}
	for i, s := range scopes {
		if !slices.Contains(Scopes(), s) {
			return invalid("scopes", "%.80q: must be one of %s", s, quoted(Scopes()))
		}
		if slices.Contains(scopes[:i], s) {
			return invalid("scopes", "%q is named twice", s)
		}
	}
	return nil
}

func checkTokenName(name string) *Error {
	if name == "" || len(name) > maxTokenName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xFFFD }) {
		return invalid("name", "%.100q: must be 1 to %d bytes of one line, saying what the token is for", name, maxTokenName)
	}
	return nil
}

func (t *token) check() error {
	if !tokenID.MatchString(t.ID) {
		return fmt.Errorf("id %.40q: must be 16 hexadecimal digits", t.ID)
	}
	if err := checkTokenName(t.Name); err != nil {
		return err
	}
	if err := checkScopes(t.Scopes); err != nil {
		return err
	}
	if t.User != "" {
		if err := checkName("user", t.User); err != nil {
			return err
		}
	} else if err := checkRoles(t.Roles); err != nil {
		return err
	}
	if sum, err := hex.DecodeString(t.Hash); err != nil || len(sum) != sha256.Size {
		return fmt.Errorf("hash: must be %d hexadecimal digits", 2*sha256.Size)
	}
	if t.Expires.IsZero() {
		return fmt.Errorf("expires: is missing: a token must end")
	}
	return nil
}

const (
	tokenPrefix = "atoll_"
	secretBytes = 32
)

// mint returns a fresh ID and the text that is shown once.
func (t *token) mint() (text string) {
	id, _ := base64.RawURLEncoding.DecodeString(random(8)) // it is what random made
	t.ID = hex.EncodeToString(id)
	secret := random(secretBytes)
	t.Hash = secretHash(secret)
	return tokenPrefix + t.ID + "_" + secret
}

func secretHash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// splitToken takes the text of a token apart.
func splitToken(text string) (id, secret string, ok bool) {
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok {
		return "", "", false
	}
	id, secret, ok = strings.Cut(rest, "_")
	return id, secret, ok && tokenID.MatchString(id) && len(secret) == base64.RawURLEncoding.EncodedLen(secretBytes)
}

func (t *token) matches(secret string) bool {
	return subtle.ConstantTimeCompare([]byte(secretHash(secret)), []byte(t.Hash)) == 1
}
