package council

import (
	"context"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/probe/compare"
)

// origin is what stands behind the edges of a target, as the first judge finds it. All
// targets of a definition that have the same one share it.
type origin struct {
	definition, url, host string
	// asked tells that it is known at all. answer is nil where it gave none to compare
	// with, for a reason in words.
	asked  bool
	answer *compare.Answer
	words  string
	failed int
	// word is another one with each answer that is another one.
	word   uint64
	flying bool
	next   time.Time
	used   time.Time
}

const (
	// originsAtOnce are asked at the same time.
	originsAtOnce = 16
	// originFails in a row have the answer forgotten.
	originFails = 2
)

func (c *Council) asksOrigin(d *Definition) bool {
	return c.o.Origin != nil && d.Compare != nil && d.Compare.Origin != ""
}

// inquiries are the origins that are to be asked now: those of targets that this island
// judges, at the interval of their definition.
func (c *Council) inquiries(now time.Time) (all []*origin) {
	waiting := 0
	for _, d := range c.dockets {
		def := c.defs[d.target.Definition]
		if def == nil || !d.lead || !c.asksOrigin(def) {
			d.origin = nil
			continue
		}
		if d.origin == nil {
			d.origin, d.held = c.origin(d, def), 0
		}
		o := d.origin
		if o.word != d.held {
			d.due = time.Time{}
		}
		if o.used = now; o.flying || now.Before(o.next) {
			continue
		}
		if c.asking == originsAtOnce {
			waiting++
			continue
		}
		c.asking++
		o.flying, o.next = true, now.Add(time.Duration(def.Interval))
		all = append(all, o)
	}
	c.m.waiting.Set(float64(waiting))
	for key, o := range c.origins {
		if o.used != now {
			delete(c.origins, key)
		}
	}
	return all
}

func (c *Council) origin(d *docket, def *Definition) *origin {
	url, host := compare.Behind(def.Compare.Origin, d.target.Instance, d.target.server())
	key := strings.Join([]string{def.Name, url, host}, sep)
	o := c.origins[key]
	if o == nil {
		o = &origin{definition: def.Name, url: url, host: host}
		c.origins[key] = o
	}
	return o
}

// ask asks one origin.
func (c *Council) ask(ctx context.Context, o *origin) {
	answer, words := c.o.Origin(ctx, o.definition, o.url, o.host)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asking--
	o.flying = false
	if ctx.Err() != nil {
		return // stopped in the middle: the origin is not to blame
	}
	was := *o
	if answer != nil {
		c.m.asks.WithLabelValues(resultOK).Inc()
		o.answer, o.words, o.failed = answer, "", 0
	} else {
		c.m.asks.WithLabelValues(resultFailed).Inc()
		if o.failed++; o.answer == nil || o.failed >= originFails {
			o.answer, o.words = nil, short(words)
		}
	}
	o.asked = true
	if !was.asked || !o.answer.Equal(was.answer) || o.words != was.words {
		o.word++
		c.stir()
	}
}
