package trust

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// holding is the held function of Hear over a set of documents.
func holding(docs []*replicapb.Document) func(string) *replicapb.Document {
	return func(key string) *replicapb.Document {
		for _, d := range docs {
			if d.GetKey() == key {
				return d
			}
		}
		return nil
	}
}

// with replaces versions by newer ones.
func with(docs []*replicapb.Document, more ...*replicapb.Document) []*replicapb.Document {
	out := slices.Clone(docs)
	for _, d := range more {
		if i := slices.IndexFunc(out, func(o *replicapb.Document) bool { return o.GetKey() == d.GetKey() }); i >= 0 {
			out[i] = d
			continue
		}
		out = append(out, d)
	}
	return out
}

func keysOf(docs []*replicapb.Document) string {
	var keys []string
	for _, d := range docs {
		keys = append(keys, d.GetKey())
	}
	return strings.Join(keys, " ")
}

// TestWordEndsASplit has a signer revoke a member by whom the root's word would
// come, before the root ends the signer.
func TestWordEndsASplit(t *testing.T) {
	w := newWorld(t)
	reef := w.reef()
	there := with(reef, w.revoked("root", "s2", 20), w.deleted("root", SignerDocument(pub("s2")), 20))
	here := with(reef, w.revoked("s2", "anegada", 10), w.deleted("s2", MemberDocument(pub("bonaire")), 10))
	state := w.state(here...)
	for name, want := range map[string]bool{"anegada": true, "bonaire": true, "curacao": false, "stranger": false, "guest": false} {
		if got := state.Outcast(pub(name)); got != want {
			t.Errorf("Outcast(%s) = %t, want %t", name, got, want)
		}
	}
	word := w.state(with(there, w.member("s1", "curacao", 20))...).Word(there)
	if got, want := len(word), 4; got != want { // the network, s1, and two of s2
		t.Fatalf("the word is %s", keysOf(word))
	}
	fresh, err := state.Hear(word, holding(here), TimeOfDocument(at(0)))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(keysOf(fresh), pub("s2").String()); got != 2 || len(fresh) != 2 {
		t.Errorf("news: %s", keysOf(fresh))
	}
	healed, _ := Evaluate(w.network, append(with(here, fresh...), reef...))
	if got := healed.Standing(pub("anegada")); got != MemberStanding {
		t.Errorf("anegada is %s", got)
	}
	if got := healed.Standing(pub("bonaire")); got != MemberStanding {
		t.Errorf("bonaire is %s", got)
	}
	again, err := healed.Hear(word, holding(with(here, fresh...)), 0)
	if err != nil || len(again) != 0 {
		t.Errorf("heard again: %s, %v", keysOf(again), err)
	}
}

// TestWordOfASuccessor brings a chain of roots that is not known yet.
func TestWordOfASuccessor(t *testing.T) {
	w := newWorld(t)
	reef := w.reef()
	longer := must[NetworkValue](t)(ExtendChain(w.founded(), []Key{pub("root2")}, Key{}, testKey("recovery"), at(30)))
	word := []*replicapb.Document{w.networkDoc("root2", longer, 30), w.revoked("root2", "s2", 31)}
	fresh, err := w.state(reef...).Hear(word, holding(reef), 0)
	if err != nil || len(fresh) != 2 {
		t.Fatalf("news: %s, %v", keysOf(fresh), err)
	}
	// Back to the shorter chain there is no way, and its roots say nothing any more.
	state := w.state(longerReef(w, longer)...)
	old := []*replicapb.Document{w.networkDoc("root", w.founded(), 90)}
	if fresh, err := state.Hear(old, holding(longerReef(w, longer)), 0); err != nil || len(fresh) > 0 {
		t.Errorf("an older chain: %s, %v", keysOf(fresh), err)
	}
	_, err = state.Hear(append(old, w.revoked("root", "s1", 91)), holding(longerReef(w, longer)), 0)
	wantError(t, err, ErrRefused, "no root of this network")
}

func longerReef(w *world, v NetworkValue) []*replicapb.Document {
	return []*replicapb.Document{w.networkDoc("root2", v, 30), w.signer("root2", "s1", 30)}
}

// TestForgedWords takes nothing from any of them, not even what is good in it.
func TestForgedWords(t *testing.T) {
	w := newWorld(t)
	reef := w.reef()
	state := w.state(reef...)
	good := w.revoked("root", "s2", 20)
	other := &world{tb: t, network: NetworkOf(pub("s1"))}
	claimed := proto.CloneOf(w.revoked("s2", "s1", 21))
	claimed.Author = pub("root").Bytes()
	changed := proto.CloneOf(w.signer("root", "s3", 21))
	changed.Value = append(changed.Value, ' ')
	foreign := must[NetworkValue](t)(NewNetwork("reef", testKey("s1"), Key{}, epoch))
	forked := w.founded()
	forked.Chain = slices.Clone(forked.Chain)
	forked.Chain[0].Roots = []Key{pub("stranger")}
	many := make([]*replicapb.Document, MaxWordDocuments+1)
	for i := range many {
		many[i] = w.doc("root", fmt.Sprintf("revoked/%d", i), nil, 20)
	}
	big := w.doc("root", RevokedDocument(pub("s1")), make([]byte, MaxWord), 20)
	hidden := proto.CloneOf(good)
	hidden.ProtoReflect().SetUnknown([]byte{0x98, 0x06, 0x01})
	for name, word := range map[string][]*replicapb.Document{
		"empty":                       {},
		"by a mere signer":            {good, w.revoked("s1", "anegada", 21)},
		"by a member":                 {good, w.revoked("anegada", "bonaire", 21)},
		"by a stranger":               {good, w.signer("stranger", "stranger", 21)},
		"by a root, it says":          {good, claimed},
		"changed":                     {good, changed},
		"of another network":          {good, other.signer("root", "s3", 21)},
		"another network's chain":     {good, other.networkDoc("s1", foreign, 21)},
		"a chain that proves nothing": {good, unproven(w, forked)},
		"of a kind of signers":        {good, w.doc("root", MemberDocument(pub("stranger")), nil, 21)},
		"the policy":                  {good, w.doc("root", PolicyDocument, []byte("permit(principal,action,resource);"), 21)},
		"twice the same":              {good, good},
		"too many":                    many,
		"too large":                   {good, big},
		"with hidden fields":          {hidden},
		"with nothing in it":          {good, nil},
	} {
		fresh, err := state.Hear(word, holding(reef), 0)
		if err == nil || len(fresh) > 0 {
			t.Errorf("%s: took %q, error %v", name, keysOf(fresh), err)
		}
	}
	if _, err := w.state().Hear([]*replicapb.Document{good}, holding(nil), 0); err == nil {
		t.Error("an island that does not know its network believed somebody's roots")
	}
}

// unproven is a network document with a value that EncodeNetwork refuses to write.
func unproven(w *world, v NetworkValue) *replicapb.Document {
	text := strings.ReplaceAll(string(w.bytes(EncodeNetwork(w.founded()))), w.founded().Chain[0].Roots[0].String(), v.Chain[0].Roots[0].String())
	return w.doc("root", NetworkDocument, []byte(text), 21)
}

// TestReplayedWords has an older word, and one from before the memory of deletions.
func TestReplayedWords(t *testing.T) {
	w := newWorld(t)
	reef := w.reef()
	here := with(reef, w.deleted("root", SignerDocument(pub("s2")), 20))
	state := w.state(with(here, w.member("s1", "curacao", 20))...)
	word := []*replicapb.Document{w.signer("root", "s2", 1), w.signer("root", "s3", 1), w.revoked("root", "guest", 1)}
	fresh, err := state.Hear(word, holding(here), TimeOfDocument(at(30)))
	if err != nil || keysOf(fresh) != RevokedDocument(pub("guest")) {
		t.Errorf("news: %q, %v; want the revocation only", keysOf(fresh), err)
	}
	// Replays are known for what they are without a look at their signatures.
	forged := proto.CloneOf(word[0])
	forged.Signature = make([]byte, len(forged.Signature))
	if fresh, err := state.Hear([]*replicapb.Document{forged}, holding(here), 0); err != nil || len(fresh) > 0 {
		t.Errorf("an older version: %q, %v", keysOf(fresh), err)
	}
}

// TestWordIsBounded gives the newest of more than there is room for.
func TestWordIsBounded(t *testing.T) {
	w := newWorld(t)
	docs := w.reef()
	for i := range MaxWordDocuments + 10 {
		docs = append(docs, &replicapb.Document{Key: fmt.Sprintf("revoked/%d", i), Time: TimeOfDocument(at(10 + i)), Author: pub("root").Bytes(), Value: make([]byte, 600)})
	}
	word := w.state(w.reef()...).Word(docs)
	size := 0
	for _, d := range word {
		size += proto.Size(d)
	}
	if len(word) > MaxWordDocuments || size > MaxWord || len(word) < 100 {
		t.Fatalf("%d documents, %d bytes", len(word), size)
	}
	if word[0].GetKey() != NetworkDocument || word[1].GetKey() != fmt.Sprintf("revoked/%d", MaxWordDocuments+9) {
		t.Errorf("begins with %s", keysOf(word[:2]))
	}
}

func FuzzHear(f *testing.F) {
	w := newWorld(f)
	reef := w.reef()
	state := w.state(reef...)
	for _, word := range [][]*replicapb.Document{
		state.Word(reef), {w.revoked("root", "s2", 20)}, {w.revoked("s2", "s1", 20)}, {w.deleted("root", SignerDocument(pub("s2")), 9)},
	} {
		var b []byte
		for _, d := range word {
			raw, err := proto.Marshal(d)
			if err != nil {
				f.Fatal(err)
			}
			b = append(b, byte(len(raw)>>8), byte(len(raw)))
			b = append(b, raw...)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var word []*replicapb.Document
		for len(b) >= 2 {
			n := min(int(b[0])<<8|int(b[1]), len(b)-2)
			var d replicapb.Document
			if proto.Unmarshal(b[2:2+n], &d) != nil {
				return
			}
			word, b = append(word, &d), b[2+n:]
		}
		fresh, err := state.Hear(word, holding(reef), 0)
		if err != nil && len(fresh) > 0 {
			t.Error("refused a word and took of it")
		}
		for _, d := range fresh {
			if VerifyDocument(w.network, d) != nil || !state.IsRoot(authorOf(d)) && state.Permit(d) != nil {
				t.Errorf("took %s by %s", d.GetKey(), authorOf(d))
			}
		}
	})
}
