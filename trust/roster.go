package trust

import (
	"cmp"
	"slices"
	"time"

	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// life is a member from its admission on, through all its keys.
type life struct {
	member   *Member
	standing Standing
	leftAt   uint64 // document time of the good-bye, 0 for none
	leftName string
	left     Departed
	// struck is the key whose revocation ended it, zero for none: any key it ever had.
	struck Key
}

// holder is whose a key is, and until when; a current key has no end.
type holder struct {
	life  *life
	until time.Time
}

// record is a valid member document while the roster is made.
type record struct {
	key   Key
	value namedMember
	doc   *replicapb.Document
	head  *record // the record that speaks for this one's member now
	life  *life
}

// joining reads the members' documents and settles who speaks for which key. A
// document whose key another one lists as a previous key is superseded by it:
// so one new document replaces a key, whatever happens to the old document.
func (b *build) joining() {
	records := map[Key]*record{}
	b.each(KindMember, func(name string, d *replicapb.Document) error {
		v, err := b.judgeMember(name, d, b.values)
		switch {
		case err != nil:
		case d.GetDeleted():
			if k, err := ParseKey(name); err == nil {
				b.deleted[k] = struct{}{}
			}
		default:
			k := v.Keys[0].Key
			records[k] = &record{key: k, value: v, doc: d}
		}
		return err
	})
	successors := map[Key]*record{}
	listing := map[Key][]*record{} // who lists a key as a previous one
	for _, r := range records {
		for _, previous := range r.value.Keys[1:] {
			listing[previous.Key] = append(listing[previous.Key], r)
			if s := successors[previous.Key]; s == nil || newerRecord(r, s) {
				successors[previous.Key] = r
			}
		}
	}
	for _, r := range records {
		settle(r, successors)
	}
	for _, r := range records {
		if r.head == r {
			r.life = b.enlist(r)
		}
	}
	for k, r := range records {
		b.holders[k] = &holder{life: r.head.life, until: untilOf(k, r, successors)}
	}
	for k, s := range successors {
		if records[k] == nil {
			b.holders[k] = &holder{life: s.head.life, until: untilOf(k, nil, successors)}
		}
	}
	b.striking(records, listing)
}

// striking ends the lives that revocations end. A member is one through all its
// keys: a revoked key takes those with it that came before it and after it, so
// that one side of a partition cannot replace a key out of the revocation that
// the other side wrote. Of several revocations the earliest is named.
func (b *build) striking(records map[Key]*record, listing map[Key][]*record) {
	known := make([]Key, 0, len(b.revoked))
	for k := range b.revoked {
		if b.holders[k] != nil {
			known = append(known, k)
		}
	}
	slices.SortFunc(known, func(x, y Key) int { return cmp.Or(b.revoked[x].At.Compare(b.revoked[y].At), x.Compare(y)) })
	seen := map[*record]bool{}
	for _, k := range known {
		for reach := []Key{k}; len(reach) > 0; {
			last := reach[len(reach)-1]
			reach = reach[:len(reach)-1]
			near := listing[last]
			if own := records[last]; own != nil {
				near = append(slices.Clone(near), own)
			}
			for _, r := range near {
				if seen[r] {
					continue
				}
				seen[r] = true
				if r.life != nil {
					r.life.struck = k
				}
				for _, key := range r.value.Keys {
					reach = append(reach, key.Key)
				}
			}
		}
	}
}

// settle finds the end of the line of successors that r is in. Where documents
// contradict each other in a circle, the newest in it speaks.
func settle(r *record, successors map[Key]*record) {
	var line []*record
	at := map[*record]int{}
	head := r
	for head.head == nil {
		if i, seen := at[head]; seen {
			head = slices.MaxFunc(line[i:], func(x, y *record) int { return cmp.Or(lastWriter(x.doc, y.doc), x.key.Compare(y.key)) })
			head.head = head
			break
		}
		at[head] = len(line)
		line = append(line, head)
		next := successors[head.key]
		if next == nil {
			head.head = head
			break
		}
		head = next
	}
	for _, x := range line {
		x.head = head.head
	}
}

func newerRecord(a, b *record) bool {
	// The documents have different keys: time and author decide, then the key.
	return cmp.Or(lastWriter(a.doc, b.doc), a.key.Compare(b.key)) > 0
}

func untilOf(k Key, own *record, successors map[Key]*record) time.Time {
	if own != nil && own.head == own {
		return time.Time{}
	}
	for _, previous := range successors[k].value.Keys[1:] {
		if previous.Key == k {
			return previous.Until
		}
	}
	return time.Time{}
}

func (b *build) enlist(r *record) *life {
	v := r.value
	return &life{standing: MemberStanding, member: &Member{
		Key: r.key, PreviousKeys: v.Keys[1:], Name: v.Name, GivenName: v.Name, Role: v.Role, Labels: v.Labels,
		Joined: v.Joined, Invite: v.Invite, Addresses: v.Addresses, Signer: authorOf(r.doc), id: v.id,
	}}
}

// naming settles everybody's standing, then gives every member a name of its
// own: who joined first keeps it.
func (b *build) naming() {
	for k, h := range b.holders {
		l := h.life
		if k != l.member.Key {
			continue
		}
		switch {
		case !l.struck.IsZero():
			l.standing = Revoked
		case l.leftAt != 0:
			l.standing = Left
			b.departed = append(b.departed, l.left)
		default:
			b.members = append(b.members, l.member)
		}
	}
	slices.SortFunc(b.members, func(x, y *Member) int { return cmp.Or(x.Joined.Compare(y.Joined), x.Key.Compare(y.Key)) })
	for _, m := range b.members {
		m.Name = b.freeName(m)
		b.byName[m.Name] = m
	}
	slices.SortFunc(b.members, func(x, y *Member) int { return cmp.Compare(x.Name, y.Name) })
	b.mourn()
}

// freeName adds as much of the end of the peer ID as makes the name unique; no
// given name contains a '~'.
func (b *build) freeName(m *Member) string {
	name, id := m.GivenName, m.id
	for n := 4; b.byName[name] != nil; n += 4 {
		name = m.GivenName + "~" + id[len(id)-min(n, len(id)):]
	}
	return name
}

// mourn completes the list of who is a member no more.
func (b *build) mourn() {
	for k, d := range b.revoked {
		if h, ok := b.holders[k]; ok && d.Name == "" {
			d.Name = h.life.member.GivenName
			b.revoked[k] = d
		}
		b.departed = append(b.departed, b.revoked[k])
	}
	slices.SortFunc(b.departed, func(x, y Departed) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), x.Key.Compare(y.Key))
	})
}
