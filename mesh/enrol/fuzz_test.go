package enrol

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

// FuzzRedeem lets a guest say anything. Whoever comes in has proven its keys,
// and the invitation has counted it.
func FuzzRedeem(f *testing.F) {
	w := newWorld(f)
	token := w.invite(InviteOptions{Uses: trust.MaxUses})
	a := w.applicant(f.TempDir(), token, "fuzz")
	for _, change := range []func(r *meshpb.JoinRequest){
		func(*meshpb.JoinRequest) {},
		func(r *meshpb.JoinRequest) { r.Labels = map[string]string{"a": "b"} },
		func(r *meshpb.JoinRequest) { r.NodeKey = r.GetNodeKey()[:31] },
		func(r *meshpb.JoinRequest) {
			r.SignerKey = r.GetNodeKey()
			r.Proof = append(r.GetProof(), r.GetProof()...)
		},
		func(r *meshpb.JoinRequest) { r.Name = "\xff" },
	} {
		req := a.Request()
		change(req)
		b, _ := proto.Marshal(req)
		f.Add(b)
	}
	guest := token.Guest().Public()
	f.Fuzz(func(t *testing.T, b []byte) {
		var req meshpb.JoinRequest
		if proto.Unmarshal(b, &req) != nil {
			return
		}
		res, err := w.first().authority.Redeem(t.Context(), guest, &req)
		if err != nil {
			t.Fatal(err)
		}
		if res.GetRefusal() != "" {
			if res.GetCertificate() != nil || len(res.GetDocuments()) > 0 {
				t.Error("a refusal came with more than words")
			}
			return
		}
		node, _, err := checkJoinProof(token.Network, guest, &req)
		if err != nil {
			t.Fatalf("admitted without a proof: %v", err)
		}
		if m, ok := w.docs.Trust().MemberByKey(node); !ok || m.Role != trust.RoleIsland || len(m.Labels) > 0 || m.Invite != guest {
			t.Errorf("admitted as %+v", m)
		}
		if inv, _ := w.docs.Trust().Invite(guest); len(inv.UsedBy) != w.docs.Trust().Len()-1 {
			t.Errorf("%d uses for %d guests", len(inv.UsedBy), w.docs.Trust().Len()-1)
		}
	})
}

// FuzzComplete lets the island at the door say anything.
func FuzzComplete(f *testing.F) {
	w := newWorld(f)
	token := w.invite(InviteOptions{})
	a := w.applicant(f.TempDir(), token, "fuzz")
	good := w.redeem(w.first(), token.Guest().Public(), a.Request())
	b, _ := proto.Marshal(good)
	f.Add(b)
	f.Add(b[:len(b)/2])
	for i := 0; i < len(b); i += len(b)/8 + 1 {
		c := append([]byte(nil), b...)
		c[i] ^= 0x10
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var res meshpb.JoinResponse
		if proto.Unmarshal(b, &res) != nil {
			return
		}
		c, j, err := a.verify(&res)
		if err != nil {
			return
		}
		if c.Key != a.node.Public() || c.Network != token.Network || j.Member.Key != a.node.Public() || j.Member.Role != token.Role {
			t.Errorf("joined as %+v with %+v", j.Member, c)
		}
		for _, d := range j.Documents {
			if err := trust.VerifyDocument(token.Network, d); err != nil {
				t.Error(err)
			}
		}
	})
}

// FuzzRekey lets a member ask for anything.
func FuzzRekey(f *testing.F) {
	w := newWorld(f)
	i := w.island("fuzz")
	who := i.home.Node().Public()
	good, _ := proto.Marshal(proveRekey(w.founding.Network, who, newKey(f)))
	f.Add(good)
	f.Add(good[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		var req meshpb.RekeyRequest
		if proto.Unmarshal(b, &req) != nil {
			return
		}
		_, err := w.first().authority.Rekey(t.Context(), who, &req)
		if _, proof := checkRekeyProof(w.founding.Network, who, &req); proof != nil && err == nil {
			t.Errorf("replaced without a proof: %v", proof)
		}
		if w.docs.Trust().Len() != 2 {
			t.Errorf("%d members, want 2", w.docs.Trust().Len())
		}
	})
}
