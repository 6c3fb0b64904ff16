package peer

import (
	"maps"
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/query/global"
	"github.com/atoll-mesh/atoll/wire/querypb"
)

// promises are what islands promised, by whatever identifies them. One is used for
// less than its time, counted from before it was asked for: clocks drift, and stand
// still while a machine sleeps.
type promises struct {
	mu sync.Mutex
	by map[string]promised
}

// promised is a promise and when it was asked for.
type promised struct {
	global.Promise
	asked time.Time
}

const trusted = global.PromiseTime * 3 / 4

// holds reports whether a promise can be counted on, by either of two clocks.
func (p promised) holds() bool {
	now := time.Now()
	wall := now.Round(0).Sub(p.asked.Round(0))
	return now.Sub(p.asked) < trusted && wall >= 0 && wall < trusted
}

// Facts adds to what is known of an island what it promised, as long as that holds.
func (c *Codec) Facts(id, name string) global.Facts {
	c.promises.mu.Lock()
	defer c.promises.mu.Unlock()
	p, ok := c.promises.by[id]
	if !ok || !p.holds() {
		return global.Facts{Name: name}
	}
	return global.Facts{Name: name, External: p.External, MinTime: p.MinTime}
}

// number is that of the promise that is known, even if it is over.
func (s *promises) number(id string) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[id].Number
}

// heard takes in what an island said when it was asked at a time.
func (s *promises) heard(id string, asked time.Time, m *querypb.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := promised{s.by[id].Promise, asked}
	if said := m.GetPromised(); said != nil {
		external, err := labelSet(said.GetLabels())
		if err != nil {
			p.Number = 0 // as if it had said nothing
		} else {
			p.Promise = global.Promise{Number: m.GetPromise(), External: external, MinTime: said.GetMinTime()}
		}
	}
	if p.Number == 0 || p.Number != m.GetPromise() {
		delete(s.by, id)
		return
	}
	s.by[id] = p
	if len(s.by)%64 == 0 { // of islands that are gone
		maps.DeleteFunc(s.by, func(_ string, p promised) bool { return !p.holds() })
	}
}

func promiseMessage(p *global.Promise) *querypb.Promise {
	return &querypb.Promise{Labels: labelMessages(p.External), MinTime: p.MinTime}
}
