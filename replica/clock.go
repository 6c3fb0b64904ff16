package replica

import (
	"sync"
	"time"
)

// maxAhead is how far ahead of the local clock a document may be before it waits.
const maxAhead = 24 * time.Hour

// clock is the hybrid logical clock of Kulkarni, Demirbas et al., "Logical
// Physical Clocks" (2014): 48 bits of Unix milliseconds, 16 bits of counter. It
// never runs backwards, whatever the wall clock does; a counter that overflows
// carries into the milliseconds.
type clock struct {
	wall func() time.Time

	mu   sync.Mutex
	last uint64
}

func hybrid(t time.Time) uint64 {
	ms := t.UnixMilli()
	if ms < 0 {
		return 0
	}
	return uint64(ms) << 16
}

// TimeOf returns the wall-clock part of a document's time.
func TimeOf(hlc uint64) time.Time { return time.UnixMilli(int64(hlc >> 16)) }

// next returns a time greater than all that were returned or seen.
func (c *clock) next() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(hybrid(c.wall()), c.last+1)
	return c.last
}

// saw makes every later time greater than t.
func (c *clock) saw(t uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, t)
}

func (c *clock) highest() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// ahead is by how much the clock leads the wall clock; negative when it is behind.
func (c *clock) ahead() time.Duration { return TimeOf(c.highest()).Sub(c.wall()) }

// tooFar reports whether a document of time t has to wait.
func (c *clock) tooFar(t uint64) bool { return t > hybrid(c.wall().Add(maxAhead)) }
