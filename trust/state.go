package trust

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// Standing is what a key is to the network.
type Standing int

// The standings. A key that is several of them is the last in this list.
const (
	Unknown Standing = iota
	// Guest is the key of a known invitation, be it used up or expired.
	Guest
	// MemberStanding is a member's current or previous key.
	MemberStanding
	// Left is a member's that said good-bye.
	Left
	// Revoked is of a revoked node or signer key, and every key of a member
	// that had a revoked one among its keys, earlier or later.
	Revoked
)

func (s Standing) String() string {
	return [...]string{"unknown", "guest", "member", "left", "revoked"}[s]
}

// Member is an island in good standing. It is shared: change nothing in it.
type Member struct {
	// Key is the current node key; it is who the member is to policies.
	Key Key
	// PreviousKeys are older node keys, each good until its time.
	PreviousKeys []MemberKey
	// Name is unique among members: of two who were given one name the later
	// is shown as name~xxxx, with the end of its peer ID.
	Name      string
	GivenName string
	Role      string
	Labels    map[string]string
	Joined    time.Time
	Invite    Key
	Addresses []string
	// Signer is the author of the member's document.
	Signer Key

	id string // Key's text
}

// Principal is the member as policies see it.
func (m *Member) Principal() policy.Principal {
	id := m.id
	if id == "" {
		id = m.Key.String()
	}
	return policy.Principal{ID: id, Name: m.Name, Role: m.Role, Labels: m.Labels}
}

// Departed is a member no more.
type Departed struct {
	Key      Key
	Name     string
	Standing Standing // Left or Revoked
	At       time.Time
	Reason   string
	By       Key
}

// Signer may admit, renew and revoke.
type Signer struct {
	Key Key
	// Name is of the island that holds the key.
	Name  string
	Since time.Time
}

// Invite is a known invitation, perhaps used up or expired.
type Invite struct {
	Key Key
	InviteValue
}

// Check says why nobody can come in by the invitation now, in words for them.
func (i *Invite) Check(now time.Time) error {
	switch {
	case now.After(i.Expires):
		return fmt.Errorf("the invitation expired at %s: ask for a new one", i.Expires.UTC().Format(time.RFC3339))
	case len(i.UsedBy) >= i.Uses:
		return fmt.Errorf("the invitation was good for %d and has been used %d times: ask for a new one", i.Uses, len(i.UsedBy))
	}
	return nil
}

// Refusal is a document that does not count, and why.
type Refusal struct {
	Document *replicapb.Document
	Reason   string
}

// State answers every question about rights from one set of documents. It
// never changes and may be used by many at once.
type State struct {
	network NetworkID
	info    NetworkValue // its chain is empty while network/main is unknown
	roots   map[Key]struct{}
	// named are the keys that a root trusts as signers; signers those of them
	// that no root revoked.
	named    map[Key]SignerValue
	signers  map[Key]Signer
	revoked  map[Key]Departed
	holders  map[Key]*holder
	members  []*Member
	byName   map[string]*Member
	departed []Departed
	// deleted are the keys whose member document was deleted.
	deleted map[Key]struct{}
	invites map[Key]*Invite
	policy  *policy.Set
	policed bool
	// values are those of the documents it follows from, decoded; never written.
	values decoded
}

// Network is the network that the state is of.
func (s *State) Network() NetworkID { return s.network }

// NetworkName is what the network's founder called it; empty while that is unknown.
func (s *State) NetworkName() string { return s.info.Name }

// NetworkValue is network/main's value, and false while that is unknown.
func (s *State) NetworkValue() (NetworkValue, bool) {
	v := s.info
	v.Chain = slices.Clone(v.Chain)
	return v, len(v.Chain) > 0
}

// Roots are the keys at the top now, sorted.
func (s *State) Roots() []Key {
	if len(s.info.Chain) == 0 {
		return nil
	}
	return slices.SortedFunc(slices.Values(s.info.last().Roots), Key.Compare)
}

// Recovery is the key that may sign a new root; zero if there is none.
func (s *State) Recovery() Key {
	if len(s.info.Chain) == 0 {
		return Key{}
	}
	return s.info.Recovery()
}

// IsRoot reports whether k is a root now.
func (s *State) IsRoot(k Key) bool { _, ok := s.roots[k]; return ok }

// IsSigner reports whether k may admit, renew and revoke now.
func (s *State) IsSigner(k Key) bool { _, ok := s.signers[k]; return ok }

// Signers are those who may sign now, sorted by name, then key.
func (s *State) Signers() []Signer {
	all := make([]Signer, 0, len(s.signers))
	for _, x := range s.signers {
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b Signer) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return a.Key.Compare(b.Key)
	})
	return all
}

// Members are all in good standing, sorted by name.
func (s *State) Members() []*Member { return slices.Clone(s.members) }

// Len is the number of members.
func (s *State) Len() int { return len(s.members) }

// Member finds a member by the name it is shown under.
func (s *State) Member(name string) (*Member, bool) {
	m, ok := s.byName[name]
	return m, ok
}

// MemberByKey finds a member in good standing by its current key or a previous one.
func (s *State) MemberByKey(k Key) (*Member, bool) {
	if s.Standing(k) != MemberStanding {
		return nil, false
	}
	return s.holders[k].life.member, true
}

// Departed lists members that left or were revoked, and revoked keys of
// whoever else, sorted by name, then key.
func (s *State) Departed() []Departed { return slices.Clone(s.departed) }

// Revocation says when, why and by whom a key was revoked, or another one of its
// member's.
func (s *State) Revocation(k Key) (Departed, bool) {
	if d, ok := s.revoked[k]; ok {
		return d, true
	}
	if h, ok := s.holders[k]; ok {
		d, ok := s.revoked[h.life.struck]
		return d, ok
	}
	return Departed{}, false
}

// Standing is what k is to the network. A previous key counts as a member's
// after its time too: its old documents stay, and CheckCertificate, which
// knows the time, refuses it.
func (s *State) Standing(k Key) Standing {
	if _, ok := s.revoked[k]; ok {
		return Revoked
	}
	if h, ok := s.holders[k]; ok {
		return h.life.standing
	}
	if _, ok := s.invites[k]; ok {
		return Guest
	}
	return Unknown
}

// Outcast reports whether the documents name k and keep it out: it is revoked, has
// left, or its member document was deleted. It says nothing of strangers.
func (s *State) Outcast(k Key) bool {
	switch s.Standing(k) {
	case Left, Revoked:
		return true
	case Unknown:
		_, ok := s.deleted[k]
		return ok
	}
	return false
}

// Doubtful are the outcasts who are out by the word of a signer alone, since a time
// as far as that is known: a root may yet say otherwise.
func (s *State) Doubtful(since time.Time) (out []Key) {
	for _, d := range s.departed {
		bySelf := s.holders[d.By] != nil
		if !s.IsRoot(d.By) && !bySelf && !d.At.Before(since) {
			out = append(out, d.Key)
		}
	}
	for k := range s.deleted {
		if s.Standing(k) == Unknown {
			out = append(out, k)
		}
	}
	return out
}

// Invite finds an invitation by its guest key.
func (s *State) Invite(guest Key) (*Invite, bool) {
	i, ok := s.invites[guest]
	return i, ok
}

// Invites are all known invitations, sorted by their time of creation, then key.
func (s *State) Invites() []*Invite {
	all := make([]*Invite, 0, len(s.invites))
	for _, i := range s.invites {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b *Invite) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return a.Key.Compare(b.Key)
	})
	return all
}

// Policy is the policy in force: policy/main, or policy.Default.
func (s *State) Policy() *policy.Set { return s.policy }

// PolicyIsDefault reports whether no policy/main is in force.
func (s *State) PolicyIsDefault() bool { return !s.policed }

// Authorize decides whether who may do action to resource. Only members may do anything.
func (s *State) Authorize(who Key, action policy.Action, resource policy.Resource) policy.Decision {
	m, ok := s.MemberByKey(who)
	if !ok {
		return policy.Decision{Reason: fmt.Sprintf("%s is no member of network %s but %s", who, s.network.Short(), s.Standing(who))}
	}
	return s.policy.Authorize(m.Principal(), action, resource)
}

// CheckCertificate says whether c, shown by the peer that proved key, is good
// now. ErrExpired is for quarantine: the peer is a member and may renew.
// ErrRefused is for everything else. Name, role and labels in a certificate
// are as they were at its time; those in force are the member's.
func (s *State) CheckCertificate(c *Certificate, key Key, now time.Time) error {
	if err := s.refusal(c, key, now); err != nil {
		return fmt.Errorf("certificate of %s: %w: %w", key, err, ErrRefused)
	}
	reason := ""
	switch {
	case !s.IsSigner(c.Signer):
		reason = fmt.Sprintf("its signer %s is trusted no more: renew it", c.Signer)
	case now.Add(ClockTolerance).Before(c.NotBefore):
		reason = fmt.Sprintf("begins at %s, now is %s: compare the clocks", c.NotBefore.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case now.Add(-ClockTolerance).After(c.NotAfter):
		reason = fmt.Sprintf("ended at %s, now is %s: renew it", c.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if reason != "" {
		return fmt.Errorf("certificate of %s: %s: %w", key, reason, ErrExpired)
	}
	return nil
}

func (s *State) refusal(c *Certificate, key Key, now time.Time) error {
	switch {
	case c == nil:
		return errors.New("there is none")
	case c.Network != s.network:
		return fmt.Errorf("is of network %s, not %s", c.Network.Short(), s.network.Short())
	case c.Key != key:
		return fmt.Errorf("is for %s", c.Key)
	}
	if standing := s.Standing(key); standing != MemberStanding {
		return fmt.Errorf("holder is %s, not a member", standing)
	}
	if until := s.holders[key].until; !until.IsZero() && now.Add(-ClockTolerance).After(until) {
		return fmt.Errorf("key was replaced by %s and ended at %s", s.holders[key].life.member.Key, until.Format(time.RFC3339))
	}
	return nil
}
