package enrol

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// maxSteps bounds the search for the last step of what is cut short.
const maxSteps = 40

// TestKillAtEachStepOfJoin ends the guest's or the signer's process at the first,
// second, … step of a join, and joins again.
func TestKillAtEachStepOfJoin(t *testing.T) {
	for at := 1; ; at++ {
		if at > maxSteps {
			t.Fatal("a join has no end")
		}
		w := newWorld(t)
		kill := &killer{at: at}
		token := w.invite(InviteOptions{Role: trust.RoleAdmin})
		w.docs.kill, w.first().log.kill = kill, kill
		dir := t.TempDir()
		seeded := 0
		attempt := func() error {
			kill.step("start")
			home, err := trust.OpenHome(dir)
			if err != nil {
				return err
			}
			a, err := NewApplicant(ApplicantOptions{
				Home: home, Token: token, Name: "joiner", Now: w.now,
				Seed: func(context.Context, trust.NetworkID, []*replicapb.Document, []trust.Bootstrap) error {
					kill.step("before Seed")
					seeded++
					kill.step("after Seed")
					return nil
				},
			})
			if err != nil {
				return err
			}
			kill.step("keys made")
			res, err := w.first().authority.Redeem(t.Context(), token.Guest().Public(), a.Request())
			if err != nil {
				return err
			}
			kill.step("answered")
			_, err = a.Complete(t.Context(), res)
			kill.step("enrolled")
			return err
		}
		var err error
		lived := survive(func() { err = attempt() })
		if !lived {
			if inv, _ := w.docs.Trust().Invite(token.Guest().Public()); len(inv.UsedBy) < w.docs.Trust().Len()-1 {
				t.Errorf("killed at step %d (%s): a member came in that the invitation did not count", at, kill.last)
			}
			// Both processes start again.
			w.add(w.first())
			err = attempt()
			if errors.Is(err, ErrJoined) {
				err = nil
			}
		}
		if err != nil {
			t.Fatalf("killed at step %d (%s): %v", at, kill.last, err)
		}
		home, err := trust.OpenHome(dir)
		if err != nil {
			t.Fatal(err)
		}
		inv, _ := w.docs.Trust().Invite(token.Guest().Public())
		signer, _ := home.Signer()
		if !home.Enrolled() || len(inv.UsedBy) != 1 || w.docs.Trust().Len() != 2 || seeded == 0 || !w.docs.Trust().IsSigner(signer.Public()) {
			t.Errorf("killed at step %d: enrolled %v, used by %d, %d members, seeded %d, signer trusted %v", at,
				home.Enrolled(), len(inv.UsedBy), w.docs.Trust().Len(), seeded, w.docs.Trust().IsSigner(signer.Public()))
		}
		if lived {
			t.Logf("a join has %d steps", kill.n)
			return
		}
	}
}

// TestKillAtEachStepOfNodeRotation does the same with a new node key, by another
// island's signer and by this island's own.
func TestKillAtEachStepOfNodeRotation(t *testing.T) {
	for _, own := range []bool{false, true} {
		for at := 1; ; at++ {
			if at > maxSteps {
				t.Fatal("a rotation has no end")
			}
			if lived := rotateWithKill(t, at, own); lived {
				break
			}
		}
	}
}

func rotateWithKill(t *testing.T, at int, own bool) bool {
	t.Helper()
	w := newWorld(t)
	i := w.first()
	if !own {
		i = w.island("rotating")
	}
	old := i.home.Node().Public()
	before := i.write("rules/mine", "a: 1")
	kill := &killer{at: at}
	w.docs.kill, w.callsKill, i.log.kill, w.first().log.kill = kill, kill, kill, kill
	attempt := func() error {
		kill.step("start")
		i.open()
		w.add(i)
		_, err := RotateNode(t.Context(), RotateOptions{Home: i.home, Trust: w.docs.Trust, Conns: i.conns, Local: i.authority, Log: i.log, Now: w.now})
		kill.step("done")
		return err
	}
	var err error
	lived := survive(func() { err = attempt() })
	last := kill.last
	kill.at = 0
	// Wherever it died, the key on disk is good, and what it wrote holds.
	i.open()
	w.add(i)
	if now := i.home.Node().Public(); w.standing(now) != trust.MemberStanding {
		t.Errorf("killed at step %d (%s): key on disk is %s", at, last, w.standing(now))
	}
	if err := w.docs.Trust().CheckCertificate(i.home.Certificate(), i.home.Node().Public(), w.now()); err != nil {
		t.Errorf("killed at step %d (%s): %v", at, last, err)
	}
	if !lived && i.home.Node().Public() == old {
		staged, ok := i.home.NextNode()
		err = attempt()
		if ok && i.home.Node().Public() != staged.Public() {
			t.Errorf("killed at step %d (%s): went on with another key than the staged one", at, last)
		}
	}
	if err != nil {
		t.Fatalf("killed at step %d (%s): %v", at, last, err)
	}
	m, ok := w.docs.Trust().MemberByKey(old)
	if !ok || m.Key != i.home.Node().Public() || m.Key == old || len(m.PreviousKeys) != 1 {
		t.Errorf("killed at step %d (%s): member %+v, %v", at, last, m, ok)
	}
	if err := w.docs.Trust().CheckCertificate(i.home.Certificate(), m.Key, w.now()); err != nil {
		t.Error(err)
	}
	if err := w.docs.Trust().Permit(before); err != nil {
		t.Errorf("what the old key wrote: %v", err)
	}
	if !slices.Contains(i.log.actions(), trust.AuditNewKey) {
		t.Error("the audit log does not name the new key")
	}
	return lived
}

// TestKillAtEachStepOfRevoke ends the revoking island's process at each step of
// revoking one that is signer too, and revokes again.
func TestKillAtEachStepOfRevoke(t *testing.T) {
	for at := 1; ; at++ {
		if at > maxSteps {
			t.Fatal("a revocation has no end")
		}
		w := newWorld(t)
		bad := w.admin("bad")
		key := bad.home.Node().Public()
		signer, _ := bad.home.Signer()
		bad.write("rules/shared", "a: 1")
		kill := &killer{at: at}
		w.docs.kill, w.first().log.kill = kill, kill
		revoke := func(member string) error {
			_, err := w.first().authority.Revoke(t.Context(), RevokeOptions{Member: member})
			return err
		}
		var err error
		lived := survive(func() { err = revoke("bad") })
		if !lived {
			kill.at = 0
			w.add(w.first())
			if w.standing(key) != trust.Revoked {
				err = revoke("bad")
			}
		}
		if err != nil {
			t.Fatalf("killed at step %d: %v", at, err)
		}
		if w.standing(key) != trust.Revoked || w.docs.Trust().IsSigner(signer.Public()) {
			t.Errorf("killed at step %d: node %s, signs %v", at, w.standing(key), w.docs.Trust().IsSigner(signer.Public()))
		}
		if _, err := w.docs.Get("rules/shared"); err != nil {
			t.Errorf("killed at step %d: %v", at, err)
		}
		if lived {
			return
		}
	}
}

// TestKillAtEachStepOfSignerRotation holds that after a restart, with Resume,
// invitations made before are good.
func TestKillAtEachStepOfSignerRotation(t *testing.T) {
	for at := 1; ; at++ {
		if at > maxSteps {
			t.Fatal("a rotation has no end")
		}
		w := newWorld(t)
		token := w.invite(InviteOptions{})
		kill := &killer{at: at}
		w.docs.kill, w.first().log.kill = kill, kill
		var err error
		lived := survive(func() { _, err = w.first().authority.RotateSigner(t.Context()) })
		if err != nil {
			t.Fatal(err)
		}
		kill.at = 0
		w.first().open()
		w.add(w.first())
		if err := w.first().authority.Resume(t.Context()); err != nil {
			t.Fatalf("killed at step %d (%s): %v", at, kill.last, err)
		}
		w.join(w.first(), token, "guest")
		if lived {
			return
		}
	}
}

func TestTidyAfterTheLastStep(t *testing.T) {
	w := newWorld(t)
	token := w.invite(InviteOptions{})
	i := w.join(w.first(), token, "second")
	a := &Applicant{opts: ApplicantOptions{Home: i.home, Token: token}}
	if err := trust.SaveKey(a.path("node"), newKey(t)); err != nil {
		t.Fatal(err)
	}
	_, err := NewApplicant(ApplicantOptions{Home: i.home, Token: token, Seed: noSeed})
	if !errors.Is(err, ErrJoined) {
		t.Fatalf("joining again: %v, want ErrJoined", err)
	}
	if _, err := trust.LoadKey(a.path("node")); err == nil {
		t.Error("the key of the join is still there")
	}
	token.Network = trust.NetworkOf(newKey(t).Public())
	if _, err := NewApplicant(ApplicantOptions{Home: i.home, Token: token, Seed: noSeed}); err == nil || errors.Is(err, ErrJoined) {
		t.Errorf("joining another network: %v", err)
	}
}
