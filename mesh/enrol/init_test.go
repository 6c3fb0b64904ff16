package enrol

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

func TestInitMakesANetworkThatHolds(t *testing.T) {
	w := newWorld(t)
	s := w.docs.Trust()
	home := w.first().home
	if s.NetworkName() != "testnet" || home.Network() != w.founding.Network || s.Recovery() != w.founding.Recovery.Public() {
		t.Errorf("network %q %s, recovery %s; founded %+v", s.NetworkName(), home.Network(), s.Recovery(), w.founding)
	}
	m, ok := s.Member("first")
	if !ok || m.Role != trust.RoleAdmin || m.Labels["region"] != "eu" || m.Key != home.Node().Public() {
		t.Fatalf("member first: %+v, %v", m, ok)
	}
	signer, _ := home.Signer()
	root, _ := home.Root()
	if !s.IsSigner(signer.Public()) || !s.IsRoot(root.Public()) || s.PolicyIsDefault() {
		t.Errorf("signer trusted %v, root trusted %v, own policy %v; want all", s.IsSigner(signer.Public()), s.IsRoot(root.Public()), !s.PolicyIsDefault())
	}
	if err := s.CheckCertificate(home.Certificate(), m.Key, w.now()); err != nil {
		t.Error(err)
	}
	if again, err := trust.OpenHome(home.Dir()); err != nil || !again.Enrolled() {
		t.Errorf("reopened home: %v, enrolled %v", err, again.Enrolled())
	}
	if _, err := Init(t.Context(), InitOptions{Home: home, Network: "x", Island: "y"}); err == nil || !strings.Contains(err.Error(), "leave") {
		t.Errorf("a second init said %v", err)
	}
}

func TestInitIsAllOrNothing(t *testing.T) {
	for name, o := range map[string]InitOptions{
		"bad network name": {Network: "no good", Island: "a"},
		"bad island name":  {Network: "n", Island: ""},
		"bad label":        {Network: "n", Island: "a", Labels: map[string]string{"9": "x"}},
		"seed fails": {Network: "n", Island: "a", Seed: func(context.Context, trust.NetworkID, []*replicapb.Document) error {
			return errors.New("disk full")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			home, err := trust.OpenHome(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			o.Home = home
			if f, err := Init(t.Context(), o); err == nil {
				t.Errorf("made %+v", f)
			}
			if home.Enrolled() {
				t.Error("the home is enrolled all the same")
			}
		})
	}
}

func TestRecoveryTextSurvivesPaper(t *testing.T) {
	k, err := trust.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	text := FormatRecovery(k)
	if len(strings.Split(text, "-")) != 14 {
		t.Errorf("%q has not 14 groups", text)
	}
	confused := strings.NewReplacer("0", "o", "1", "l").Replace(text)
	for _, typed := range []string{text, strings.ToLower(text), strings.ReplaceAll(text, "-", " "), strings.ReplaceAll(text, "-", "") + "\n", confused} {
		got, err := ParseRecovery(typed)
		if err != nil || got.Public() != k.Public() {
			t.Errorf("%q: %v", typed, err)
		}
	}
	for i := range text {
		if text[i] == '-' {
			continue
		}
		other := byte('7')
		if text[i] == other {
			other = '8'
		}
		if _, err := ParseRecovery(text[:i] + string(other) + text[i+1:]); err == nil {
			t.Errorf("mistyped character %d went unnoticed", i)
		}
	}
	for typed, want := range map[string]string{
		"":                                      "something is missing",
		text[:len(text)-5]:                      "something is missing",
		text + "-AAAA":                          "typed twice",
		strings.Replace(text, text[:1], "!", 1): "never used",
	} {
		if _, err := ParseRecovery(typed); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", typed, err, want)
		}
	}
}

func FuzzParseRecovery(f *testing.F) {
	k, err := trust.FromSeed(make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(FormatRecovery(k))
	f.Add("OIL-oil 0")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseRecovery(text)
		if err != nil {
			return
		}
		if back, err := ParseRecovery(FormatRecovery(k)); err != nil || back.Public() != k.Public() {
			t.Errorf("%q gives a key that does not survive its own text: %v", text, err)
		}
	})
}
