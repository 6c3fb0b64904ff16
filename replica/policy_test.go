package replica

import (
	"errors"
	"strings"
	"testing"

	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/trust"
)

// TestPolicyIsSignedByTheSigner lets an island with a signer key write the
// policy, and that alone among documents of trust; others are told who can.
func TestPolicyIsSignedByTheSigner(t *testing.T) {
	f := bareFleet(t)
	admin := f.add("admin", "admin", func(o *Options) {
		o.Signer = func() (trust.PrivateKey, bool) { return f.signer, true }
	})
	plain := f.add("plain", "island")
	for _, x := range f.nodes {
		f.must(x.Put(t.Context(), f.genesis...))
	}
	d, err := admin.Set(t.Context(), trust.PolicyDocument, policy.Default(), Absent)
	if err != nil {
		t.Fatal(err)
	}
	if author, err := trust.KeyOf(d.GetAuthor()); err != nil || author != f.signer.Public() {
		t.Errorf("signed by %s, %v; want the signer", author, err)
	}
	if _, err := admin.Set(t.Context(), trust.PolicyDocument, policy.Default(), Absent); !errors.Is(err, ErrConflict) {
		t.Errorf("a second one where none should be: %v, want ErrConflict", err)
	}
	if _, err := admin.Set(t.Context(), trust.PolicyDocument, policy.Default(), d.GetTime()); err != nil {
		t.Errorf("an edit of the version that was read: %v", err)
	}
	if _, err := plain.Set(t.Context(), trust.PolicyDocument, policy.Default(), 0); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "admin") {
		t.Errorf("without a signer key: %v, want ErrRefused and where to go", err)
	}
	if _, err := admin.Set(t.Context(), trust.NetworkDocument, []byte("x"), 0); !errors.Is(err, ErrRefused) {
		t.Errorf("the network with a signer key: %v, want ErrRefused", err)
	}
	if _, err := admin.Delete(t.Context(), trust.PolicyDocument, 0); err != nil {
		t.Errorf("delete: %v", err)
	}
}
