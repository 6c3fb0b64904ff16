package trust

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// Evaluate makes the state that follows from docs. Other kinds than trust
// documents are passed over; of several versions of a document the newest valid
// one counts; order and duplicates do not matter. It takes time in proportion
// to the number of documents.
//
// The documents' own signatures are taken as verified (VerifyDocument, when
// they were stored); signatures inside a value, those of the chain of roots,
// are verified here.
func Evaluate(network NetworkID, docs []*replicapb.Document) (*State, []Refusal) {
	return NewEvaluator(network).Evaluate(docs)
}

// Evaluator is Evaluate for one who does it again on every change: it remembers
// what it decoded. Not for concurrent use.
type Evaluator struct {
	network NetworkID
	values  decoded
}

// NewEvaluator makes an Evaluator for one network.
func NewEvaluator(network NetworkID) *Evaluator {
	return &Evaluator{network: network, values: newDecoded()}
}

// Evaluate is the function of that name.
func (e *Evaluator) Evaluate(docs []*replicapb.Document) (*State, []Refusal) {
	values := e.values.next()
	b := build{
		State: &State{
			network: e.network,
			roots:   map[Key]struct{}{}, signers: map[Key]Signer{}, holders: map[Key]*holder{}, byName: map[string]*Member{},
			deleted: map[Key]struct{}{},
		},
		values: values,
		docs:   byKind(docs, values),
	}
	b.founding()
	b.signing()
	b.revoking()
	b.joining()
	b.leaving()
	b.inviting()
	b.policing()
	b.naming()
	e.values, b.State.values = b.values, b.values.frozen()
	slices.SortFunc(b.refusals, func(x, y Refusal) int {
		return cmp.Or(cmp.Compare(x.Document.GetKey(), y.Document.GetKey()), lastWriter(x.Document, y.Document))
	})
	return b.State, b.refusals
}

// build is a State while it is made: each step stands on the ones before it, in
// the order of trustOrder, and adds what it found when it is through, so that no
// document is judged by another of its kind. What a step asks of the state is
// what Permit will ask of it when it is done.
type build struct {
	*State
	values   decoded
	docs     map[string][][]*replicapb.Document
	refusals []Refusal
}

// byKind sorts trust documents into all versions of each, the newest first.
func byKind(docs []*replicapb.Document, values decoded) map[string][][]*replicapb.Document {
	at := make(map[string]int, len(docs))
	kinds := map[string][][]*replicapb.Document{}
	for _, d := range docs {
		kind, _, _ := strings.Cut(d.GetKey(), "/")
		if !IsTrustKind(kind) {
			continue
		}
		i, seen := at[d.GetKey()]
		if !seen {
			i = len(kinds[kind])
			at[d.GetKey()] = i
			kinds[kind] = append(kinds[kind], nil)
		}
		kinds[kind][i] = append(kinds[kind][i], d)
	}
	for _, all := range kinds {
		for i, versions := range all {
			if len(versions) > 1 {
				all[i] = newestFirst(versions, values)
			}
		}
	}
	return kinds
}

// newestFirst sorts versions of one document as Newer does, each once.
func newestFirst(versions []*replicapb.Document, values decoded) []*replicapb.Document {
	type version struct {
		*replicapb.Document
		network NetworkValue
		proven  bool
	}
	all := make([]version, len(versions))
	for i, d := range versions {
		all[i].Document = d
		if d.GetKey() == NetworkDocument {
			v, err := values.network(d)
			all[i].network, all[i].proven = v, err == nil
		}
	}
	slices.SortFunc(all, func(a, b version) int {
		return -cmp.Or(compareNetworks(a.network, b.network, a.proven, b.proven), lastWriter(a.Document, b.Document))
	})
	versions = versions[:0]
	for i, v := range all {
		if i == 0 || lastWriter(v.Document, all[i-1].Document) != 0 {
			versions = append(versions, v.Document)
		}
	}
	return versions
}

// each calls take with the newest version of every document of a kind that
// take allows. Those refused on the way are noted.
func (b *build) each(kind string, take func(name string, d *replicapb.Document) error) {
	for _, versions := range b.docs[kind] {
		for _, d := range versions {
			_, name, err := ParseDocumentKey(d.GetKey())
			if err == nil {
				err = take(name, d)
			}
			if err == nil {
				break
			}
			b.refusals = append(b.refusals, Refusal{Document: d, Reason: reasonOf(err)})
		}
	}
}

func (b *build) founding() {
	b.each(KindNetwork, func(name string, d *replicapb.Document) error {
		v, err := b.judgeNetwork(name, d, b.values)
		if err != nil {
			return err
		}
		b.info = v
		for _, r := range v.last().Roots {
			b.roots[r] = struct{}{}
		}
		return nil
	})
}

func (b *build) signing() {
	named := map[Key]SignerValue{}
	b.each(KindSigner, func(name string, d *replicapb.Document) error {
		k, v, err := b.judgeSigner(name, d, b.values)
		if err == nil && !d.GetDeleted() {
			named[k] = v
		}
		return err
	})
	b.named = named
}

// revoking goes twice: only once the roots' revocations are known is it known
// who may sign the others.
func (b *build) revoking() {
	struck := map[Key]struct{}{}
	for _, versions := range b.docs[KindRevoked] {
		for _, d := range versions {
			if k, _, err := b.judgeRevokedByRoot(d, b.values); err == nil {
				struck[k] = struct{}{}
			}
		}
	}
	for k, v := range b.named {
		if _, ok := struck[k]; !ok {
			b.signers[k] = Signer{Key: k, Name: v.Name, Since: v.Since}
		}
	}
	revoked := map[Key]Departed{}
	b.each(KindRevoked, func(name string, d *replicapb.Document) error {
		k, v, err := b.judgeRevoked(name, d, b.values)
		if err == nil {
			revoked[k] = Departed{Key: k, Name: v.Name, Standing: Revoked, At: v.At, Reason: v.Reason, By: authorOf(d)}
		}
		return err
	})
	b.revoked = revoked
}

func (b *build) leaving() {
	b.each(KindLeft, func(name string, d *replicapb.Document) error {
		l, v, err := b.judgeLeft(name, d, b.values)
		if err != nil || d.GetDeleted() {
			return err
		}
		// There may be one for each of its keys: the earliest counts.
		if l.leftAt == 0 || cmp.Or(cmp.Compare(d.GetTime(), l.leftAt), cmp.Compare(name, l.leftName)) < 0 {
			l.leftAt, l.leftName = d.GetTime(), name
			l.left = Departed{Key: l.member.Key, Name: l.member.GivenName, Standing: Left, At: v.At, By: authorOf(d)}
		}
		return nil
	})
}

func (b *build) inviting() {
	invites := map[Key]*Invite{}
	b.each(KindInvite, func(name string, d *replicapb.Document) error {
		k, v, err := b.judgeInvite(name, d, b.values)
		if err == nil && !d.GetDeleted() {
			invites[k] = &Invite{Key: k, InviteValue: v}
		}
		return err
	})
	b.invites = invites
}

func (b *build) policing() {
	b.each(KindPolicy, func(name string, d *replicapb.Document) error {
		set, err := b.judgePolicy(name, d, b.values)
		if err == nil && !d.GetDeleted() {
			b.policy, b.policed = set, true
		}
		return err
	})
	if b.policy == nil {
		b.policy = b.values.defaultPolicy()
	}
}

// reasonOf is err without the sentinel's word.
func reasonOf(err error) string {
	var r *refused
	if errors.As(err, &r) {
		return r.reason
	}
	return err.Error()
}

// defaultPolicyName is what positions in the built-in policy refer to.
const defaultPolicyName = "default.cedar"

func parseDefaultPolicy() *policy.Set {
	set, err := policy.Parse(defaultPolicyName, policy.Default())
	if err != nil {
		panic("BUG: the built-in policy cannot be read: " + err.Error())
	}
	return set
}
