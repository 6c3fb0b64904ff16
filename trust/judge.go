package trust

import (
	"fmt"
	"strings"

	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// refused is an error for people that errors.Is finds to be ErrRefused.
type refused struct{ reason string }

func (r *refused) Error() string        { return r.reason }
func (r *refused) Is(target error) bool { return target == ErrRefused }

func refuse(format string, args ...any) error { return &refused{fmt.Sprintf(format, args...)} }

func authorOf(d *replicapb.Document) Key {
	var k Key
	if len(d.GetAuthor()) == len(k) {
		copy(k[:], d.GetAuthor())
	}
	return k
}

// Permit says whether d's author may write it: nil, or an ErrRefused with the
// reason in words. d's signature is VerifyDocument's to check. What is permitted
// may be refused under a later state, and the other way round.
func (s *State) Permit(d *replicapb.Document) error {
	err := s.permit(d)
	if err == nil {
		return nil
	}
	return &refused{fmt.Sprintf("document %s by %s: %s", d.GetKey(), authorOf(d), reasonOf(err))}
}

func (s *State) permit(d *replicapb.Document) error {
	kind, name, err := ParseDocumentKey(d.GetKey())
	if err != nil {
		return err
	}
	values := s.values // on a change of trust all documents are asked about again
	switch kind {
	case KindNetwork:
		return s.permitNetwork(name, d)
	case KindSigner:
		_, _, err = s.judgeSigner(name, d, values)
	case KindRevoked:
		_, _, err = s.judgeRevoked(name, d, values)
	case KindMember:
		_, err = s.judgeMember(name, d, values)
	case KindLeft:
		_, _, err = s.judgeLeft(name, d, values)
	case KindInvite:
		_, _, err = s.judgeInvite(name, d, values)
	case KindPolicy:
		_, err = s.judgePolicy(name, d, values)
	default:
		err = s.judgeOther(d)
	}
	return err
}

// permitNetwork refuses, beyond what founding does, to go back to a chain that
// this state has seen continued or overruled.
func (s *State) permitNetwork(name string, d *replicapb.Document) error {
	v, err := s.judgeNetwork(name, d, decoded{})
	if err == nil && len(s.info.Chain) > 0 && compareChains(v.Chain, s.info.Chain) < 0 {
		err = refuse("its chain of roots ends at epoch %d and does not prevail over the known one of epoch %d", len(v.Chain), len(s.info.Chain))
	}
	return err
}

func (s *State) judgeNetwork(name string, d *replicapb.Document, values decoded) (NetworkValue, error) {
	if name != "main" {
		return NetworkValue{}, refuse("the only document of its kind is %s", NetworkDocument)
	}
	if d.GetDeleted() {
		return NetworkValue{}, refuse("a network cannot be deleted: its members leave it")
	}
	v, err := values.network(d)
	if err != nil {
		return NetworkValue{}, err
	}
	if v.ID != s.network {
		return NetworkValue{}, refuse("is of network %s, not %s", v.ID.Short(), s.network.Short())
	}
	author := authorOf(d)
	for _, r := range v.last().Roots {
		if r == author {
			return v, nil
		}
	}
	return NetworkValue{}, refuse("author is none of the roots that its chain ends with")
}

func (s *State) judgeSigner(name string, d *replicapb.Document, values decoded) (Key, SignerValue, error) {
	k, err := ParseKey(name)
	if err != nil {
		return Key{}, SignerValue{}, err
	}
	if !s.IsRoot(authorOf(d)) {
		return Key{}, SignerValue{}, refuse("only a root decides who signs; the author is %s", s.describe(authorOf(d)))
	}
	if d.GetDeleted() {
		return k, SignerValue{}, nil
	}
	v, err := values.signer(d)
	return k, v, err
}

// judgeRevokedByRoot is judgeRevoked as far as it does not take knowing the signers.
func (s *State) judgeRevokedByRoot(d *replicapb.Document, values decoded) (Key, RevokedValue, error) {
	_, name, err := ParseDocumentKey(d.GetKey())
	if err == nil && !s.IsRoot(authorOf(d)) {
		err = refuse("author is no root")
	}
	if err != nil {
		return Key{}, RevokedValue{}, err
	}
	return s.judgeRevokedKey(name, d, values)
}

func (s *State) judgeRevoked(name string, d *replicapb.Document, values decoded) (Key, RevokedValue, error) {
	k, v, err := s.judgeRevokedKey(name, d, values)
	if err != nil {
		return Key{}, RevokedValue{}, err
	}
	author := authorOf(d)
	if s.IsRoot(author) {
		return k, v, nil
	}
	if !s.IsSigner(author) {
		return Key{}, RevokedValue{}, refuse("only a signer or a root revokes; the author is %s", s.describe(author))
	}
	if _, ok := s.named[k]; ok {
		return Key{}, RevokedValue{}, refuse("%s is a signer's key: only a root revokes it", k)
	}
	return k, v, nil
}

func (s *State) judgeRevokedKey(name string, d *replicapb.Document, values decoded) (Key, RevokedValue, error) {
	k, err := ParseKey(name)
	if err != nil {
		return Key{}, RevokedValue{}, err
	}
	if d.GetDeleted() {
		return Key{}, RevokedValue{}, refuse("a revocation cannot be deleted: invite the island again, under a new key")
	}
	if s.IsRoot(k) {
		return Key{}, RevokedValue{}, refuse("%s is a root: it goes by a new chain of roots (atoll rotate)", k)
	}
	v, err := values.revoked(d)
	return k, v, err
}

func (s *State) judgeMember(name string, d *replicapb.Document, values decoded) (namedMember, error) {
	if err := s.judgeSigned(d); err != nil {
		return namedMember{}, err
	}
	if d.GetDeleted() {
		_, err := ParseKey(name)
		return namedMember{}, err
	}
	v, err := values.member(d)
	if err == nil && v.id != name {
		err = refuse("its first key %s must be the one it is named after", v.id)
	}
	return v, err
}

func (s *State) judgeInvite(name string, d *replicapb.Document, values decoded) (Key, InviteValue, error) {
	k, err := ParseKey(name)
	if err == nil {
		err = s.judgeSigned(d)
	}
	if err != nil || d.GetDeleted() {
		return k, InviteValue{}, err
	}
	v, err := values.invite(d)
	return k, v, err
}

// judgeSigned is for documents that are a signer's to write and to delete.
func (s *State) judgeSigned(d *replicapb.Document) error {
	if author := authorOf(d); !s.IsSigner(author) {
		return refuse("only a signer may write it; the author is %s", s.describe(author))
	}
	return nil
}

func (s *State) judgeLeft(name string, d *replicapb.Document, values decoded) (*life, LeftValue, error) {
	k, err := ParseKey(name)
	if err != nil {
		return nil, LeftValue{}, err
	}
	h, ok := s.holders[k]
	author := authorOf(d)
	if !ok {
		return nil, LeftValue{}, refuse("%s is no member's key", k)
	}
	if !s.IsSigner(author) {
		if d.GetDeleted() {
			return nil, LeftValue{}, refuse("only a signer takes back who left; the author is %s", s.describe(author))
		}
		by, err := s.writer(author, d)
		if err != nil {
			return nil, LeftValue{}, err
		}
		if by.life != h.life {
			return nil, LeftValue{}, refuse("only the member itself or a signer may write it; the author is %s", s.describe(author))
		}
	}
	if d.GetDeleted() {
		return h.life, LeftValue{}, nil
	}
	v, err := values.left(d)
	return h.life, v, err
}

func (s *State) judgePolicy(name string, d *replicapb.Document, values decoded) (*policy.Set, error) {
	if name != "main" {
		return nil, refuse("the only document of its kind is %s", PolicyDocument)
	}
	if author := authorOf(d); !s.IsSigner(author) && !s.IsRoot(author) {
		return nil, refuse("only a signer or a root sets the policy; the author is %s", s.describe(author))
	}
	if d.GetDeleted() {
		return nil, nil
	}
	return values.policy(d)
}

// judgeOther is for documents that are not of trust: members write them, as the
// policy allows.
func (s *State) judgeOther(d *replicapb.Document) error {
	h, err := s.writer(authorOf(d), d)
	if err != nil {
		return err
	}
	if h.life.leftAt != 0 && d.GetTime() >= h.life.leftAt {
		return refuse("author left the network at %s, before it wrote this", DocumentTime(h.life.leftAt))
	}
	action := policy.Write
	if kind, _, _ := strings.Cut(d.GetKey(), "/"); kind == KindPrimary {
		action = policy.Administer
	}
	decision := s.policy.Authorize(h.life.member.Principal(), action, policy.Resource{Kind: policy.Document, Name: d.GetKey()})
	if !decision.Allowed {
		return refuse("%s", decision.Reason)
	}
	return nil
}

// writer finds the member that author's key was of at d's time.
func (s *State) writer(author Key, d *replicapb.Document) (*holder, error) {
	if _, ok := s.Revocation(author); ok {
		return nil, refuse("author is revoked")
	}
	h, ok := s.holders[author]
	if !ok {
		return nil, refuse("author is no member but %s", s.describe(author))
	}
	if !h.until.IsZero() && DocumentTime(d.GetTime()).After(h.until) {
		return nil, refuse("author's key was replaced and ended at %s, before it wrote this", h.until)
	}
	return h, nil
}

// describe says what a key is, for reasons.
func (s *State) describe(k Key) string {
	if _, named := s.named[k]; named && !s.IsSigner(k) {
		return "a revoked signer"
	}
	switch {
	case s.IsRoot(k):
		return "a root"
	case s.IsSigner(k):
		return "a signer"
	case s.holders[k] != nil:
		return s.holders[k].life.member.GivenName + " (" + s.Standing(k).String() + ")"
	}
	return s.Standing(k).String()
}
