package trust

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testToken() Token {
	t := Token{Network: NetworkOf(pub("root")), Expires: at(60), Role: RoleIsland}
	copy(t.GuestSeed[:], testKey("guest").Seed())
	for _, name := range []string{"anegada", "bonaire"} {
		t.Bootstrap = append(t.Bootstrap, Bootstrap{Key: pub(name), Addresses: [][]byte{{4, 11, 0, 0, 1, 6, 0xe8, 0x33}, {4, 11, 0, 0, 1, 0x91, 2, 0xe8, 0x33}}})
	}
	return t
}

func TestTokenRoundTrip(t *testing.T) {
	want := testToken()
	line := want.String()
	if strings.ContainsAny(line, " \n") || !strings.HasPrefix(line, "atoll1") {
		t.Errorf("token %q is not one word", line)
	}
	wrapped := "  " + strings.ToUpper(line[:80]) + "\r\n  " + line[80:] + "\n"
	for _, text := range []string{line, wrapped} {
		got, err := ParseToken(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	if want.Guest().Public() != pub("guest") {
		t.Error("the guest key is another")
	}
}

// TestTokenTruncatedAnywhere cuts a token at every character.
func TestTokenTruncatedAnywhere(t *testing.T) {
	line := testToken().Line()
	for n := len(tokenPrefix); n < len(line); n++ {
		_, err := ParseToken(line[:n])
		wantError(t, err, ErrTokenTruncated, "copy the whole line")
	}
}

// TestTokenMistypedAnywhere changes, drops, doubles and swaps every character.
func TestTokenMistypedAnywhere(t *testing.T) {
	line := testToken().Line()
	for i := range line {
		other := byte('a')
		if line[i] == other {
			other = 'b'
		}
		texts := []string{
			line[:i] + string(other) + line[i+1:],
			line[:i] + "!" + line[i+1:],
			line[:i] + line[i+1:],
			line[:i] + line[i:i+1] + line[i:],
		}
		if i > 0 && line[i] != line[i-1] {
			texts = append(texts, line[:i-1]+line[i:i+1]+line[i-1:i]+line[i+1:])
		}
		for _, text := range texts {
			if _, err := ParseToken(text); err == nil {
				t.Errorf("%q is taken", text)
			}
		}
	}
	wantError(t, second(ParseToken(line+"a")), ErrTokenMistyped, "copy it again")
	wantError(t, second(ParseToken("")), ErrTokenMistyped, "atoll1")
	wantError(t, second(ParseToken("atoll2"+line[6:])), ErrTokenMistyped, "atoll1")
	wantError(t, second(ParseToken(strings.Repeat("a", 1<<20))), ErrTokenMistyped, "at most")
}

func TestTokenContentsAreChecked(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(t *Token)
		want   string
	}{
		"role":          {func(t *Token) { t.Role = "king" }, "role"},
		"time":          {func(t *Token) { t.Expires = time.Time{} }, "expires"},
		"no island":     {func(t *Token) { t.Bootstrap = nil }, "0 islands"},
		"many islands":  {func(t *Token) { t.Bootstrap = make([]Bootstrap, 9) }, "9 islands"},
		"weak island":   {func(t *Token) { t.Bootstrap[0].Key = Key{} }, "nobody's key"},
		"empty address": {func(t *Token) { t.Bootstrap[0].Addresses = [][]byte{{}} }, "addresses"},
		"long address":  {func(t *Token) { t.Bootstrap[0].Addresses = [][]byte{bytes.Repeat([]byte{4}, 300)} }, "addresses"},
	} {
		t.Run(name, func(t *testing.T) {
			token := testToken()
			tc.change(&token)
			wantError(t, second(ParseToken(token.Line())), nil, tc.want)
		})
	}
}

func TestTokenExpiry(t *testing.T) {
	token := testToken()
	if err := token.CheckExpiry(token.Expires); err != nil {
		t.Error(err)
	}
	wantError(t, token.CheckExpiry(token.Expires.Add(time.Millisecond)), ErrTokenExpired, "ask for a new one")
}
