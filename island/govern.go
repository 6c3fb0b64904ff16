package island

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/mesh/enrol"
	"github.com/atoll-mesh/atoll/trust"
)

// view is what may be asked of the mesh.
func (i *Island) view() control.View {
	return control.View{Network: i.networkStatus, Peers: i.peers, Ping: i.ping, Audit: i.writeAudit}
}

// governance is what the island's own user may do.
func (i *Island) governance() control.Governance {
	return control.Governance{
		Init: i.initNetwork, Invite: i.invite, Invitations: i.invitations, Withdraw: i.withdrawInvite, Join: i.joinNetwork,
		Leave: i.leaveNetwork, Revoke: i.revoke, Rotate: i.rotate, Signer: i.signer,
		Promote: i.promote, Export: i.exportTrust, Import: i.importTrust,
	}
}

// member returns what the island has of its network, or why there is nothing.
func (i *Island) member() (*membership, *mesh.Mesh, error) {
	m := i.membership.Load()
	if m == nil {
		return nil, nil, control.ErrNotJoined
	}
	running := m.mesh.Load()
	if running == nil {
		return nil, nil, errors.New("the mesh is starting: try again in a moment")
	}
	return m, running, nil
}

func (i *Island) networkStatus() control.NetworkStatus {
	m := i.membership.Load()
	if m == nil {
		return control.NetworkStatus{Island: i.Config().Island.Name}
	}
	state := m.state.Load()
	s := control.NetworkStatus{
		Joined: true, Network: state.NetworkName(), NetworkID: state.Network().String(),
		Island: i.Config().Island.Name, Key: m.home.Node().Public().String(), Members: state.Len(),
	}
	if k, ok := m.home.Signer(); ok {
		s.SignerKey, s.Signer = k.Public().String(), state.IsSigner(k.Public())
	}
	for _, signer := range state.Signers() {
		s.Signers = append(s.Signers, control.Signer{Name: signer.Name, Key: signer.Key.String()})
	}
	for _, k := range state.Roots() {
		s.RootKeys = append(s.RootKeys, k.String())
	}
	_, s.Root = m.home.Root()
	if self := m.self(); self != nil {
		s.Island, s.Role = self.Name, self.Role
		s.Primary = slices.Contains(m.primaries(), self.Name)
	}
	if c := m.home.Certificate(); c != nil {
		s.CertificateExpires = &c.NotAfter
	}
	if running := m.mesh.Load(); running != nil {
		for _, a := range running.Addresses() {
			s.Addresses = append(s.Addresses, a.String())
		}
	}
	return s
}

func (i *Island) peers() ([]mesh.PeerStatus, error) {
	m, running, err := i.member()
	if err != nil {
		return nil, err
	}
	peers, primaries := running.Peers(), m.primaries()
	for n := range peers {
		peers[n].Primary = slices.Contains(primaries, peers[n].Name)
		if v, ok := m.run.witness.View(peers[n].Key); ok {
			peers[n].Verdict = v.Verdict()
		}
	}
	return peers, nil
}

func (i *Island) ping(ctx context.Context, req control.PingRequest) (control.PingResult, error) {
	m, running, err := i.member()
	if err != nil {
		return control.PingResult{}, err
	}
	peer, err := m.find(req.Name)
	if err != nil {
		return control.PingResult{}, err
	}
	if peer.Key == m.home.Node().Public() {
		return control.PingResult{}, fmt.Errorf("%s is this island", req.Name)
	}
	pongs, err := running.Ping(ctx, peer.Key, 1)
	if err == nil && len(pongs) > 0 {
		err = pongs[0].Err
	}
	if err != nil {
		return control.PingResult{}, err
	}
	p := pongs[0]
	return control.PingResult{Name: peer.Name, Path: p.Path, Transport: p.Transport, RTTMs: float64(p.RTT) / float64(time.Millisecond)}, nil
}

func (i *Island) writeAudit(w io.Writer) error {
	if i.membership.Load() == nil {
		return control.ErrNotJoined
	}
	f, err := os.Open(auditFile(i.Config().Island.DataDir))
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func (i *Island) invite(ctx context.Context, req control.InviteRequest) (control.InviteResult, error) {
	m, _, err := i.member()
	if err != nil {
		return control.InviteResult{}, err
	}
	token, doc, err := m.authority.Invite(ctx, enrol.InviteOptions{
		Role: req.Role, Name: req.Name, Labels: req.Labels, Uses: req.Uses,
		Expires: time.Duration(req.ExpiresSeconds * float64(time.Second)),
	})
	if err != nil {
		return control.InviteResult{}, err
	}
	_, id, err := trust.ParseDocumentKey(doc.GetKey())
	return control.InviteResult{Token: token.Line(), ID: id, Expires: token.Expires}, err
}

func (i *Island) invitations() ([]control.Invitation, error) {
	m, _, err := i.member()
	if err != nil {
		return nil, err
	}
	by := map[trust.Key]string{}
	for _, signer := range m.state.Load().Signers() {
		by[signer.Key] = signer.Name
	}
	out := []control.Invitation{}
	for _, inv := range m.authority.OpenInvites() {
		out = append(out, control.Invitation{
			ID: inv.Key.String(), Name: inv.Name, Role: inv.Role, Labels: inv.Labels, Left: inv.Uses - len(inv.UsedBy), Uses: inv.Uses,
			Created: inv.Created, Expires: inv.Expires, By: cmp.Or(by[inv.Issuer], inv.Issuer.String()),
		})
	}
	return out, nil
}

func (i *Island) withdrawInvite(ctx context.Context, req control.WithdrawRequest) (control.WithdrawResult, error) {
	m, _, err := i.member()
	if err != nil {
		return control.WithdrawResult{}, err
	}
	inv, err := m.authority.WithdrawInvite(ctx, req.Which)
	if err != nil {
		return control.WithdrawResult{}, err
	}
	return control.WithdrawResult{ID: inv.Key.String(), Used: len(inv.UsedBy), Uses: inv.Uses}, nil
}

func (i *Island) revoke(ctx context.Context, req control.RevokeRequest) (control.RevokeResult, error) {
	m, running, err := i.member()
	if err != nil {
		return control.RevokeResult{}, err
	}
	told := len(running.Connected())
	if key, err := trust.ParseKey(req.Name); err == nil {
		if _, ok := m.state.Load().Invite(key); ok {
			_, err := m.authority.WithdrawInvite(ctx, req.Name)
			return control.RevokeResult{Key: req.Name, Name: "invitation", Told: told}, err
		}
	}
	gone, err := m.authority.Revoke(ctx, enrol.RevokeOptions{Member: req.Name, Reason: req.Reason, DropDocuments: req.DropDocuments})
	if err != nil {
		return control.RevokeResult{}, err
	}
	res := control.RevokeResult{Name: req.Name, Adopted: len(gone.Adopted), Told: told}
	if len(gone.Keys) > 0 {
		res.Key = gone.Keys[0].String()
	}
	return res, nil
}

func (i *Island) signer(ctx context.Context, req control.SignerRequest) (control.SignerResult, error) {
	m, _, err := i.member()
	if err != nil {
		return control.SignerResult{}, err
	}
	key, err := trust.ParseKey(req.Key)
	if err != nil {
		return control.SignerResult{}, fmt.Errorf("key: %w", err)
	}
	if !req.Remove {
		return control.SignerResult{}, m.authority.AddSigner(ctx, req.Name, key)
	}
	gone, err := m.authority.RemoveSigner(ctx, key)
	return control.SignerResult{Adopted: len(gone.Adopted)}, err
}

func (i *Island) rotate(ctx context.Context, req control.RotateRequest) (control.RotateResult, error) {
	m, _, err := i.member()
	if err != nil {
		return control.RotateResult{}, err
	}
	switch req.What {
	case "node":
		return i.rotateNode(ctx)
	case "signer":
		r, err := m.authority.RotateSigner(ctx)
		return rotated(r.Old, r.New, "certificates by the old key stay good until `atoll signer remove`"), err
	case "root":
		return rotateRoot(ctx, m, req.Recovery)
	case "retire":
		r, err := m.authority.RetireRoots(ctx)
		return rotated(r.Old, r.New, "older roots are trusted no more"), err
	}
	return control.RotateResult{}, fmt.Errorf("rotate %q: must be node, signer, root or retire", req.What)
}

func rotateRoot(ctx context.Context, m *membership, recovery string) (control.RotateResult, error) {
	note := "copy the new root key to where you keep it; when every island has heard of it, `atoll rotate retire`"
	if recovery == "" {
		r, err := m.authority.RotateRoot(ctx)
		return rotated(r.Old, r.New, note), err
	}
	key, err := enrol.ParseRecovery(recovery)
	if err != nil {
		return control.RotateResult{}, err
	}
	r, err := m.authority.RecoverRoot(ctx, enrol.RecoverOptions{Recovery: key})
	return rotated(r.Old, r.New, note), err
}

func rotated(old []trust.Key, next trust.Key, note string) control.RotateResult {
	res := control.RotateResult{New: next.String(), Note: note}
	if len(old) > 0 {
		res.Old = old[len(old)-1].String()
	}
	return res
}

// documentRoutes answers from the replica while there is one, for the socket.
func (i *Island) documentRoutes() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := i.membership.Load()
		if m == nil {
			control.Refuse(w, i.room("control"), control.ErrNotJoined)
			return
		}
		m.audited(m.documents.WriteHandler()).ServeHTTP(w, r)
	})
}

// audited writes down what a request is about to change; where that cannot be
// written nothing changes.
func (m *membership) audited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		action := map[string]string{http.MethodPut: "document-write", http.MethodDelete: "document-delete"}[r.Method]
		if action == "" {
			next.ServeHTTP(w, r)
			return
		}
		key := strings.TrimPrefix(r.URL.Path, "/api/atoll/v1/documents/")
		entry := trust.AuditEntry{Actor: m.labels()["island"], Action: action, Subject: key}
		if _, err := m.audit.Append(entry); err != nil {
			problem{Code: "no_audit", Message: "nothing was changed because the audit log cannot be written: " + err.Error(),
				Remedy: "make the data directory writable"}.answer(w, http.StatusServiceUnavailable)
			return
		}
		answer := &status{ResponseWriter: w, code: http.StatusOK}
		if next.ServeHTTP(answer, r); answer.code >= http.StatusBadRequest {
			entry.Action += "-refused"
			if _, err := m.audit.Append(entry); err != nil {
				m.log.Error("write the audit log", "error", err)
			}
		}
	})
}

// status remembers the code of an answer.
type status struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// controlRoutes is what the socket serves.
func (i *Island) controlRoutes() http.Handler {
	mux := control.AllRoutes(i.view(), i.governance(), i.room("control"))
	mux.Handle("/api/atoll/v1/documents", i.documentRoutes())
	mux.Handle("/api/atoll/v1/documents/", i.documentRoutes())
	mux.Handle("/api/atoll/v1/replica", i.documentRoutes())
	mux.HandleFunc(copiesRoute, i.showCopies)
	i.accountRoutes(mux)
	return mux
}

// meshSteps are the steps that come and go with a membership, in start order.
var meshSteps = []string{"replica", "mesh", "renewal", "trust", "witness", "share", "shared", "silences", "primary", "copies", "tidings"}
