package home

import (
	"cmp"
	"maps"
	"slices"

	"github.com/atoll-mesh/atoll/aggregate/slots"
)

// ripeAfter is how long a directory of a slot that has not heard from all members
// lets new series wait, ms.
const ripeAfter = 10 * 1000

// lostFor is how long series of a lost member may be met anew, ms.
const lostFor = 60 * 60 * 1000

// directory knows the homes of the series of some slots.
type directory struct {
	homes  []uint64 // islands, by number
	number map[uint64]uint16
	since  [slots.Count]int64   // when the slot became ours, Unix ms; 0: it is not
	series [slots.Count][]entry // by id
	ripe   bool                 // all members have told what they count, in this view
	// unheard: a member has not answered since this island began; it may count series
	// that the directory does not know.
	unheard bool
	// lost is when a member went that is not back, Unix ms; 0: all are there.
	lost int64
	// again are series, and when, that were claimed by one that counted them before,
	// and had to wait: who is given one meanwhile must not take it for a new one.
	again map[uint64]int64
	// legacies are of islands that have left, by the ID of a series; places is the last
	// number that one got.
	legacies map[uint64]*legacy
	places   uint32
	self     uint64 // whose directory this is
}

// entry: 16 bytes, as there are many.
type entry struct {
	id    uint64
	ref   uint32 // at home
	home  uint16
	round uint8 // in which home told of it last
}

func (d *directory) numberOf(home uint64) uint16 {
	if n, ok := d.number[home]; ok {
		return n
	}
	if d.number == nil {
		d.number = map[uint64]uint16{}
	}
	n := uint16(len(d.homes))
	d.homes = append(d.homes, home)
	d.number[home] = n
	return n
}

// own goes over to the slots of a view.
func (d *directory) own(v *slots.View, self int16, now int64) {
	d.ripe = len(v.Members) == 1
	for k := range slots.Count {
		switch {
		case v.First[k] != self:
			d.since[k], d.series[k] = 0, nil
		case d.since[k] == 0:
			d.since[k] = now
		}
	}
}

// claim decides who counts a series. member tells islands that are not gone.
func (d *directory) claim(from uint64, c claim, round uint8, now int64, member func(uint64) bool) verdict {
	k := slots.Of(c.ID)
	e, at, known := d.find(k, c.ID)
	there := known
	home, kind := uint64(0), verdictMine
	x := d.legacies[c.ID]
	x.claimed(from, c)
	if known {
		home = d.homes[e.home]
		if home != from && !member(home) {
			known, kind = false, verdictSeen
		}
		known = known && !x.leftBy(home)
	} else if d.lost != 0 && d.since[k] >= d.lost && now < d.lost+lostFor {
		kind = verdictSeen // the lost one could not tell
	}
	switch {
	case !known && c.kind.waits() && x != nil && (x.to == 0 || x.to == d.self || member(x.to)):
		return verdict{kind: verdictElse, home: d.self}
	case d.since[k] == 0:
		return d.wait(c, now) // in another view than the claimant's
	case known && home != from && (c.kind != claimTook || c.from != home):
		return verdict{kind: verdictElse, home: home, there: e.ref}
	case !known && kind == verdictMine && c.kind.waits() && !d.ripe && now < d.since[k]+ripeAfter:
		return d.wait(c, now)
	}
	if _, waited := d.again[c.ID]; kind == verdictMine && c.kind == claimNew && (waited || d.unheard && !d.ripe && now < d.since[k]+lostFor) {
		kind = verdictSeen
	}
	e = entry{id: c.ID, ref: c.Ref, home: d.numberOf(from), round: round}
	if there {
		d.series[k][at] = e
	} else {
		d.series[k] = slices.Insert(roomy(d.series[k]), at, e)
	}
	return verdict{kind: kind}
}

// againFor is how long a claim that had to wait is remembered, ms.
const againFor = 60 * 1000

// mostAgain bounds what is remembered of claims that had to wait.
const mostAgain = 1 << 20

// wait answers a claim that cannot be decided yet.
func (d *directory) wait(c claim, now int64) verdict {
	if c.kind == claimAgain && len(d.again) < mostAgain {
		if d.again == nil {
			d.again = map[uint64]int64{}
		}
		d.again[c.ID] = now
	}
	return verdict{kind: verdictWait}
}

func (d *directory) find(slot int, id uint64) (e entry, at int, ok bool) {
	at, ok = slices.BinarySearchFunc(d.series[slot], id, func(e entry, id uint64) int { return cmp.Compare(e.id, id) })
	if ok {
		e = d.series[slot][at]
	}
	return e, at, ok
}

// roomy has room for one more, and not for many.
func roomy(s []entry) []entry {
	if len(s) < cap(s) {
		return s
	}
	grown := make([]entry, len(s), len(s)+len(s)/8+4)
	copy(grown, s)
	return grown
}

// forget drops claims of long ago, whose claimants had an answer by then.
func (d *directory) forget(now int64) {
	maps.DeleteFunc(d.legacies, func(_ uint64, x *legacy) bool { return now-x.at > lostFor })
	if len(d.again) == 0 {
		return
	}
	maps.DeleteFunc(d.again, func(_ uint64, at int64) bool { return now-at > againFor })
}

// sweep drops from some slots what a home did not tell of in its last round.
func (d *directory) sweep(home uint64, round uint8, from, to int) {
	n := d.numberOf(home)
	for k := from; k < to; k++ {
		d.series[k] = slices.DeleteFunc(d.series[k], func(e entry) bool { return e.home == n && e.round != round })
		if len(d.series[k])*2 < cap(d.series[k]) {
			d.series[k] = slices.Clone(d.series[k])
		}
	}
}

func (d *directory) len() (n int) {
	for k := range d.series {
		n += len(d.series[k])
	}
	return n
}
