package trust

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/replicapb"
)

func TestVerifyDocument(t *testing.T) {
	w := newWorld(t)
	good := func() *replicapb.Document { return w.doc("anegada", "rules/cpu", []byte("groups: []\n"), 1) }
	if err := VerifyDocument(w.network, good()); err != nil {
		t.Fatal(err)
	}
	if err := VerifyDocument(w.network, w.deleted("anegada", "rules/cpu", 1)); err != nil {
		t.Fatal(err)
	}
	resign := func(d *replicapb.Document) {
		d.Signature = testKey("anegada").Sign(documentContext, w.network, documentMessage(d))
	}
	for _, tc := range []struct {
		name   string
		change func(d *replicapb.Document)
		want   string
	}{
		{"forged value", func(d *replicapb.Document) { d.Value = []byte("groups: [evil]\n") }, "signature"},
		{"forged time", func(d *replicapb.Document) { d.Time++ }, "signature"},
		{"forged key", func(d *replicapb.Document) { d.Key = "rules/mem" }, "signature"},
		{"forged deletion", func(d *replicapb.Document) { d.Deleted, d.Value = true, nil }, "signature"},
		{"forged author", func(d *replicapb.Document) { d.Author = pub("bonaire").Bytes() }, "signature"},
		{"wrong context", func(d *replicapb.Document) {
			d.Signature = testKey("anegada").Sign(certificateContext, w.network, documentMessage(d))
		}, "signature"},
		{"swapped network", func(d *replicapb.Document) {
			d.Signature = testKey("anegada").Sign(documentContext, NetworkOf(pub("s1")), documentMessage(d))
		}, "signature"},
		{"truncated signature", func(d *replicapb.Document) { d.Signature = d.Signature[:63] }, "63 bytes"},
		{"no signature", func(d *replicapb.Document) { d.Signature = nil }, "0 bytes"},
		{"truncated author", func(d *replicapb.Document) { d.Author = d.Author[:31] }, "31 bytes"},
		{"weak author", func(d *replicapb.Document) { d.Author = make([]byte, 32) }, "nobody's key"},
		{"oversize", func(d *replicapb.Document) { d.Value = bytes.Repeat([]byte("a"), MaxDocumentValue+1); resign(d) }, "at most"},
		{"not text", func(d *replicapb.Document) { d.Value = []byte{0xff}; resign(d) }, "UTF-8"},
		{"deleted with a value", func(d *replicapb.Document) { d.Deleted = true; resign(d) }, "deleted"},
		{"without time", func(d *replicapb.Document) { d.Time = 0; resign(d) }, "zero"},
		{"beyond time", func(d *replicapb.Document) { d.Time = 1 << 63; resign(d) }, "beyond"},
		{"bad key", func(d *replicapb.Document) { d.Key = "rules/../cpu"; resign(d) }, "name"},
		{"unknown fields", func(d *replicapb.Document) { d.ProtoReflect().SetUnknown([]byte{0x78, 1}) }, "not know"},
		{"malleable signature", func(d *replicapb.Document) { d.Signature = addGroupOrder(d.Signature) }, "signature"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := good()
			tc.change(d)
			wantError(t, VerifyDocument(w.network, d), nil, tc.want)
		})
	}
	if err := VerifyDocument(w.network, nil); err == nil {
		t.Error("no document verifies")
	}
}

// addGroupOrder makes S + L of a signature's S: the same number to a careless verifier.
func addGroupOrder(sig []byte) []byte {
	order := []byte{0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 31: 0x10}
	out := bytes.Clone(sig)
	carry := 0
	for i, o := range order {
		sum := int(out[32+i]) + int(o) + carry
		out[32+i], carry = byte(sum), sum>>8
	}
	return out
}

// TestTruncatedBytes cuts a document's encoding everywhere.
func TestTruncatedBytes(t *testing.T) {
	w := newWorld(t)
	b, err := proto.Marshal(w.doc("anegada", "rules/cpu", []byte("groups: []\n"), 1))
	if err != nil {
		t.Fatal(err)
	}
	for n := range b {
		var d replicapb.Document
		if err := proto.Unmarshal(b[:n], &d); err != nil {
			continue
		}
		if VerifyDocument(w.network, &d) == nil {
			t.Errorf("the first %d of %d bytes verify", n, len(b))
		}
	}
}

func TestParseDocumentKey(t *testing.T) {
	kind, name, err := ParseDocumentKey("rules/A.b_c~d-9")
	if kind != "rules" || name != "A.b_c~d-9" || err != nil {
		t.Errorf("got %q %q %v", kind, name, err)
	}
	for _, bad := range []string{
		"", "/", "rules", "rules/", "/cpu", "Rules/cpu", "rules/a b", "rules/a/b", "rules/ä", "rules9/a",
		"rules/" + strings.Repeat("a", MaxDocumentName+1), strings.Repeat("a", MaxDocumentKind+1) + "/a", "rules/a\n",
	} {
		if _, _, err := ParseDocumentKey(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, _, err := ParseDocumentKey(strings.Repeat("a", MaxDocumentKind) + "/" + strings.Repeat("a", MaxDocumentName)); err != nil {
		t.Error(err)
	}
}

func TestTrustKinds(t *testing.T) {
	w := newWorld(t)
	for _, d := range append(w.reef(), w.left("anegada", "anegada", 9), w.revoked("s1", "anegada", 9), w.doc("s1", PolicyDocument, nil, 9)) {
		if !IsTrustKind(d.GetKey()) {
			t.Errorf("%s is no trust document", d.GetKey())
		}
	}
	for _, key := range []string{"rules/cpu", "networks/main", "", "silence/main"} {
		if IsTrustKind(key) {
			t.Errorf("%q is a trust document", key)
		}
	}
	if Order(NetworkDocument) >= Order(SignerDocument(pub("s1"))) || Order(MemberDocument(pub("a"))) >= Order("rules/cpu") {
		t.Error("documents are judged before those they depend on")
	}
}

func TestNewer(t *testing.T) {
	w := newWorld(t)
	early, late := w.doc("a", "rules/x", nil, 1), w.doc("a", "rules/x", nil, 2)
	one, two := w.doc("a", "rules/x", nil, 1), w.doc("b", "rules/x", nil, 1)
	if bytes.Compare(one.Author, two.Author) > 0 {
		one, two = two, one
	}
	changed := w.doc("a", "rules/x", []byte("other"), 1)
	small, great := early, changed
	if bytes.Compare(small.Signature, great.Signature) > 0 {
		small, great = great, small
	}
	for name, pair := range map[string][2]*replicapb.Document{
		"time":      {late, early},
		"author":    {two, one},
		"signature": {great, small},
		"nothing":   {early, nil},
	} {
		if !Newer(pair[0], pair[1]) || Newer(pair[1], pair[0]) {
			t.Errorf("%s does not decide", name)
		}
	}
	if Newer(early, early) || Newer(nil, nil) {
		t.Error("a document is newer than itself")
	}
}

// TestNewerNetwork shows that a rotation cannot be undone by a late edit.
func TestNewerNetwork(t *testing.T) {
	w := newWorld(t)
	first := w.founded()
	rotated := must[NetworkValue](t)(ExtendChain(first, []Key{pub("root2")}, Key{}, testKey("root"), at(1)))
	renamed := first
	renamed.Name = "atoll"
	rotation, edit := w.networkDoc("root2", rotated, 1), w.networkDoc("root", renamed, 50)
	broken := w.doc("root", NetworkDocument, []byte("name: x\n"), 99)
	if !Newer(rotation, edit) || Newer(edit, rotation) {
		t.Error("a late edit of the name wins over a rotation")
	}
	if !Newer(edit, broken) || Newer(broken, edit) {
		t.Error("a value that proves nothing wins")
	}
	if !Newer(edit, w.networkDoc("root", first, 49)) {
		t.Error("with one chain the later does not win")
	}
}
