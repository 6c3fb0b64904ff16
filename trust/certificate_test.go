package trust

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/trustpb"
)

func (w *world) certificate(holder string) Certificate {
	return Certificate{
		Network: w.network, Key: pub(holder), Name: holder, Role: RoleIsland, Labels: map[string]string{"region": "north"},
		Serial: 7, NotBefore: epoch, NotAfter: epoch.Add(72 * time.Hour), Signer: pub("s1"),
	}
}

func (w *world) issued(signer, holder string) *Certificate {
	w.tb.Helper()
	return must[*Certificate](w.tb)(OpenCertificate(Issue(testKey(signer), w.certificate(holder))))
}

func TestCertificateRoundTrip(t *testing.T) {
	w := newWorld(t)
	got, want := w.issued("s1", "anegada"), w.certificate("anegada")
	if diff := cmp.Diff(&want, got, cmpopts.IgnoreUnexported(Certificate{})); diff != "" {
		t.Error(diff)
	}
	if again, err := OpenCertificate(got.Message()); err != nil || again.Key != got.Key {
		t.Errorf("the message of an opened certificate: %v", err)
	}
	if got.RenewAt() != epoch.Add(36*time.Hour) {
		t.Errorf("RenewAt() = %s", got.RenewAt())
	}
}

func TestOpenCertificateRefuses(t *testing.T) {
	w := newWorld(t)
	issue := func(change func(c *Certificate)) *trustpb.Certificate {
		c := w.certificate("anegada")
		change(&c)
		return Issue(testKey("s1"), c)
	}
	forge := func(change func(m *trustpb.Certificate)) *trustpb.Certificate {
		m := proto.CloneOf(issue(func(*Certificate) {}))
		change(m)
		return m
	}
	for _, tc := range []struct {
		name string
		m    *trustpb.Certificate
		want string
	}{
		{"none", nil, "0 bytes"},
		{"forged body", forge(func(m *trustpb.Certificate) { m.Body = append(m.Body, 0x78, 1) }), "signature"},
		{"forged signer", forge(func(m *trustpb.Certificate) { m.Signer = pub("s2").Bytes() }), "signature"},
		{"truncated body", forge(func(m *trustpb.Certificate) { m.Body = m.Body[:40] }), ""},
		{"truncated signature", forge(func(m *trustpb.Certificate) { m.Signature = m.Signature[:10] }), "signature"},
		{"no signer", forge(func(m *trustpb.Certificate) { m.Signer = nil }), "signer"},
		{"oversize", forge(func(m *trustpb.Certificate) { m.Body = bytes.Repeat([]byte{0x78, 1}, maxCertificate) }), "must be 1 to"},
		{"wrong context", forge(func(m *trustpb.Certificate) {
			m.Signature = testKey("s1").Sign(documentContext, w.network, m.Body)
		}), "signature"},
		{"swapped network", forge(func(m *trustpb.Certificate) {
			m.Signature = testKey("s1").Sign(certificateContext, NetworkOf(pub("s1")), m.Body)
		}), "signature"},
		{"no holder", issue(func(c *Certificate) { c.Key = Key{} }), "nobody's key"},
		{"bad name", issue(func(c *Certificate) { c.Name = "a\xffb" }), "name"},
		{"bad role", issue(func(c *Certificate) { c.Role = "king" }), "role"},
		{"bad labels", issue(func(c *Certificate) { c.Labels = map[string]string{"": "x"} }), "labels"},
		{"never in force", issue(func(c *Certificate) { c.NotAfter = c.NotBefore }), "life"},
		{"for ever", issue(func(c *Certificate) { c.NotAfter = c.NotBefore.AddDate(2, 0, 0) }), "life"},
		{"absurd time", issue(func(c *Certificate) { c.NotBefore = time.UnixMilli(-1 << 62) }), "not_before"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := OpenCertificate(tc.m)
			wantError(t, err, nil, tc.want)
		})
	}
}

func TestCheckCertificate(t *testing.T) {
	w := newWorld(t)
	rotated := w.memberValue("anegada", RoleIsland, 2, "anegada2", "anegada")
	rotated.Keys[1].Until = at(60)
	base := w.state(w.reef()...)
	states := map[string]*State{
		"":               base,
		"revoked":        w.state(append(w.reef(), w.revoked("s2", "anegada", 9))...),
		"left":           w.state(append(w.reef(), w.left("anegada", "anegada", 9))...),
		"rotated":        w.state(append(w.reef(), w.memberDoc("s1", rotated, 9))...),
		"signer revoked": w.state(append(w.reef(), w.member("s2", "anegada", 9), w.member("s2", "bonaire", 9), w.invite("s2", "guest", 9), w.revoked("root", "s1", 9))...),
	}
	other := w.certificate("anegada")
	other.Network = NetworkOf(pub("s1"))
	end := epoch.Add(72 * time.Hour)
	for _, tc := range []struct {
		name  string
		state string
		c     *Certificate
		key   string
		now   time.Time
		want  error
	}{
		{"good", "", w.issued("s1", "anegada"), "anegada", at(5), nil},
		{"by the other signer", "", w.issued("s2", "anegada"), "anegada", at(5), nil},
		{"a slow clock is tolerated", "", w.issued("s1", "anegada"), "anegada", epoch.Add(-ClockTolerance), nil},
		{"too slow a clock", "", w.issued("s1", "anegada"), "anegada", epoch.Add(-ClockTolerance - time.Second), ErrExpired},
		{"a fast clock is tolerated", "", w.issued("s1", "anegada"), "anegada", end.Add(ClockTolerance), nil},
		{"expired", "", w.issued("s1", "anegada"), "anegada", end.Add(ClockTolerance + time.Second), ErrExpired},
		{"none", "", nil, "anegada", at(5), ErrRefused},
		{"somebody else's", "", w.issued("s1", "anegada"), "bonaire", at(5), ErrRefused},
		{"a stranger's", "", w.issued("s1", "stranger"), "stranger", at(5), ErrRefused},
		{"a guest's", "", w.issued("s1", "guest"), "guest", at(5), ErrRefused},
		{"by a stranger: void, but its holder is a member", "", w.issued("stranger", "anegada"), "anegada", at(5), ErrExpired},
		{"another network's", "", must[*Certificate](t)(OpenCertificate(Issue(testKey("s1"), other))), "anegada", at(5), ErrRefused},
		{"revoked", "revoked", w.issued("s1", "anegada"), "anegada", at(5), ErrRefused},
		{"revoked and expired", "revoked", w.issued("s1", "anegada"), "anegada", end.Add(time.Hour), ErrRefused},
		{"left", "left", w.issued("s1", "anegada"), "anegada", at(5), ErrRefused},
		{"the previous key in its time", "rotated", w.issued("s1", "anegada"), "anegada", at(60), nil},
		{"the previous key after its time", "rotated", w.issued("s1", "anegada"), "anegada", at(80), ErrRefused},
		{"the new key", "rotated", w.issued("s1", "anegada2"), "anegada2", at(80), nil},
		{"by a revoked signer", "signer revoked", w.issued("s1", "anegada"), "anegada", at(20), ErrExpired},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := states[tc.state].CheckCertificate(tc.c, pub(tc.key), tc.now)
			if !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			if errors.Is(tc.want, ErrExpired) && errors.Is(err, ErrRefused) {
				t.Errorf("%v: both quarantine and refusal", err)
			}
		})
	}
}
