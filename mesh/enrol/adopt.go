package enrol

import (
	"context"
	"fmt"
	"strings"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// Adoption says what became of documents whose author loses the right to them.
type Adoption struct {
	// Adopted were signed again, by this island, and stay.
	Adopted []string
	// Skipped are document keys, each with the reason why it goes.
	Skipped []string
}

// adopt signs again what keep wants of the documents by authors, and puts it.
// It goes before the authors lose their right, so that nothing is gone meanwhile.
func (a *Authority) adopt(ctx context.Context, why string, authors map[trust.Key]bool, keep func(*replicapb.Document) error) ([]*replicapb.Document, Adoption, error) {
	var res Adoption
	var docs []*replicapb.Document
	for _, d := range a.opts.Documents.List("") {
		author, err := trust.KeyOf(d.GetAuthor())
		if err != nil || !authors[author] {
			continue
		}
		err = keep(d)
		var fresh *replicapb.Document
		if err == nil {
			fresh, err = a.resign(d, author)
		}
		if err != nil {
			res.Skipped = append(res.Skipped, d.GetKey()+": "+err.Error())
			continue
		}
		docs, res.Adopted = append(docs, fresh), append(res.Adopted, d.GetKey())
	}
	if len(docs) == 0 {
		return nil, res, nil
	}
	err := a.apply(ctx, change{
		actor: a.self(ctx), action: "adopt", subject: why, docs: docs,
		detail: fmt.Sprintf("%d documents: %s", len(docs), strings.Join(res.Adopted, " ")),
	})
	if err == nil {
		a.metrics.adopted.Add(float64(len(docs)))
	}
	return docs, res, err
}

func keepAll(*replicapb.Document) error { return nil }

func keepNone(*replicapb.Document) error { return fmt.Errorf("dropped as asked") }

// resign makes a newer version with the same content by the key of this island
// that may write it.
func (a *Authority) resign(d *replicapb.Document, author trust.Key) (*replicapb.Document, error) {
	by, err := a.heir(d, author)
	if err != nil {
		return nil, err
	}
	fresh := trust.NewDocument(a.opts.Home.Network(), by, d.GetKey(), d.GetValue(), a.opts.Documents.Now(), d.GetDeleted())
	if err := a.opts.Trust().Permit(fresh); err != nil {
		return nil, err
	}
	return fresh, nil
}

func (a *Authority) heir(d *replicapb.Document, author trust.Key) (trust.PrivateKey, error) {
	kind, _, err := trust.ParseDocumentKey(d.GetKey())
	if err != nil {
		return trust.PrivateKey{}, err
	}
	switch kind {
	case trust.KindNetwork, trust.KindSigner:
		return a.root()
	case trust.KindRevoked, trust.KindPolicy:
		if a.opts.Trust().IsRoot(author) {
			return a.root()
		}
		return a.signerOrRoot()
	case trust.KindMember, trust.KindInvite, trust.KindLeft:
		return a.signer()
	}
	return a.opts.Home.Node(), nil
}

// signerOrRoot is for what both may sign.
func (a *Authority) signerOrRoot() (trust.PrivateKey, error) {
	k, err := a.signer()
	if err == nil {
		return k, nil
	}
	if root, rootErr := a.root(); rootErr == nil {
		return root, nil
	}
	return k, err
}

// AdoptLeft makes the documents of a member that left this island's own, so
// that they no longer hang on the memory of one that is gone. It takes a name or
// a peer ID.
func (a *Authority) AdoptLeft(ctx context.Context, member string) (Adoption, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.signer(); err != nil {
		return Adoption{}, fmt.Errorf("adopt documents of %s: %w", member, err)
	}
	for _, d := range a.opts.Trust().Departed() {
		if d.Standing != trust.Left || (d.Name != member && d.Key.String() != member) {
			continue
		}
		_, res, err := a.adopt(ctx, member, a.keysOf(d.Key), func(d *replicapb.Document) error {
			if trust.IsTrustKind(d.GetKey()) {
				return fmt.Errorf("says that the member left, and stays as it is")
			}
			return nil
		})
		return res, err
	}
	return Adoption{}, fmt.Errorf("adopt documents of %s: nobody of that name or key has left", member)
}

// keysOf lists a current node key and those before it, by the member's document.
func (a *Authority) keysOf(node trust.Key) map[trust.Key]bool {
	keys := map[trust.Key]bool{node: true}
	d, err := a.opts.Documents.Get(trust.MemberDocument(node))
	if err != nil {
		return keys
	}
	v, err := trust.DecodeMember(d.GetValue())
	if err != nil {
		return keys
	}
	for _, k := range v.Keys {
		keys[k.Key] = true
	}
	return keys
}
