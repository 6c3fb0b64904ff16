package trust

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/replicapb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

func FuzzParseToken(f *testing.F) {
	line := testToken().Line()
	f.Add(line)
	f.Add(line[:len(line)/2])
	f.Add(tokenPrefix + "aeaaaaaaaa")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseToken(text)
		if err != nil {
			return
		}
		again, err := ParseToken(token.Line())
		if err != nil || again.Line() != token.Line() || again.Network != token.Network || again.Guest().Public() != token.Guest().Public() {
			t.Errorf("written and read again: %v", err)
		}
	})
}

func FuzzVerifyDocument(f *testing.F) {
	w := newWorld(f)
	for _, d := range append(w.reef(), w.deleted("s1", MemberDocument(pub("anegada")), 9)) {
		b, err := proto.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	reef := w.reef()
	s := w.state(reef...)
	want := show(s)
	f.Fuzz(func(t *testing.T, b []byte) {
		var d replicapb.Document
		if proto.Unmarshal(b, &d) != nil {
			return
		}
		if VerifyDocument(w.network, &d) == nil {
			again, err := proto.Marshal(&d)
			var back replicapb.Document
			if err != nil || proto.Unmarshal(again, &back) != nil || VerifyDocument(w.network, &back) != nil {
				t.Error("verifies, but not when written and read again")
			}
		}
		// Documents that nobody verified must not bring these down either.
		permitted := s.Permit(&d) == nil
		with, refusals := Evaluate(w.network, append([]*replicapb.Document{&d}, reef...))
		refused := slices.ContainsFunc(refusals, func(r Refusal) bool { return r.Document == &d })
		if refused || !IsTrustKind(d.GetKey()) {
			if line := firstDifference(show(with), want); line != "" {
				t.Errorf("a document that does not count changes %s", line)
			}
		}
		if permitted && refused {
			t.Error("permitted, and refused")
		}
	})
}

func FuzzOpenCertificate(f *testing.F) {
	w := newWorld(f)
	seed := must[[]byte](f)(encodeCertificate(w.issued("s1", "anegada")))
	f.Add(seed)
	f.Add(seed[:len(seed)/2])
	s := w.state(w.reef()...)
	f.Fuzz(func(t *testing.T, b []byte) {
		var m trustpb.Certificate
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		c, err := OpenCertificate(&m)
		if err != nil {
			return
		}
		if again, err := OpenCertificate(c.Message()); err != nil || again.Serial != c.Serial {
			t.Errorf("opened again: %v", err)
		}
		if s.CheckCertificate(c, c.Key, at(5)) == nil && c.Signer != pub("s1") && c.Signer != pub("s2") {
			t.Errorf("a certificate of %s is good", c.Signer)
		}
	})
}

func FuzzVerifyAudit(f *testing.F) {
	w := newWorld(f)
	text := readFile(f, w.auditLog(5))
	f.Add(text)
	f.Add(text[:len(text)/2])
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := VerifyAudit(bytes.NewReader(b), &w.network)
		if err == nil && got.Entries != uint64(bytes.Count(b, []byte("\n"))) {
			t.Errorf("%d entries in %d lines", got.Entries, bytes.Count(b, []byte("\n")))
		}
		if err == nil && got.Entries > 0 && !bytes.HasPrefix(text, b) {
			t.Error("verifies, and was never written")
		}
		if _, err := VerifyAudit(bytes.NewReader(b), nil); err != nil && !strings.Contains(err.Error(), "line ") {
			t.Errorf("error %q names no line", err)
		}
	})
}

// recoders decode a value and encode it again.
var recoders = []func(text []byte) ([]byte, error, error){
	recoder(DecodeNetwork, EncodeNetwork),
	recoder(DecodeSigner, EncodeSigner),
	recoder(DecodeMember, EncodeMember),
	recoder(DecodeRevoked, EncodeRevoked),
	recoder(DecodeLeft, EncodeLeft),
	recoder(DecodeInvite, EncodeInvite),
}

func recoder[T any](decode func([]byte) (T, error), encode func(T) ([]byte, error)) func([]byte) ([]byte, error, error) {
	return func(text []byte) ([]byte, error, error) {
		v, err := decode(text)
		if err != nil {
			return nil, err, nil
		}
		again, err := encode(v)
		return again, nil, err
	}
}

func FuzzDecodeValue(f *testing.F) {
	w := newWorld(f)
	docs := append(w.reef(), w.revoked("s1", "anegada", 9), w.left("s1", "anegada", 9))
	for _, d := range docs {
		f.Add(byte(Order(d.GetKey())), d.GetValue())
	}
	f.Add(byte(2), []byte("&a [*a,*a]"))
	f.Fuzz(func(t *testing.T, kind byte, text []byte) {
		recode := recoders[int(kind)%len(recoders)]
		once, decodeErr, err := recode(text)
		if decodeErr != nil {
			return
		}
		if err != nil {
			t.Fatalf("decoded, and cannot be encoded: %v", err)
		}
		again, decodeErr, err := recode(once)
		if decodeErr != nil || err != nil || !bytes.Equal(once, again) {
			t.Errorf("encoded\n%s\nthen %v, %v\n%s", once, decodeErr, err, again)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(pub("anegada").String())
	f.Add(NetworkOf(pub("root")).String())
	f.Add(MemberDocument(pub("anegada")))
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := ParseKey(text); err == nil && k.String() != text {
			t.Errorf("key %q is spelled %q", text, k)
		}
		if n, err := ParseNetwork(text); err == nil && n.String() != text {
			t.Errorf("network %q is spelled %q", text, n)
		}
		if kind, name, err := ParseDocumentKey(text); err == nil && kind+"/"+name != text {
			t.Errorf("document key %q is %q and %q", text, kind, name)
		}
	})
}
