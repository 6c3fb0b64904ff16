package trust

import (
	"slices"
	"strings"
	"testing"

	"github.com/atoll-mesh/atoll/wire/replicapb"
)

func TestTwoMembersWithOneName(t *testing.T) {
	w := newWorld(t)
	docs := append(w.reef(),
		w.memberDoc("s2", w.memberValue("anegada", RoleIsland, 20, "stranger"), 20),
		w.memberDoc("s1", w.memberValue("anegada", RoleIsland, 10, "anegada3"), 30),
	)
	end := func(name string) string { id := pub(name).String(); return id[len(id)-4:] }
	for range 2 {
		slices.Reverse(docs)
		s := w.state(docs...)
		for key, want := range map[string]string{"anegada": "anegada", "anegada3": "anegada~" + end("anegada3"), "stranger": "anegada~" + end("stranger")} {
			if m, _ := s.MemberByKey(pub(key)); m == nil || m.Name != want || m.GivenName != "anegada" {
				t.Errorf("%s is shown as %+v, want %s", key, m, want)
			}
			if m, ok := s.Member(want); !ok || m.Key != pub(key) {
				t.Errorf("by the name %s one finds %+v", want, m)
			}
		}
	}
	// The name is free again once the first one is gone.
	s := w.state(append(docs, w.revoked("s2", "anegada", 40))...)
	if m, _ := s.Member("anegada"); m == nil || m.Key != pub("anegada3") {
		t.Errorf("with the first one revoked, %+v", m)
	}
}

func TestNodeKeyRotation(t *testing.T) {
	w := newWorld(t)
	second := w.memberDoc("s1", w.memberValue("anegada", RoleIsland, 2, "anegada2", "anegada"), 10)
	third := w.memberDoc("s1", w.memberValue("anegada", RoleIsland, 2, "anegada3", "anegada2"), 20)
	for name, docs := range map[string][]*replicapb.Document{
		"all there":                           {second, third},
		"the old ones deleted":                {w.deleted("s1", MemberDocument(pub("anegada")), 11), second, third},
		"an edit of the old one, made unsure": {second, third, w.member("s2", "anegada", 30)},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.state(append(w.reef(), docs...)...)
			if names(s) != "anegada bonaire curacao" {
				t.Fatalf("members %q", names(s))
			}
			for _, key := range []string{"anegada", "anegada2", "anegada3"} {
				if m, _ := s.MemberByKey(pub(key)); m == nil || m.Key != pub("anegada3") {
					t.Errorf("%s belongs to %+v", key, m)
				}
			}
			if err := s.Permit(w.doc("anegada", "rules/x", nil, 1002)); err != nil {
				t.Errorf("the first key's document of its time: %v", err)
			}
			wantError(t, s.Permit(w.doc("anegada", "rules/x", nil, 1003)), ErrRefused, "replaced")
			if err := s.Permit(w.doc("anegada3", "rules/x", nil, 5000)); err != nil {
				t.Errorf("the current key's document: %v", err)
			}
		})
	}
	t.Run("one of its keys revoked", func(t *testing.T) {
		for _, whose := range []string{"anegada", "anegada2", "anegada3"} {
			struck := w.revoked("s1", whose, 15)
			// Whoever wrote last, and whatever became of the documents in between.
			for name, docs := range map[string][]*replicapb.Document{
				"before the rotation is known": {struck, second, third},
				"after it":                     {second, third, struck},
				"the old documents deleted":    {w.deleted("s1", MemberDocument(pub("anegada")), 11), second, third, struck},
			} {
				s := w.state(append(w.reef(), docs...)...)
				if names(s) != "bonaire curacao" {
					t.Errorf("%s revoked %s: members %q", whose, name, names(s))
				}
				for _, key := range []string{"anegada", "anegada2", "anegada3"} {
					d, ok := s.Revocation(pub(key))
					if s.Standing(pub(key)) != Revoked || !ok || d.Key != pub(whose) {
						t.Errorf("%s revoked %s: %s is %s by the revocation of %s", whose, name, key, s.Standing(pub(key)), d.Key)
					}
					wantError(t, s.Permit(w.doc(key, "rules/x", nil, 3)), ErrRefused, "revoked")
				}
				if d := s.Departed(); len(d) != 1 || d[0].Name != "anegada" {
					t.Errorf("%s revoked %s: departed %+v", whose, name, d)
				}
			}
		}
	})
	t.Run("replaced on two sides, revoked on one", func(t *testing.T) {
		other := w.memberDoc("s2", w.memberValue("anegada", RoleIsland, 2, "anegada3", "anegada"), 20)
		for _, whose := range []string{"anegada2", "anegada3"} {
			if s := w.state(append(w.reef(), second, other, w.revoked("s1", whose, 15))...); names(s) != "bonaire curacao" {
				t.Errorf("%s revoked: members %q", whose, names(s))
			}
		}
	})
	t.Run("invited again", func(t *testing.T) {
		again := w.memberDoc("s1", w.memberValue("anegada", RoleIsland, 30, "stranger"), 30)
		if s := w.state(append(w.reef(), second, w.revoked("s1", "anegada", 15), again)...); names(s) != "anegada bonaire curacao" {
			t.Errorf("members %q", names(s))
		}
	})
}

// TestRotationInACircle has signers contradict each other: the newest speaks.
func TestRotationInACircle(t *testing.T) {
	w := newWorld(t)
	one := w.memberDoc("s1", w.memberValue("anegada", RoleIsland, 2, "anegada2", "anegada3"), 10)
	two := w.memberDoc("s2", w.memberValue("anegada", RoleIsland, 3, "anegada3", "anegada2"), 20)
	tail := w.memberDoc("s2", w.memberValue("anegada", RoleIsland, 2, "stranger", "anegada"), 1)
	into := w.memberDoc("s2", w.memberValue("anegada", RoleIsland, 2, "anegada2", "stranger", "anegada3"), 10)
	s := w.state(append(w.reef()[:5], one, two)...)
	if m, _ := s.Member("anegada~" + pub("anegada3").String()[48:]); m == nil || s.Standing(pub("anegada2")) != MemberStanding {
		t.Errorf("members %q", names(s))
	}
	s = w.state(append(w.reef()[:5], into, two, tail)...)
	for _, key := range []string{"anegada", "anegada2", "anegada3", "stranger"} {
		if m, _ := s.MemberByKey(pub(key)); m == nil || m.Key != pub("anegada3") {
			t.Errorf("%s belongs to %+v", key, m)
		}
	}
}

func TestLeaving(t *testing.T) {
	w := newWorld(t)
	s := w.state(append(w.reef(), w.left("anegada", "anegada", 9))...)
	if s.Standing(pub("anegada")) != Left || names(s) != "bonaire curacao" {
		t.Errorf("anegada is %s, members %q", s.Standing(pub("anegada")), names(s))
	}
	if d := s.Departed(); len(d) != 1 || d[0].Name != "anegada" || d[0].Standing != Left {
		t.Errorf("departed %+v", d)
	}
	if err := s.Permit(w.doc("anegada", "rules/x", nil, 8)); err != nil {
		t.Errorf("what it wrote before it left: %v", err)
	}
	wantError(t, s.Permit(w.doc("anegada", "rules/x", nil, 9)), ErrRefused, "left the network")
	if err := s.Permit(w.left("anegada", "anegada", 9)); err != nil {
		t.Errorf("its good-bye is void: %v", err)
	}
	wantError(t, s.Permit(w.deleted("anegada", LeftDocument(pub("anegada")), 10)), ErrRefused, "only a signer takes back")

	s = w.state(append(w.reef(), w.left("anegada", "anegada", 9), w.deleted("s2", LeftDocument(pub("anegada")), 10))...)
	if s.Standing(pub("anegada")) != MemberStanding {
		t.Errorf("taken back by a signer, anegada is %s", s.Standing(pub("anegada")))
	}
	for _, d := range []*replicapb.Document{w.left("bonaire", "anegada", 9), w.left("stranger", "stranger", 9), w.left("s1", "stranger", 9)} {
		_, refusals := Evaluate(w.network, append(w.reef(), d))
		if len(refusals) != 1 {
			t.Errorf("%s by %s is taken", d.GetKey(), authorOf(d))
		}
	}
	if s = w.state(append(w.reef(), w.left("s2", "anegada", 9))...); s.Standing(pub("anegada")) != Left {
		t.Error("a signer cannot see a member off")
	}
}

func TestPermitByRole(t *testing.T) {
	w := newWorld(t)
	docs := w.reef()
	for _, role := range []string{RoleAdmin, RoleVantage, RoleObserver} {
		docs = append(docs, w.memberDoc("s1", w.memberValue(role, role, 6, role), 6))
	}
	s := w.state(docs...)
	for author, want := range map[string]string{
		"anegada": "", RoleAdmin: "", RoleVantage: "no policy permits", RoleObserver: "no policy permits",
		"stranger": "unknown", "guest": "guest", "s1": "a signer", "root": "a root",
	} {
		err := s.Permit(w.doc(author, "rules/cpu", nil, 9))
		if want == "" && err != nil {
			t.Errorf("%s: %v", author, err)
		} else if want != "" {
			wantError(t, err, ErrRefused, want)
		}
	}
	wantError(t, s.Permit(w.doc("anegada", "no such/key", nil, 9)), ErrRefused, "kind")
	wantError(t, s.Permit(w.memberDoc("anegada", w.memberValue("x", RoleAdmin, 2, "anegada"), 9)), ErrRefused, "only a signer")
	mismatch := w.doc("s1", MemberDocument(pub("bonaire")), w.bytes(EncodeMember(w.memberValue("x", RoleIsland, 2, "anegada"))), 9)
	wantError(t, s.Permit(mismatch), ErrRefused, "named after")
	wantError(t, s.Permit(w.deleted("root", NetworkDocument, 9)), ErrRefused, "cannot be deleted")
	wantError(t, s.Permit(w.networkDoc("s1", w.founded(), 9)), ErrRefused, "none of the roots")
	if err := s.Permit(w.deleted("s2", MemberDocument(pub("anegada")), 9)); err != nil {
		t.Errorf("a signer deletes a member: %v", err)
	}
}

func TestInvite(t *testing.T) {
	i := &Invite{Key: pub("guest"), InviteValue: newWorld(t).inviteValue("s1")}
	if err := i.Check(at(60)); err != nil {
		t.Error(err)
	}
	wantError(t, i.Check(at(61)), nil, "expired")
	i.UsedBy = []Key{pub("anegada")}
	wantError(t, i.Check(at(5)), nil, "used 1 times")
}

func TestValuesAreChecked(t *testing.T) {
	w := newWorld(t)
	member := func(change func(v *MemberValue)) error {
		v := w.memberValue("anegada", RoleIsland, 2, "anegada", "anegada2")
		v.Labels = map[string]string{"region": "north"}
		change(&v)
		return second(EncodeMember(v))
	}
	invite := func(change func(v *InviteValue)) error {
		v := w.inviteValue("s1")
		change(&v)
		return second(EncodeInvite(v))
	}
	many := map[string]string{}
	for i := range MaxLabels + 1 {
		many[strings.Repeat("l", i+1)] = ""
	}
	for want, err := range map[string]error{
		"name":           member(func(v *MemberValue) { v.Name = "-a" }),
		"a~b":            member(func(v *MemberValue) { v.Name = "a~b" }),
		"role":           member(func(v *MemberValue) { v.Role = "" }),
		"not beginning":  member(func(v *MemberValue) { v.Labels["1a"] = "" }),
		"one line":       member(func(v *MemberValue) { v.Labels["a"] = "\x1b[31m" }),
		"33 of them":     member(func(v *MemberValue) { v.Labels = many }),
		"keys: 0":        member(func(v *MemberValue) { v.Keys = nil }),
		"keys[0].until":  member(func(v *MemberValue) { v.Keys[0].Until = at(1) }),
		"keys[1].until":  member(func(v *MemberValue) { v.Keys[1].Until = at(0).AddDate(-100, 0, 0) }),
		"listed twice":   member(func(v *MemberValue) { v.Keys[1].Key = v.Keys[0].Key }),
		"is missing":     member(func(v *MemberValue) { v.Keys[1].Key = Key{} }),
		"multiaddr":      member(func(v *MemberValue) { v.Addresses = []string{"11.0.0.1:59443"} }),
		"17 of them":     member(func(v *MemberValue) { v.Addresses = make([]string, 17) }),
		"joined":         member(func(v *MemberValue) { v.Joined = at(0).AddDate(300, 0, 0) }),
		"uses: 0":        invite(func(v *InviteValue) { v.Uses = 0 }),
		"uses: 1001":     invite(func(v *InviteValue) { v.Uses = 1001 }),
		"issuer":         invite(func(v *InviteValue) { v.Issuer = Key{} }),
		"used_by":        invite(func(v *InviteValue) { v.UsedBy = []Key{{}} }),
		"write signer":   second(EncodeSigner(SignerValue{Since: epoch})),
		"write left":     second(EncodeLeft(LeftValue{})),
		"reason":         second(EncodeRevoked(RevokedValue{Reason: "a\nb", At: epoch})),
		"write revoked":  second(EncodeRevoked(RevokedValue{Name: "a b", At: epoch})),
		"at: 0001-01-01": second(EncodeRevoked(RevokedValue{})),
	} {
		wantError(t, err, nil, want)
	}
}

func TestDecodeIsStrict(t *testing.T) {
	w := newWorld(t)
	good := string(w.bytes(EncodeMember(w.memberValue("anegada", RoleIsland, 2, "anegada"))))
	if again := w.bytes(EncodeMember(must[MemberValue](t)(DecodeMember([]byte(good))))); string(again) != good {
		t.Errorf("encoded anew:\n%s\nnot\n%s", again, good)
	}
	for name, tc := range map[string][2]string{
		"unknown field":  {good + "king: true\n", "king"},
		"repeated field": {good + "name: bonaire\n", "already"},
		"two documents":  {good + "---\n" + good, "more than one"},
		"empty":          {"", "EOF"},
		"a list":         {"- a\n", "cannot unmarshal"},
		"key as numbers": {strings.Replace(good, pub("anegada").String(), "["+strings.Repeat("1,", 31)+"1]", 1), "one word"},
		"key of nobody":  {strings.Replace(good, pub("anegada").String(), "null", 1), "is missing"},
		"oversize":       {good + strings.Repeat("#", maxTrustValue), "at most"},
	} {
		_, err := DecodeMember([]byte(tc[0]))
		if err == nil || !strings.Contains(err.Error(), tc[1]) {
			t.Errorf("%s: error %v, want one with %q", name, err, tc[1])
		}
	}
}
