package enrol

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// RootRotation says which roots are trusted side by side.
type RootRotation struct {
	Adoption
	New trust.Key
	// Old are the roots that are still trusted besides.
	Old []trust.Key
}

// maxRoots is what an entry of a chain may list.
const maxRoots = 8

// RotateRoot makes a new root key, trusted beside the old ones until
// RetireRoots, and keeps it here in place of this island's old one. It takes
// that one. Cut short it is simply called again.
func (a *Authority) RotateRoot(ctx context.Context) (RootRotation, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	root, err := a.root()
	if err != nil {
		return RootRotation{}, fmt.Errorf("rotate root key: %w", err)
	}
	old := a.opts.Trust().Roots()
	if len(old) >= maxRoots {
		return RootRotation{}, fmt.Errorf("rotate root key: %d roots are trusted, which is the most; retire the old ones first", len(old))
	}
	next, err := trust.NewKey()
	if err != nil {
		return RootRotation{}, fmt.Errorf("rotate root key: %w", err)
	}
	// Trusted first, kept second: the old root, still on disk, can do it again.
	if err := a.extend(ctx, "root-rotate", append(slices.Clone(old), next.Public()), trust.Key{}, root); err != nil {
		return RootRotation{}, err
	}
	res := RootRotation{New: next.Public(), Old: old}
	if err := a.opts.Home.SetRoot(next); err != nil {
		return res, fmt.Errorf("rotate root key: %w", err)
	}
	_, res.Adoption, err = a.adopt(ctx, "roots", keySet(old), keepAll)
	return res, err
}

// RetireRoots ends the trust in all roots but this island's. It takes that one.
// Give islands that are away time to hear of the new root before: what the old
// ones signed counts no more.
func (a *Authority) RetireRoots(ctx context.Context) (RootRotation, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	root, err := a.root()
	if err != nil {
		return RootRotation{}, fmt.Errorf("retire old roots: %w", err)
	}
	res := RootRotation{New: root.Public()}
	old := slices.DeleteFunc(a.opts.Trust().Roots(), func(k trust.Key) bool { return k == root.Public() })
	if len(old) == 0 {
		return res, nil
	}
	if _, res.Adoption, err = a.adopt(ctx, "roots", keySet(old), keepAll); err != nil {
		return res, fmt.Errorf("retire old roots: %w", err)
	}
	return res, a.extend(ctx, "root-retire", []trust.Key{root.Public()}, trust.Key{}, root)
}

// RotateRecovery makes a new recovery key, to be shown once. The old one is
// worth nothing from then on. It takes the root key.
func (a *Authority) RotateRecovery(ctx context.Context) (trust.PrivateKey, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	root, err := a.root()
	if err != nil {
		return trust.PrivateKey{}, fmt.Errorf("rotate recovery key: %w", err)
	}
	next, err := trust.NewKey()
	if err != nil {
		return trust.PrivateKey{}, fmt.Errorf("rotate recovery key: %w", err)
	}
	return next, a.extend(ctx, "recovery-rotate", a.opts.Trust().Roots(), next.Public(), root)
}

// extend adds an entry to the chain of roots.
func (a *Authority) extend(ctx context.Context, action string, roots []trust.Key, recovery trust.Key, by trust.PrivateKey) error {
	v, ok := a.opts.Trust().NetworkValue()
	if !ok {
		return fmt.Errorf("%s: this island does not know its network's %s yet", action, trust.NetworkDocument)
	}
	v, err := trust.ExtendChain(v, roots, recovery, by, a.now())
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	text, err := trust.EncodeNetwork(v)
	if err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	return a.apply(ctx, change{
		actor: a.self(ctx), action: action, subject: v.Name, detail: fmt.Sprintf("epoch %d, roots %v", len(v.Chain), roots),
		docs: []*replicapb.Document{a.document(by, trust.NetworkDocument, text)},
	})
}

// RecoverOptions says how a root was lost.
type RecoverOptions struct {
	Recovery trust.PrivateKey
	// Stolen ends the trust in all other roots at once, and in what a thief made
	// of the network with them. Without it they stay beside the new one until
	// RetireRoots, and islands that hear of it late miss nothing.
	Stolen bool
	// Since, where not zero, is when it was stolen: what old roots signed later goes,
	// but for this island's own signer key.
	Since time.Time
	// Drop are keys of documents that go though an old root signed them: signers
	// and revocations that are the thief's.
	Drop []string
}

// RecoverRoot makes a new root with the recovery key, for a root that was lost
// or stolen. Cut short it is simply called again with the same key.
func (a *Authority) RecoverRoot(ctx context.Context, o RecoverOptions) (RootRotation, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	base, err := a.recoverable(o)
	if err != nil {
		return RootRotation{}, fmt.Errorf("recover root: %w", err)
	}
	next, err := a.freshRoot(o)
	if err != nil {
		return RootRotation{}, fmt.Errorf("recover root: %w", err)
	}
	res := RootRotation{New: next.Public()}
	roots, old := []trust.Key{next.Public()}, base.Roots()
	if !o.Stolen {
		roots, res.Old = append(roots, old...), old
	}
	v, err := trust.ExtendChain(base, roots, trust.Key{}, o.Recovery, a.now())
	if err != nil {
		return res, fmt.Errorf("recover root: %w", err)
	}
	text, err := trust.EncodeNetwork(v)
	if err != nil {
		return res, fmt.Errorf("recover root: %w", err)
	}
	docs := []*replicapb.Document{a.document(next, trust.NetworkDocument, text)}
	heritage, err := a.heritage(next, keySet(old), o, &res.Adoption)
	if err != nil {
		return res, fmt.Errorf("recover root: %w", err)
	}
	return res, a.apply(ctx, change{
		actor: a.self(ctx), action: "root-recover", subject: v.Name, docs: append(docs, heritage...),
		detail: fmt.Sprintf("epoch %d, roots %v, stolen %t, documents kept %d, dropped %d", len(v.Chain), roots, o.Stolen, len(res.Adopted), len(res.Skipped)),
	})
}

// recoverable gives the network up to the last entry that the recovery key may
// follow. A thief may have gone on from there with another recovery key: a
// branch that begins with the recovery key prevails over his.
func (a *Authority) recoverable(o RecoverOptions) (trust.NetworkValue, error) {
	v, ok := a.opts.Trust().NetworkValue()
	if !ok {
		return v, fmt.Errorf("this island does not know its network's %s yet", trust.NetworkDocument)
	}
	for i := len(v.Chain) - 1; i >= 0; i-- {
		if v.Chain[i].Recovery != o.Recovery.Public() || o.Recovery.IsZero() {
			continue
		}
		if i < len(v.Chain)-1 && !o.Stolen {
			return v, fmt.Errorf("the recovery key was replaced at %s; use the newer one, or say that the root was stolen", v.Chain[i+1].At)
		}
		v.Chain = v.Chain[:i+1]
		return v, nil
	}
	return v, errors.New("the key is not, and never was, the recovery key of this network; compare it with what atoll init printed")
}

// freshRoot gives a root key that is on disk already: with the old one lost
// there is nothing else to go back to.
func (a *Authority) freshRoot(o RecoverOptions) (trust.PrivateKey, error) {
	if k, ok := a.opts.Home.Root(); ok {
		v, _ := a.opts.Trust().NetworkValue()
		trusted := a.opts.Trust().IsRoot(k.Public())
		switch {
		case trusted && !o.Stolen:
			return k, errors.New("this island holds a trusted root key; rotate it instead, or say that it was stolen")
		case !trusted && !everRoot(v, k.Public()):
			return k, nil // of an attempt that was cut short
		}
	}
	k, err := trust.NewKey()
	if err != nil {
		return k, err
	}
	return k, a.opts.Home.SetRoot(k)
}

func everRoot(v trust.NetworkValue, k trust.Key) bool {
	return slices.ContainsFunc(v.Chain, func(e trust.ChainEntry) bool { return slices.Contains(e.Roots, k) })
}

// heritage signs with the new root what the roots before signed. Whether it may
// is decided by the chain that goes before it in the same Put.
func (a *Authority) heritage(root trust.PrivateKey, old map[trust.Key]bool, o RecoverOptions, res *Adoption) ([]*replicapb.Document, error) {
	own := ""
	if k, ok := a.opts.Home.Signer(); ok {
		own = trust.SignerDocument(k.Public())
	}
	var docs []*replicapb.Document
	for _, d := range a.opts.Documents.List("") {
		author, err := trust.KeyOf(d.GetAuthor())
		if err != nil || !old[author] || d.GetKey() == trust.NetworkDocument || d.GetKey() == own {
			continue
		}
		if why := o.drops(d); why != "" {
			res.Skipped = append(res.Skipped, d.GetKey()+": "+why)
			continue
		}
		docs = append(docs, trust.NewDocument(a.opts.Home.Network(), root, d.GetKey(), d.GetValue(), a.opts.Documents.Now(), d.GetDeleted()))
		res.Adopted = append(res.Adopted, d.GetKey())
	}
	if own == "" {
		return docs, nil
	}
	// Whoever recovers the root must be able to admit again, whatever a thief did.
	k, _ := a.opts.Home.Signer()
	doc, err := a.signerDocument(root, a.opts.Home.Certificate().Name, k.Public())
	res.Adopted = append(res.Adopted, own)
	return append(docs, doc), err
}

func (o RecoverOptions) drops(d *replicapb.Document) string {
	switch {
	case slices.Contains(o.Drop, d.GetKey()):
		return "dropped as asked"
	case !o.Since.IsZero() && trust.DocumentTime(d.GetTime()).After(o.Since):
		return fmt.Sprintf("written at %s, after the root was stolen", trust.DocumentTime(d.GetTime()).Format(time.RFC3339))
	}
	return ""
}

func keySet(keys []trust.Key) map[trust.Key]bool {
	set := make(map[trust.Key]bool, len(keys))
	for _, k := range keys {
		set[k] = true
	}
	return set
}
