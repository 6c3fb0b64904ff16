package trust

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeyTextIsThePeerID(t *testing.T) {
	// The example of an ed25519 key in the libp2p specification, peer-ids.
	raw, err := hex.DecodeString("1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e")
	if err != nil {
		t.Fatal(err)
	}
	k := must[Key](t)(KeyOf(raw))
	const want = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
	if k.String() != want {
		t.Errorf("String() = %s, want %s", k, want)
	}
	if k.Short() != "o7R3pq" {
		t.Errorf("Short() = %s", k.Short())
	}
	back, err := ParseKey(want)
	if err != nil || back != k {
		t.Errorf("ParseKey = %v, %v", back, err)
	}
}

func TestParseKeyRefuses(t *testing.T) {
	good := pub("a").String()
	for text, want := range map[string]string{
		"":                                   "52 characters",
		good[:51]:                            "52 characters",
		good + "1":                           "52 characters",
		good[:51] + "0":                      "0",
		strings.Repeat("1", 52):              "not of an ed25519 key",
		"13D3KooW" + good[8:]:                "not of an ed25519 key",
		strings.Repeat("z", 52):              "not of an ed25519 key",
		Key{1}.String():                      "nobody's key",
		"12D3KooW" + strings.Repeat("é", 22): "",
	} {
		_, err := ParseKey(text)
		wantError(t, err, nil, want)
	}
}

// TestWeakKeys first shows the danger: with a key of small order, one made-up
// signature holds for some message out of a few.
func TestWeakKeys(t *testing.T) {
	network := NetworkOf(pub("root"))
	var sig [64]byte
	sig[0] = 1 // R is the neutral point, S is zero
	for _, y := range smallOrder {
		k := Key(must[[]byte](t)(hex.DecodeString(y)))
		forged := false
		for i := 0; i < 200 && !forged; i++ {
			msg := fmt.Appendf(nil, "message %d", i)
			forged = ed25519.Verify(k[:], signedBytes("c", network, msg), sig[:])
			if forged && k.Verify("c", network, msg, sig[:]) {
				t.Errorf("%x: forged signature is believed", k)
			}
		}
		if !forged {
			t.Errorf("%x: is not of small order, or the test is wrong", k)
		}
		signed := k
		signed[31] |= 0x80
		for _, k := range []Key{k, signed} {
			if _, err := KeyOf(k[:]); err == nil {
				t.Errorf("%x: taken for a key", k)
			}
		}
	}
	var second Key // y = p + 4 is another spelling of y = 4
	for i := range second {
		second[i] = 0xff
	}
	second[0], second[31] = 0xf1, 0x7f
	if _, err := KeyOf(second[:]); err == nil {
		t.Error("a key in its non-canonical form is taken")
	}
	for i := range 1000 {
		if k := pub(fmt.Sprint(i)); k.weak() {
			t.Errorf("%s: an honest key is called weak", k)
		}
	}
}

func TestSignaturesAreForOnePurpose(t *testing.T) {
	k, network, other := testKey("a"), NetworkOf(pub("root")), NetworkOf(pub("b"))
	msg := []byte("message")
	sig := k.Sign("context", network, msg)
	if !k.Public().Verify("context", network, msg, sig) {
		t.Fatal("own signature does not hold")
	}
	for what, ok := range map[string]bool{
		"context":           k.Public().Verify("contex", network, msg, sig),
		"moved":             k.Public().Verify("contextm", network, msg[1:], sig),
		"network":           k.Public().Verify("context", other, msg, sig),
		"message":           k.Public().Verify("context", network, msg[1:], sig),
		"key":               pub("b").Verify("context", network, msg, sig),
		"truncated":         k.Public().Verify("context", network, msg, sig[:63]),
		"no signature":      k.Public().Verify("context", network, msg, nil),
		"over-long context": k.Public().Verify(strings.Repeat("c", 300), network, msg, sig),
	} {
		if ok {
			t.Errorf("signature holds with another %s", what)
		}
	}
}

func TestPrivateKeysDoNotPrint(t *testing.T) {
	k := testKey("a")
	holder := struct{ K *PrivateKey }{&k}
	secret := hex.EncodeToString(k.Seed())
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		text := fmt.Sprintf(format, k) + fmt.Sprintf(format, holder)
		if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%d", k.Seed())) {
			t.Errorf("%s prints the key: %s", format, text)
		}
	}
	if _, err := k.MarshalText(); err == nil {
		t.Error("a private key can be marshalled")
	}
	token := testToken()
	if text := token.LogValue().String(); strings.Contains(text, tokenPrefix) {
		t.Errorf("log value of a token: %s", text)
	}
}

func TestKeyFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k.pem")
	k := testKey("a")
	for range 2 { // the second time over the first
		if err := SaveKey(path, k); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if back, err := LoadKey(path); err != nil || back.Public() != k.Public() {
		t.Errorf("LoadKey = %v, %v", back, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"readable": {string(text), 0o644, "chmod 600"},
		"torn":     {string(text[:40]), 0o600, "one PEM block"},
		"twice":    {string(text) + string(text), 0o600, "one PEM block"},
		"rsa":      {strings.ReplaceAll(string(text), "PRIVATE", "RSA PRIVATE"), 0o600, "one PEM block"},
		"empty":    {"", 0o600, "one PEM block"},
		"huge":     {strings.Repeat(" ", maxKeyFile+1), 0o600, "larger than"},
	} {
		bad := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(bad, []byte(tc.text), tc.mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadKey(bad)
		wantError(t, err, nil, tc.want)
	}
	if err := SaveKey(path, PrivateKey{}); err == nil {
		t.Error("saved a key that is none")
	}
}

func TestNetworkText(t *testing.T) {
	id := NetworkOf(pub("root"))
	if back, err := ParseNetwork(id.String()); err != nil || back != id {
		t.Errorf("ParseNetwork(%s) = %v, %v", id, back, err)
	}
	if len(id.Short()) != 8 || !strings.HasPrefix(id.String(), id.Short()) {
		t.Errorf("Short() = %s of %s", id.Short(), id)
	}
	last := id.String()[51]
	for _, text := range []string{"", id.String()[:51], strings.ToUpper(id.String()), id.String()[:51] + string(last+1)} {
		if _, err := ParseNetwork(text); err == nil {
			t.Errorf("ParseNetwork(%q) succeeds", text)
		}
	}
}
