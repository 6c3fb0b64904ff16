package path

import (
	"errors"
	"slices"
	"time"
)

// mtuTries is how many links with a smaller MTU than the one before are found.
const mtuTries = 4

var errNoSize = errors.New("packets of this kind have no size of their own")

// findMTU sends packets as large as the own link takes, not to be cut, so that routers
// before smaller links say so.
func (t *trace) findMTU() {
	size := linkMTU(t.to.addr)
	for i := range mtuTries {
		tag := t.rounds*t.most + i
		if err := t.carrier.send(tag, mostHops, size); err != nil {
			return // the own link says it; or there are no sizes
		}
		a, ok := t.hear(tag)
		if !ok || a.fate != tooBig || a.mtu == 0 || a.mtu >= size {
			return
		}
		size = a.mtu
		for hop := range t.distance {
			if slices.Contains(t.hops[hop].Addrs, a.from) {
				t.hops[hop].MTU = a.mtu
			}
		}
	}
}

// hear waits for what becomes of one packet.
func (t *trace) hear(tag int) (answer, bool) {
	slowest := slowestOf(t.hops[t.distance-1].RTT)
	timer := time.NewTimer(min(max(3*slowest, 100*time.Millisecond), t.to.wait))
	defer timer.Stop()
	for {
		select {
		case a := <-t.answers:
			if a.tag == tag {
				return a, true
			}
		case <-timer.C:
			return answer{}, false
		case <-t.ctx.Done():
			return answer{}, false
		}
	}
}
