package trust

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

func TestEvaluateReef(t *testing.T) {
	w := newWorld(t)
	s := w.state(w.reef()...)
	if s.Network() != w.network || s.NetworkName() != "reef" || s.Recovery() != pub("recovery") {
		t.Errorf("network %s %q, recovery %s", s.Network(), s.NetworkName(), s.Recovery())
	}
	if names(s) != "anegada bonaire curacao" || s.Len() != 3 {
		t.Errorf("members %q", names(s))
	}
	for name, want := range map[string]Standing{
		"anegada": MemberStanding, "guest": Guest, "stranger": Unknown, "root": Unknown, "s1": Unknown, "recovery": Unknown,
	} {
		if got := s.Standing(pub(name)); got != want {
			t.Errorf("standing of %s: %s, want %s", name, got, want)
		}
	}
	m, ok := s.Member("bonaire")
	if byKey, found := s.MemberByKey(pub("bonaire")); !ok || !found || byKey != m || m.Labels["region"] != "north" || m.Signer != pub("s1") {
		t.Errorf("member bonaire: %+v", m)
	}
	signers := s.Signers()
	if len(signers) != 2 || signers[0].Key != pub("s1") || signers[0].Name != "isle-s1" {
		t.Errorf("signers %v", signers)
	}
	if i, ok := s.Invite(pub("guest")); !ok || i.Issuer != pub("s1") || len(s.Invites()) != 1 {
		t.Errorf("invite %v", i)
	}
	if !s.PolicyIsDefault() || s.Policy() == nil {
		t.Error("without policy/main the default is not in force")
	}
}

func TestEvaluateNothing(t *testing.T) {
	w := newWorld(t)
	s := w.state()
	if len(s.Roots()) != 0 || s.Len() != 0 || !s.Recovery().IsZero() || s.Policy() == nil {
		t.Error("a state of no documents knows somebody")
	}
	if _, ok := s.NetworkValue(); ok {
		t.Error("a state of no documents knows the network")
	}
	if err := s.Permit(w.networkDoc("root", w.founded(), 0)); err != nil {
		t.Errorf("the network proves itself, yet: %v", err)
	}
	for _, d := range append(w.reef()[1:], w.doc("anegada", "rules/x", nil, 9)) {
		wantError(t, s.Permit(d), ErrRefused, d.GetKey())
	}
	other := must[NetworkValue](t)(NewNetwork("reef", testKey("s1"), Key{}, epoch))
	wantError(t, s.Permit(w.networkDoc("s1", other, 0)), ErrRefused, "is of network")
}

func TestTheNewestValidVersionCounts(t *testing.T) {
	w := newWorld(t)
	forged := w.memberValue("owned", RoleAdmin, 2, "anegada")
	docs := append(w.reef(), w.memberDoc("anegada", forged, 50))
	s, refusals := Evaluate(w.network, docs)
	if len(refusals) != 1 || !strings.Contains(refusals[0].Reason, "only a signer") {
		t.Errorf("refusals %v", refusals)
	}
	if m, _ := s.MemberByKey(pub("anegada")); m == nil || m.Role != RoleIsland {
		t.Errorf("an island made itself %v", m)
	}
	docs = append(w.reef(), w.doc("s1", MemberDocument(pub("anegada")), []byte("name: [\n"), 50))
	if s, refusals = Evaluate(w.network, docs); len(refusals) != 1 || s.Len() != 3 {
		t.Errorf("a broken value: %d refused, members %q", len(refusals), names(s))
	}
}

func TestRevocation(t *testing.T) {
	w := newWorld(t)
	docs := w.reef()
	s := w.state(append(docs, w.revoked("s2", "anegada", 9))...)
	if s.Standing(pub("anegada")) != Revoked || names(s) != "bonaire curacao" {
		t.Errorf("anegada is %s, members %q", s.Standing(pub("anegada")), names(s))
	}
	d, ok := s.Revocation(pub("anegada"))
	if !ok || d.Reason != "stolen" || d.Name != "anegada" || d.By != pub("s2") || !slices.Equal(s.Departed(), []Departed{d}) {
		t.Errorf("revocation %+v, %v, departed %v", d, ok, s.Departed())
	}
	wantError(t, s.Permit(w.doc("anegada", "rules/x", nil, 1)), ErrRefused, "revoked")
	wantError(t, s.Permit(w.deleted("s1", RevokedDocument(pub("anegada")), 20)), ErrRefused, "cannot be deleted")
	wantError(t, s.Permit(w.deleted("root", RevokedDocument(pub("anegada")), 20)), ErrRefused, "cannot be deleted")
	if dec := s.Authorize(pub("anegada"), policy.Read, policy.Resource{Kind: policy.Document, Name: "rules/x"}); dec.Allowed {
		t.Error("a revoked member may read")
	}
	// A new member document does not bring a revoked key back.
	if s = w.state(append(docs, w.revoked("s2", "anegada", 9), w.member("s1", "anegada", 30))...); s.Standing(pub("anegada")) != Revoked {
		t.Error("admitted again under a revoked key")
	}
}

func TestSignersAreRevokedByRootsOnly(t *testing.T) {
	w := newWorld(t)
	docs := w.reef()
	bySigner, byRoot := w.revoked("s2", "s1", 9), w.revoked("root", "s1", 9)
	s, refusals := Evaluate(w.network, append(docs, bySigner))
	if len(refusals) != 1 || !s.IsSigner(pub("s1")) || s.Len() != 3 {
		t.Errorf("a signer revoked a signer: %d refused, members %q", len(refusals), names(s))
	}
	wantError(t, s.Permit(bySigner), ErrRefused, "only a root")
	wantError(t, s.Permit(w.revoked("s1", "root", 9)), ErrRefused, "is a root")
	wantError(t, s.Permit(w.revoked("root", "root", 9)), ErrRefused, "is a root")

	// What the revoked signer wrote is void, its revocations too …
	docs = append(docs, w.revoked("s1", "curacao", 8), byRoot)
	s, refusals = Evaluate(w.network, docs)
	if names(s) != "curacao" || len(refusals) != 4 || s.Standing(pub("s1")) != Revoked || s.Standing(pub("guest")) != Unknown {
		t.Errorf("members %q, s1 is %s, %d refused", names(s), s.Standing(pub("s1")), len(refusals))
	}
	wantError(t, s.Permit(w.member("s1", "stranger", 7)), ErrRefused, "revoked signer")
	// … but for what another signer, or a root, signs again.
	s, _ = Evaluate(w.network, append(docs, w.member("s2", "anegada", 10), w.revoked("root", "curacao", 10)))
	if names(s) != "anegada" {
		t.Errorf("after adoption: members %q", names(s))
	}
}

func TestSignerDeletedByRoot(t *testing.T) {
	w := newWorld(t)
	s, _ := Evaluate(w.network, append(w.reef(), w.deleted("root", SignerDocument(pub("s1")), 9)))
	if s.IsSigner(pub("s1")) || names(s) != "curacao" {
		t.Errorf("signers %v, members %q", s.Signers(), names(s))
	}
	s, refusals := Evaluate(w.network, append(w.reef(), w.deleted("s2", SignerDocument(pub("s1")), 9)))
	if !s.IsSigner(pub("s1")) || len(refusals) != 1 {
		t.Error("a signer deleted a signer")
	}
}

func TestPolicyDocument(t *testing.T) {
	w := newWorld(t)
	nobody := []byte("forbid (principal, action, resource);")
	rules := w.doc("anegada", "rules/x", nil, 9)
	for _, author := range []string{"root", "s1"} {
		s := w.state(append(w.reef(), w.doc(author, PolicyDocument, nobody, 9))...)
		wantError(t, s.Permit(rules), ErrRefused, "forbidden")
		if s.PolicyIsDefault() {
			t.Error("the default is in force")
		}
	}
	for name, d := range map[string]*replicapb.Document{
		"a member's":   w.doc("anegada", PolicyDocument, nobody, 9),
		"a broken one": w.doc("s1", PolicyDocument, []byte("permit everything"), 9),
		"another name": w.doc("s1", "policy/second", nobody, 9),
	} {
		s, refusals := Evaluate(w.network, append(w.reef(), d))
		if len(refusals) != 1 || s.Permit(rules) != nil {
			t.Errorf("%s policy is in force; refused %v", name, refusals)
		}
	}
	s := w.state(append(w.reef(), w.doc("root", PolicyDocument, nobody, 9), w.deleted("s1", PolicyDocument, 10))...)
	if err := s.Permit(rules); err != nil || !s.PolicyIsDefault() {
		t.Errorf("with the policy deleted: %v", err)
	}
}

// pool makes documents of every kind by every author, most of them without the right.
func (w *world) pool(r *rand.Rand) []*replicapb.Document {
	first := w.founded()
	both := w.extend(first, "root", 5, "root", "root2")
	chains := []NetworkValue{first, both, w.extend(both, "root2", 15, "root2"), w.extend(first, "recovery", 25, "root2"), w.extend(first, "root", 3, "s3")}
	docs := w.reef()
	for range 400 {
		author, minute := everybody[r.IntN(len(everybody))], r.IntN(40)
		subject := everybody[r.IntN(len(everybody))]
		// Half of the authors have a chance.
		if r.IntN(2) == 0 {
			author = []string{"root", "root2", "s1", "s2"}[r.IntN(4)]
		}
		switch r.IntN(9) {
		case 0:
			docs = append(docs, w.networkDoc(author, chains[r.IntN(len(chains))], minute))
		case 1:
			docs = append(docs, w.signer(author, subject, minute))
		case 2:
			docs = append(docs, w.revoked(author, subject, minute))
		case 3:
			docs = append(docs, w.left(author, subject, minute))
		case 4:
			docs = append(docs, w.invite(author, subject, minute))
		case 5:
			docs = append(docs, w.deleted(author, docs[r.IntN(len(docs))].GetKey(), minute))
		case 6:
			docs = append(docs, w.doc(author, PolicyDocument, fmt.Appendf(nil, "permit (principal, action, resource); // %d", minute), minute))
		default:
			keys := []string{subject}
			if other := everybody[r.IntN(len(everybody))]; other != subject {
				keys = append(keys, other)
			}
			v := w.memberValue([]string{"anegada", "bonaire"}[r.IntN(2)], RoleIsland, minute, keys...)
			docs = append(docs, w.memberDoc(author, v, minute))
		}
	}
	return docs
}

func showRefusals(all []Refusal) string {
	var b strings.Builder
	for _, r := range all {
		fmt.Fprintf(&b, "%s %x: %s\n", r.Document.GetKey(), r.Document.GetSignature()[:4], r.Reason)
	}
	return b.String()
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d is\n%.400s\nwant\n%.400s", i+1, g[i], w[i])
		}
	}
	if len(g) != len(w) {
		return fmt.Sprintf("%d lines, want %d", len(g), len(w))
	}
	return ""
}

// TestEvaluateIsAFunctionOfTheSet draws sets of documents and shows that order,
// duplicates, an Evaluator's memory and the documents that were refused change nothing, and
// that Permit agrees.
func TestEvaluateIsAFunctionOfTheSet(t *testing.T) {
	w := newWorld(t)
	pool := w.pool(rand.New(rand.NewPCG(1, 1)))
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		docs := w.reef()
		for _, d := range pool {
			// The fuller the set, the more is revoked: few sets are full.
			if r.IntN(100) < 5+int(seed%20) {
				docs = append(docs, d)
			}
		}
		s, refusals := Evaluate(w.network, docs)
		want, wantRefused := show(s), showRefusals(refusals)
		compare := func(how string, docs []*replicapb.Document, e *Evaluator) {
			t.Helper()
			s, refusals := e.Evaluate(docs)
			if line := firstDifference(show(s), want); line != "" {
				t.Fatalf("seed %d, %s: %s", seed, how, line)
			}
			if line := firstDifference(showRefusals(refusals), wantRefused); how != "refused ones dropped" && line != "" {
				t.Fatalf("seed %d, %s: refused %s", seed, how, line)
			}
		}
		e := NewEvaluator(w.network)
		for range 3 {
			docs = append(docs, docs[r.IntN(len(docs))])
			r.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
			compare("shuffled", docs, NewEvaluator(w.network))
			compare("remembered", docs, e)
		}
		void := map[string]bool{}
		for _, x := range refusals {
			void[string(x.Document.GetSignature())] = true
			if s.Permit(x.Document) == nil {
				t.Errorf("seed %d: %s is refused (%s) and permitted", seed, x.Document.GetKey(), x.Reason)
			}
		}
		kept := slices.DeleteFunc(slices.Clone(docs), func(d *replicapb.Document) bool { return void[string(d.GetSignature())] })
		compare("refused ones dropped", kept, e)
		newest := map[string]*replicapb.Document{}
		for _, d := range kept {
			if Newer(d, newest[d.GetKey()]) {
				newest[d.GetKey()] = d
			}
		}
		kept = kept[:0]
		for _, d := range newest {
			if err := s.Permit(d); err != nil {
				t.Errorf("seed %d: %s counts and is not permitted: %v", seed, d.GetKey(), err)
			}
			kept = append(kept, d)
		}
		compare("refused ones dropped", kept, e)
	}
}

// TestOlderVersionsChangeNothing adds, to documents that count, older versions
// of them by who may and by who may not.
func TestOlderVersionsChangeNothing(t *testing.T) {
	w := newWorld(t)
	docs := append(w.reef(), w.revoked("s2", "bonaire", 9), w.left("curacao", "curacao", 9))
	want := show(w.state(docs...))
	var older []*replicapb.Document
	for _, author := range []string{"root", "s1", "anegada", "stranger"} {
		for _, d := range docs {
			older = append(older, NewDocument(w.network, testKey(author), d.GetKey(), []byte("x: old\n"), 1<<20, false),
				NewDocument(w.network, testKey(author), d.GetKey(), d.GetValue(), 2<<20, false), NewDocument(w.network, testKey(author), d.GetKey(), nil, 3<<20, true))
		}
	}
	s, refusals := Evaluate(w.network, append(older, docs...))
	if line := firstDifference(show(s), want); line != "" || len(refusals) != 0 {
		t.Errorf("with older versions, %d refused, %s", len(refusals), line)
	}
}
