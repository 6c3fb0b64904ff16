package trust

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/trustpb"
)

const (
	tokenPrefix   = "atoll1"
	maxTokenChars = 8 << 10
	tokenSum      = 4

	maxBootstrap         = 8
	maxBootstrapAddrs    = 16
	maxBootstrapAddrSize = 256
)

// What is wrong with a token, for errors.Is.
var (
	ErrTokenTruncated = errors.New("the token is cut short: copy the whole line")
	ErrTokenMistyped  = errors.New("the token is not as it was printed: copy it again")
	ErrTokenExpired   = errors.New("the token has expired: ask for a new one (atoll invite)")
)

// Token is an invitation on one line. Whoever holds it may knock as its guest.
type Token struct {
	Network NetworkID
	// GuestSeed is the seed of the guest key that the network was told of.
	GuestSeed [ed25519.SeedSize]byte
	// Bootstrap are the islands to knock at.
	Bootstrap []Bootstrap
	// Expires is to the millisecond.
	Expires time.Time
	Role    string
}

// Bootstrap is an island and its binary multiaddrs, without the peer's ID.
type Bootstrap struct {
	Key       Key
	Addresses [][]byte
}

// Guest is the key to knock with.
func (t Token) Guest() PrivateKey {
	k, err := FromSeed(t.GuestSeed[:])
	if err != nil {
		panic("BUG: a seed of the right length makes no key: " + err.Error())
	}
	return k
}

// CheckExpiry returns ErrTokenExpired if now is after the token's end. Its own
// clock may deceive the guest: who admits has the last word.
func (t Token) CheckExpiry(now time.Time) error {
	if now.After(t.Expires) {
		return fmt.Errorf("token of %s, now %s: %w", t.Expires.Format(time.RFC3339), now.UTC().Format(time.RFC3339), ErrTokenExpired)
	}
	return nil
}

// Line is the token as one line: "atoll1" and base32 of its length, its
// protobuf and the first bytes of a SHA-256 over both. It is a secret.
func (t Token) Line() string {
	m := &trustpb.Token{Network: t.Network[:], GuestSeed: t.GuestSeed[:], ExpiresMs: t.Expires.UnixMilli(), Role: strings.ToValidUTF8(t.Role, "?")}
	for _, b := range t.Bootstrap {
		m.Bootstrap = append(m.Bootstrap, &trustpb.Bootstrap{Key: b.Key[:], Addresses: b.Addresses})
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("BUG: token of valid text cannot be encoded: " + err.Error())
	}
	b := append(binary.AppendUvarint(nil, uint64(len(body))), body...)
	sum := tokenChecksum(b)
	return tokenPrefix + text32.EncodeToString(append(b, sum[:tokenSum]...))
}

// String is Line.
func (t Token) String() string { return t.Line() }

func tokenChecksum(b []byte) [sha256.Size]byte {
	return sha256.Sum256(append([]byte("atoll token\n"), b...))
}

// ParseToken reads what Line wrote, white space in it notwithstanding. Expiry
// is not looked at: that is CheckExpiry.
func ParseToken(text string) (Token, error) {
	t, err := parseToken(text)
	if err != nil {
		return Token{}, fmt.Errorf("read token: %w", err)
	}
	return t, nil
}

func parseToken(text string) (Token, error) {
	if len(text) > 2*maxTokenChars {
		return Token{}, fmt.Errorf("%d characters: at most %d: %w", len(text), maxTokenChars, ErrTokenMistyped)
	}
	text = strings.ToLower(strings.Join(strings.Fields(text), ""))
	coded, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok {
		return Token{}, fmt.Errorf("%.12q…: tokens begin with %s: %w", text, tokenPrefix, ErrTokenMistyped)
	}
	body, err := tokenBody(coded)
	if err != nil {
		return Token{}, err
	}
	var m trustpb.Token
	if err := proto.Unmarshal(body, &m); err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrTokenMistyped, err)
	}
	return tokenOf(&m)
}

func tokenBody(coded string) ([]byte, error) {
	if i := strings.IndexFunc(coded, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '2' || r > '7') }); i >= 0 {
		return nil, fmt.Errorf("character %d, %q: is never in a token: %w", len(tokenPrefix)+i+1, coded[i], ErrTokenMistyped)
	}
	// A cut may leave a group of characters that encodes nothing whole.
	whole := len(coded)
	for whole > 0 && text32.EncodedLen(text32.DecodedLen(whole)) != whole {
		whole--
	}
	raw, err := text32.DecodeString(coded[:whole])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTokenMistyped, err)
	}
	size, n := binary.Uvarint(raw)
	switch {
	case n == 0, n > 0 && size <= maxTokenChars && len(raw) < n+int(size)+tokenSum:
		return nil, ErrTokenTruncated
	case n < 0, size > maxTokenChars, len(raw) > n+int(size)+tokenSum:
		return nil, ErrTokenMistyped
	}
	end := n + int(size)
	if sum := tokenChecksum(raw[:end]); !bytes.Equal(sum[:tokenSum], raw[end:]) || text32.EncodeToString(raw) != coded {
		return nil, ErrTokenMistyped
	}
	return raw[n:end], nil
}

func tokenOf(m *trustpb.Token) (t Token, err error) {
	if t.Network, err = NetworkFromBytes(m.GetNetwork()); err != nil {
		return Token{}, err
	}
	if len(m.GetGuestSeed()) != len(t.GuestSeed) {
		return Token{}, fmt.Errorf("guest seed of %d bytes: must be %d", len(m.GetGuestSeed()), len(t.GuestSeed))
	}
	copy(t.GuestSeed[:], m.GetGuestSeed())
	if t.Role = m.GetRole(); t.Role != "" {
		if err := CheckRole(t.Role); err != nil {
			return Token{}, err
		}
	}
	t.Expires = time.UnixMilli(m.GetExpiresMs()).UTC()
	if err := checkTime("expires", t.Expires); err != nil {
		return Token{}, err
	}
	if len(m.GetBootstrap()) == 0 || len(m.GetBootstrap()) > maxBootstrap {
		return Token{}, fmt.Errorf("%d islands to knock at: must be 1 to %d", len(m.GetBootstrap()), maxBootstrap)
	}
	for _, b := range m.GetBootstrap() {
		key, err := KeyOf(b.GetKey())
		if err != nil {
			return Token{}, fmt.Errorf("island to knock at: %w", err)
		}
		tooLong := slices.ContainsFunc(b.GetAddresses(), func(a []byte) bool { return len(a) == 0 || len(a) > maxBootstrapAddrSize })
		if len(b.GetAddresses()) > maxBootstrapAddrs || tooLong {
			return Token{}, fmt.Errorf("island to knock at %s: must have at most %d addresses of 1 to %d bytes", key, maxBootstrapAddrs, maxBootstrapAddrSize)
		}
		t.Bootstrap = append(t.Bootstrap, Bootstrap{Key: key, Addresses: b.GetAddresses()})
	}
	return t, nil
}

// LogValue keeps the secret out of logs.
func (t Token) LogValue() slog.Value {
	return slog.StringValue("token of network " + t.Network.Short() + " for " + t.Guest().Public().String())
}
