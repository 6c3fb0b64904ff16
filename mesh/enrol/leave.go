package enrol

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atoll-mesh/atoll/trust"
)

// LeaveOptions is what leaving takes. Home, Documents, Trust and Log are required.
type LeaveOptions struct {
	Home      *trust.Home
	Documents Documents
	Trust     func() *trust.State
	Log       Log
	// HandOver, if not nil, gives others what this island does for them; it runs when
	// nothing speaks against leaving any more, and before anybody is told.
	HandOver func(ctx context.Context) error
	// Spread waits until at least one other island has the documents of this one,
	// or ctx ends.
	Spread func(ctx context.Context) error
	// Patience is for Spread; 5 s where 0.
	Patience time.Duration
	// Force leaves though nobody heard of it, or nobody can admit islands afterwards.
	Force bool
	// Now is time.Now where nil.
	Now func() time.Time
}

const leavePatience = 5 * time.Second

// ErrUnheard is in the error of leaving while no other island can be reached.
var ErrUnheard = errors.New("no other island heard of it")

// Leave says good-bye and forgets all keys. What this island wrote stays with
// the others. Cut short before the keys are gone it is called again.
func Leave(ctx context.Context, o LeaveOptions) error {
	if o.Home == nil || o.Documents == nil || o.Trust == nil || o.Log == nil {
		return errors.New("BUG: enrol.Leave: Home, Documents, Trust and Log are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Patience == 0 {
		o.Patience = leavePatience
	}
	if !o.Home.Enrolled() {
		return fmt.Errorf("leave network: %w", trust.ErrNotEnrolled)
	}
	if err := leave(ctx, o); err != nil {
		return fmt.Errorf("leave network %s: %w", o.Home.Network().Short(), err)
	}
	return nil
}

func leave(ctx context.Context, o LeaveOptions) error {
	node, state := o.Home.Node(), o.Trust()
	self, member := state.MemberByKey(node.Public())
	alone := !member && state.Len() == 0 || member && state.Len() == 1
	if !alone && !o.Force {
		if err := indispensable(o, state); err != nil {
			return err
		}
	}
	if o.HandOver != nil && !alone {
		if err := o.HandOver(ctx); err != nil && !o.Force {
			return fmt.Errorf("%w; run it again when the others are within reach, or with --force to leave without that", err)
		}
	}
	if member {
		if err := sayGoodBye(ctx, o, node, self); err != nil {
			return err
		}
	}
	if standing := state.Standing(node.Public()); !alone && standing != trust.Revoked && o.Spread != nil {
		spread, cancel := context.WithTimeout(ctx, o.Patience)
		err := o.Spread(spread)
		cancel()
		if err != nil && !o.Force {
			return fmt.Errorf("%w (%w); run it again when connected, or with --force and have an admin revoke this island", ErrUnheard, err)
		}
	}
	return o.Home.Forget()
}

// indispensable names the keys that the network would lose with this island.
func indispensable(o LeaveOptions, state *trust.State) error {
	if k, ok := o.Home.Root(); ok && state.IsRoot(k.Public()) {
		return errors.New("it holds a root key; copy it to where it shall stay and remove it here, or use --force where another copy or the recovery key exists")
	}
	k, ok := o.Home.Signer()
	if !ok || !state.IsSigner(k.Public()) {
		return nil
	}
	own, _ := state.MemberByKey(o.Home.Node().Public())
	others := slices.ContainsFunc(state.Signers(), func(s trust.Signer) bool {
		m, ok := state.Member(s.Name)
		return ok && m != own
	})
	if others {
		return nil
	}
	return errors.New("it holds the only signer key, without which nobody is admitted or renewed; give another island of role admin one first, or use --force")
}

func sayGoodBye(ctx context.Context, o LeaveOptions, node trust.PrivateKey, self *trust.Member) error {
	at := o.Now().Round(0).UTC().Truncate(time.Millisecond)
	text, err := trust.EncodeLeft(trust.LeftValue{At: at})
	if err != nil {
		return err
	}
	if _, err := o.Log.Append(trust.AuditEntry{TimeMs: at.UnixMilli(), Actor: self.Name, Action: "leave", Subject: self.Name}); err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	doc := trust.NewDocument(o.Home.Network(), node, trust.LeftDocument(self.Key), text, o.Documents.Now(), false)
	if err := o.Documents.Put(ctx, doc); err != nil {
		return fmt.Errorf("write good-bye: %w", err)
	}
	return nil
}
