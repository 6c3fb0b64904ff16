package share

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/health"
)

// differLong is how long islands may have different rules before it is said: a
// reload does not reach all at once.
const differLong = time.Minute

// warn says which islands parts wait for, which ones windows are published
// without, and which have other rules. It is done once a second.
func (s *Share) warn() {
	if s.now-s.warned < poll.Milliseconds() {
		return
	}
	s.warned = s.now
	var stuck, without, differ []string
	if len(s.order) == 0 { // where no rule is shared nothing is sent, so nobody is heard, nor missed
		say(s.m.stuck, nil)
		say(s.m.without, nil)
		say(s.m.differ, nil)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.peers)) {
		p := s.peers[name]
		if name == s.o.Self {
			continue
		}
		lasts := int64(0)
		if p.failing != 0 {
			lasts = s.now - p.failing
		}
		s.m.unreached.WithLabelValues(name).Set(float64(lasts) / 1000)
		if lasts >= fresh.Milliseconds() {
			stuck = append(stuck, fmt.Sprintf("%s: nothing gets through for %s", name, seconds(lasts)))
		}
		if p.index == none {
			without = append(without, fmt.Sprintf("%s: no island within reach has heard it for %s", name, seconds(s.now-s.members[name].known)))
		}
		differ = append(differ, s.differences(p)...)
	}
	if len(stuck) > 0 {
		stuck = append(stuck, fmt.Sprintf("%d bytes of parts wait in memory, %d parts on disk", s.bytes-s.spare, s.spilled))
	}
	if s.view.apart {
		without = append(without, "this island and those it reaches are not the most: they publish for themselves")
	}
	say(s.m.stuck, stuck)
	say(s.m.without, without)
	say(s.m.differ, differ)
}

func seconds(ms int64) time.Duration {
	return (time.Duration(ms) * time.Millisecond).Round(time.Second)
}

// differences are the rules that a peer has not had for long.
func (s *Share) differences(p *peer) (out []string) {
	n := 0
	for _, rs := range s.order {
		l := p.links[rs.rule.Hash]
		if l == nil || l.lacks == 0 {
			continue
		}
		n++
		if s.now-l.lacks < differLong.Milliseconds() {
			continue
		}
		out = append(out, fmt.Sprintf("%s does not have the rule %s", p.name, title(rs.rule)))
		if !l.said {
			l.said = true
			s.log.Warn("an island does not have a rule of shared aggregation; windows of the rule wait for it", "member", p.name, "rule", title(rs.rule), "line", rs.rule.Line)
		}
	}
	s.m.unknown.WithLabelValues(p.name).Set(float64(n))
	return out
}

// title names a rule for people.
func title(r *rule.Rule) string {
	if r.Name != "" {
		return r.Name
	}
	return fmt.Sprintf("%016x (line %d)", r.Hash, r.Line)
}

// say sets a warning, or clears it where there is nothing to say.
func say(h *health.Handle, texts []string) {
	switch {
	case h == nil:
	case len(texts) == 0:
		h.Clear()
	default:
		h.Set("%s", strings.Join(texts, "; "))
	}
}
