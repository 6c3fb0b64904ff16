package probe

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/discovery"

	"github.com/atoll-mesh/atoll/probe/compare"
	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/schedule"
)

// plan is a configuration made ready: what does not work on this island is found
// out before anything that runs is touched.
type plan struct {
	config  Config
	modules definition.Modules
	uses    []*use
	sd      map[string]discovery.Configs
}

// use is one definition on this island.
type use struct {
	*definition.Definition
	shared bool
	module *definition.Module
	run    protocol.Func
	within time.Duration
	// clash tells that another one of the same name is used instead.
	clash bool
	// problem is why it cannot be used, "" if it can.
	problem string
}

// discoverySet names what one block of a definition discovers.
func discoverySet(name string, block int) string { return fmt.Sprintf("%s/%d", name, block) }

func (p *Prober) makePlan(cfg Config, set Set) *plan {
	next := &plan{config: cfg, modules: set.All(), sd: map[string]discovery.Configs{}}
	taken := map[string]bool{}
	for i, d := range slices.Concat(set.Local, set.Shared) {
		u := &use{Definition: d, shared: i >= len(set.Local), clash: taken[d.Name]}
		next.uses = append(next.uses, u)
		var ok bool
		switch u.module, ok = d.Resolve(next.modules); {
		case u.clash:
			u.problem = "another definition has the same name: this island's own go before those of the network"
		case !ok:
			u.problem = fmt.Sprintf("module %q: there is none of that name on this island; add it to the file of probe.modules, or write the module into the definition", d.Module.Name)
		case p.table[u.module.Prober] == nil:
			u.problem = fmt.Sprintf("prober %q is not part of this program", u.module.Prober)
		case d.Compare != nil && u.module.Prober != compare.Prober:
			u.problem = fmt.Sprintf("compare: module %q has prober %s, and only answers of prober %s are compared; remove compare", d.Module.Name, u.module.Prober, compare.Prober)
		}
		if u.problem != "" {
			continue
		}
		taken[d.Name] = true
		u.run, u.within = p.table[u.module.Prober], d.Within(u.module)
		for block, found := range d.Discover {
			found.Configs.SetDirectory(set.Dir)
			next.sd[discoverySet(d.Name, block)] = found.Configs
		}
	}
	return next
}

// adopt puts a plan in force, for the next rebuild.
func (p *Prober) adopt(next *plan) {
	p.plan.Store(next)
	var faults []string
	usable := 0
	for _, u := range next.uses {
		if u.problem == "" {
			usable++
			continue
		}
		faults = append(faults, fmt.Sprintf("definition %q: %s", u.Name, u.problem))
		p.log.Warn("definition of probes cannot be used", "definition", u.Name, "problem", u.problem)
	}
	p.m.definitions.WithLabelValues("true").Set(float64(usable))
	p.m.definitions.WithLabelValues("false").Set(float64(len(faults)))
	if len(faults) == 0 {
		p.warnings.faulty.Clear()
		return
	}
	const few = 5
	if len(faults) > few {
		faults = append(faults[:few], fmt.Sprintf("and %d more", len(faults)-few))
	}
	p.warnings.faulty.Set("%s", strings.Join(faults, "; "))
}

// surroundings are what targets depend on beside the plan.
type surroundings struct {
	self    schedule.Member
	place   map[string]string // the labels of where the island stands
	members []schedule.Member
}

func (p *Prober) surroundings() surroundings {
	s := surroundings{self: p.self()}
	s.place = placeLabels(s.self, p.place(p.plan.Load().config.Place))
	if p.opts.Members != nil {
		s.members = sortMembers(p.opts.Members())
	}
	if len(s.members) == 0 {
		s.members = []schedule.Member{s.self}
	}
	return s
}

func (s surroundings) equal(o surroundings) bool {
	same := func(a, b schedule.Member) bool { return a.Name == b.Name && maps.Equal(a.Labels, b.Labels) }
	return same(s.self, o.self) && maps.Equal(s.place, o.place) && slices.EqualFunc(s.members, o.members, same)
}

// mostTargets bounds those of one island.
const mostTargets = 200_000

// rebuild makes the targets that this island should probe, and keeps those that
// are there already.
func (p *Prober) rebuild(around surroundings) {
	next := p.plan.Load()
	base := baseLabels(around.place)
	p.m.tell(around.place)
	wanted, leftOut := map[string]*job{}, 0
	spreads := map[string]schedule.Spread{}
	hosts := map[lookup]bool{}
	for _, u := range next.uses {
		if u.problem != "" {
			continue
		}
		members := around.members
		if !u.shared {
			members = []schedule.Member{around.self}
		}
		spread := schedule.NewSpread(u.From, members)
		spreads[u.Name] = spread
		for _, j := range p.jobs(u, base, hosts) {
			switch key := j.key(); {
			case wanted[key] != nil || !spread.Has(around.self.Name, key):
			case len(wanted) == mostTargets:
				leftOut++
			default:
				wanted[key] = j
			}
		}
	}
	p.names.want(hosts)
	p.convene(next, around)
	p.reconcile(around.self.Name, wanted, spreads, leftOut)
}

func (p *Prober) reconcile(vantage string, wanted map[string]*job, spreads map[string]schedule.Spread, leftOut int) {
	entries := make([]schedule.Entry, 0, len(wanted))
	p.mu.Lock()
	targets := make(map[string]*target, len(wanted))
	for key, j := range wanted {
		t := p.targets[key]
		if t == nil {
			t = &target{prober: p, series: p.emitter.Target(j.labels)}
		}
		t.job.Store(j)
		targets[key] = t
		entries = append(entries, schedule.Entry{Key: vantage + "\x00" + key, Interval: time.Duration(j.use.Interval), Task: t})
	}
	p.targets, p.spreads, p.leftOut = targets, spreads, leftOut
	p.mu.Unlock()
	p.scheduler.Set(entries)
}

// look keeps the warnings up to date.
func (p *Prober) look() {
	p.mu.RLock()
	over, n := p.leftOut, len(p.targets)
	p.mu.RUnlock()
	if over > 0 {
		p.warnings.targets.Set("%d targets are probed, %d are left out", n, over)
	} else {
		p.warnings.targets.Clear()
	}
	if skipped := p.scheduler.Busy(); skipped > 0 {
		p.warnings.busy.Set("%d probes were skipped in %s, with probe.concurrency %d", skipped, busyWindow, p.plan.Load().config.Concurrency)
	} else {
		p.warnings.busy.Clear()
	}
	p.lookAtVotes()
	p.keeper.relax()
}

// lookAtVotes tells of judges that refuse this island's votes, once in the log.
func (p *Prober) lookAtVotes() {
	refused := p.council.Refused()
	for _, words := range refused {
		if !slices.Contains(p.refused, words) {
			p.log.Warn("votes are refused", "why", words)
		}
	}
	if p.refused = refused; len(refused) == 0 {
		p.warnings.votes.Clear()
		return
	}
	const few = 5
	if n := len(refused); n > few {
		refused = append(refused[:few:few], fmt.Sprintf("and %d more", n-few))
	}
	p.warnings.votes.Set("%s", strings.Join(refused, "; "))
}

// busyWindow is for how long skipped probes are worth a warning.
const busyWindow = schedule.BusyWindow
