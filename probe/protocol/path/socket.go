package path

import (
	"bytes"
	"errors"
	"net/netip"
	"sync"
	"time"
)

// ticket is a packet under way.
type ticket struct {
	// tag is the sender's own number of it.
	tag   int
	to    netip.Addr
	token [tokenLength]byte
	long  bool // the payload has the token
	sent  time.Time
	// answers takes what comes back. It must have room: what does not fit is lost.
	answers chan<- answer
	seq     uint16
}

// answer is what became of the packet with that tag.
type answer struct {
	tag int
	rtt time.Duration
	event
}

// desk knows the packets under way of one socket.
type desk struct {
	mu      sync.Mutex
	next    uint16
	waiting map[uint16]*ticket
}

var errBusy = errors.New("65,536 echoes are under way")

// enter gives the ticket a sequence number.
func (d *desk) enter(t *ticket) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for range 1 << 16 {
		d.next++
		if _, taken := d.waiting[d.next]; !taken {
			t.seq = d.next
			d.waiting[t.seq] = t
			return nil
		}
	}
	return errBusy
}

// leave forgets the ticket.
func (d *desk) leave(t *ticket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting[t.seq] == t {
		delete(d.waiting, t.seq)
	}
}

// deliver hands what came back to whom it is for. now is when it was read; e.at, if
// the kernel told, when it arrived.
func (d *desk) deliver(e event, now time.Time) {
	d.mu.Lock()
	t := d.waiting[e.seq]
	d.mu.Unlock()
	if t == nil || !t.matches(e) {
		return
	}
	a := answer{tag: t.tag, rtt: roundTrip(t.sent, e.at, now), event: e}
	a.payload = nil
	select {
	case t.answers <- a:
	default:
	}
}

func (t *ticket) matches(e event) bool {
	if e.fate != answered {
		return e.to == t.to
	}
	return e.from == t.to && (!t.long || bytes.HasPrefix(e.payload, t.token[:]))
}

// roundTrip is by the kernel's clock where that is plausible: it is the wall clock,
// which may have been set meanwhile.
func roundTrip(sent, arrived, read time.Time) time.Duration {
	most := read.Sub(sent)
	if !arrived.IsZero() {
		if d := arrived.Round(0).Sub(sent.Round(0)); d > 0 && d < most {
			return d
		}
	}
	return most
}
