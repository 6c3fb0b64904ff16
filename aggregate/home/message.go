package home

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/atoll-mesh/atoll/aggregate/engine"
)

// Most things of a kind in one message.
const most = 8192

// message is what one island says to another at a time.
type message struct {
	boot uint64
	// to is the start of the receiver that the sender knows of; the receiver takes
	// nothing of a message to another one.
	to   uint64
	view uint64 // of the members that the sender knows
	// done: in this view, the receiver was told all that the sender counts.
	done  bool
	full  bool  // that was of all slots of the receiver
	round uint8 // of telling
	// poll: the sender follows the receiver and asks how far it is.
	poll    bool
	ack     uint64 // the last report that came
	claims  []claim
	watches []watch
	asks    []watch
	tooks   []watch
	wills   []will
}

type claimKind uint8

const (
	claimNew   claimKind = iota // nothing is counted yet
	claimHeld                   // it is counted by the claimant
	claimTook                   // it is counted by the claimant, taken over from another
	claimAgain                  // as claimNew, but the claimant counted it before
	claimKinds
)

// waits: the claimant counts nothing of it before it has an answer.
func (k claimKind) waits() bool { return k == claimNew || k == claimAgain }

type claim struct {
	engine.Series
	kind claimKind
	from uint64
}

// watch names a series there, at the receiver, and here, at the sender.
type watch struct {
	id          uint64
	there, here uint32
	// t is the sender's newest sample of asks, and the last that it counted of a series
	// that it watches from now on, with its value; math.MinInt64 for none.
	t int64
	v float64
}

type verdictKind uint8

const (
	verdictMine verdictKind = iota
	verdictElse
	verdictWait
	verdictSeen // as verdictMine, but an island that is gone may have counted it
	verdictKinds
)

// verdict answers a claim.
type verdict struct {
	kind  verdictKind
	home  uint64
	there uint32
}

// reply answers a message.
type reply struct {
	boot     uint64
	taken    bool
	verdicts []verdict
	// polled: through and due say how far the sender is with what the receiver follows.
	polled       bool
	seq          uint64
	through, due int64
	newest       int64 // sample that the sender has of any of them
	states       []state
}

type stateKind uint8

const (
	stateAlive   stateKind = iota + 1
	stateOffer             // silent since t
	stateGiven             // yours, from t on
	stateMoved             // counted by another island
	stateUnknown           // not a series of mine
	stateBusy              // mine is the next move
	stateKinds
)

// state is how a series is that the receiver watches or asked for.
type state struct {
	id    uint64
	here  uint32 // at the receiver
	kind  stateKind
	home  uint64 // moved
	there uint32
	t     int64 // offer, given; math.MinInt64 for none
	v     float64
	step  uint8
	ended bool
}

func (m *message) encode() []byte {
	b := make([]byte, 0, 64+16*len(m.claims)+24*(len(m.watches)+len(m.asks)+len(m.tooks)))
	b = append(b, formatMessage)
	b = binary.LittleEndian.AppendUint64(b, m.boot)
	b = binary.LittleEndian.AppendUint64(b, m.to)
	b = binary.LittleEndian.AppendUint64(b, m.view)
	b = append(b, bits(m.done, m.poll, m.full), m.round)
	b = binary.AppendUvarint(b, m.ack)
	b = binary.AppendUvarint(b, uint64(len(m.claims)))
	for _, c := range m.claims {
		b = append(b, byte(c.kind))
		b = binary.LittleEndian.AppendUint64(b, c.ID)
		b = binary.LittleEndian.AppendUint32(b, c.Ref)
		if c.kind == claimTook {
			b = binary.LittleEndian.AppendUint64(b, c.from)
		}
	}
	for _, list := range [][]watch{m.watches, m.asks, m.tooks} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, w := range list {
			b = binary.LittleEndian.AppendUint64(b, w.id)
			b = binary.LittleEndian.AppendUint32(b, w.there)
			b = binary.LittleEndian.AppendUint32(b, w.here)
			b = append(b, bits(w.t != math.MinInt64))
			if w.t != math.MinInt64 {
				b = binary.AppendVarint(b, w.t)
				b = binary.LittleEndian.AppendUint64(b, math.Float64bits(w.v))
			}
		}
	}
	if len(m.wills) == 0 {
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(m.wills)))
	for _, w := range m.wills {
		b = binary.LittleEndian.AppendUint64(b, w.id)
		b = binary.AppendVarint(b, w.t)
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(w.v))
		b = append(b, w.step)
	}
	return b
}

const (
	formatMessage = 1
	formatReply   = 2
)

// Is tells messages for Handle from those of package share, on one way.
func Is(message []byte) bool { return len(message) > 0 && message[0] == formatMessage }

func bits(all ...bool) (b byte) {
	for i, on := range all {
		if on {
			b |= 1 << i
		}
	}
	return b
}

var errMessage = errors.New("message about homes of series: bytes end early or a number is out of range; it is damaged, or of another version of Atoll")

func decodeMessage(b []byte) (*message, error) {
	d := reader{b: b}
	if d.byte() != formatMessage {
		return nil, errMessage
	}
	m := &message{boot: d.u64(), to: d.u64(), view: d.u64()}
	flags := d.byte()
	m.done, m.poll, m.full, m.round, m.ack = flags&1 != 0, flags&2 != 0, flags&4 != 0, d.byte(), d.uvarint()
	for range d.count(13) {
		c := claim{kind: claimKind(d.byte()), Series: engine.Series{ID: d.u64(), Ref: d.u32()}}
		if c.kind == claimTook {
			c.from = d.u64()
		}
		if c.kind >= claimKinds || c.ID == 0 {
			return nil, errMessage
		}
		m.claims = append(m.claims, c)
	}
	for _, list := range []*[]watch{&m.watches, &m.asks, &m.tooks} {
		for range d.count(17) {
			w := watch{id: d.u64(), there: d.u32(), here: d.u32(), t: math.MinInt64}
			if d.byte() != 0 {
				w.t, w.v = d.time(), math.Float64frombits(d.u64())
			}
			*list = append(*list, w)
		}
	}
	if len(d.b) > 0 {
		for range d.count(18) {
			m.wills = append(m.wills, will{id: d.u64(), t: d.time(), v: math.Float64frombits(d.u64()), step: d.byte()})
		}
	}
	if d.bad || len(d.b) > 0 {
		return nil, errMessage
	}
	return m, nil
}

func (r *reply) encode() []byte {
	b := make([]byte, 0, 64+len(r.verdicts)+32*len(r.states))
	b = append(b, formatReply)
	b = binary.LittleEndian.AppendUint64(b, r.boot)
	b = append(b, bits(r.taken, r.polled))
	b = binary.AppendUvarint(b, uint64(len(r.verdicts)))
	for _, v := range r.verdicts {
		b = append(b, byte(v.kind))
		if v.kind == verdictElse {
			b = binary.LittleEndian.AppendUint64(b, v.home)
			b = binary.LittleEndian.AppendUint32(b, v.there)
		}
	}
	b = binary.AppendUvarint(b, r.seq)
	b = binary.AppendVarint(binary.AppendVarint(b, r.through), r.due)
	b = binary.AppendVarint(b, r.newest)
	b = binary.AppendUvarint(b, uint64(len(r.states)))
	for _, s := range r.states {
		b = append(b, byte(s.kind))
		b = binary.LittleEndian.AppendUint64(b, s.id)
		b = binary.LittleEndian.AppendUint32(b, s.here)
		switch s.kind {
		case stateMoved:
			b = binary.LittleEndian.AppendUint64(b, s.home)
			b = binary.LittleEndian.AppendUint32(b, s.there)
		case stateOffer, stateGiven:
			b = append(b, bits(s.t != math.MinInt64, s.ended), s.step)
			if s.t != math.MinInt64 {
				b = binary.AppendVarint(b, s.t)
				b = binary.LittleEndian.AppendUint64(b, math.Float64bits(s.v))
			}
		}
	}
	return b
}

func decodeReply(b []byte) (*reply, error) {
	d := reader{b: b}
	if d.byte() != formatReply {
		return nil, errMessage
	}
	r := &reply{boot: d.u64()}
	flags := d.byte()
	r.taken, r.polled = flags&1 != 0, flags&2 != 0
	for range d.count(1) {
		v := verdict{kind: verdictKind(d.byte())}
		if v.kind >= verdictKinds {
			return nil, errMessage
		}
		if v.kind == verdictElse {
			v.home, v.there = d.u64(), d.u32()
		}
		r.verdicts = append(r.verdicts, v)
	}
	r.seq, r.through, r.due, r.newest = d.uvarint(), d.time(), d.time(), d.time()
	for range d.count(13) {
		s := state{kind: stateKind(d.byte()), id: d.u64(), here: d.u32(), t: math.MinInt64}
		if s.kind == 0 || s.kind >= stateKinds {
			return nil, errMessage
		}
		switch s.kind {
		case stateMoved:
			s.home, s.there = d.u64(), d.u32()
		case stateOffer, stateGiven:
			flags := d.byte()
			s.ended, s.step = flags&2 != 0, d.byte()
			if flags&1 != 0 {
				s.t, s.v = d.time(), math.Float64frombits(d.u64())
			}
		}
		r.states = append(r.states, s)
	}
	if d.bad || len(d.b) > 0 {
		return nil, errMessage
	}
	return r, nil
}

// reader reads bytes; after the first mistake it is bad and reads zeros.
type reader struct {
	b   []byte
	bad bool
}

func (d *reader) take(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad, d.b = true, nil
		return make([]byte, n)
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *reader) byte() byte  { return d.take(1)[0] }
func (d *reader) u64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }
func (d *reader) u32() uint32 { return binary.LittleEndian.Uint32(d.take(4)) }

func (d *reader) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

// time is one in Unix ms that sums of do not overflow.
func (d *reader) time() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 || v <= -1<<53 || v >= 1<<53 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads how many things of at least size bytes follow: never more than fit.
func (d *reader) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/size) {
		d.bad, d.b = true, nil
		return 0
	}
	return int(n)
}
