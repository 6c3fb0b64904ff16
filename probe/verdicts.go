package probe

import (
	"slices"

	"github.com/atoll-mesh/atoll/probe/council"
	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/schedule"
	"github.com/atoll-mesh/atoll/probe/verdict"
)

// observed takes the result of a probe of a definition.
func (p *Prober) observed(j *job, o Observation) {
	if p.council.Observe(j.subject, outcomeOf(j, o.Result)) && p.turned != nil {
		p.turned(o)
	}
}

// certificateExpiry is the sample of when the first certificate of a chain expires.
const certificateExpiry = "probe_ssl_earliest_cert_expiry"

func outcomeOf(j *job, r *protocol.Result) council.Outcome {
	o := council.Outcome{Outcome: outcome(r), Host: j.site(), Took: r.Took, Phases: r.Phases[:]}
	for i := range r.Samples {
		if r.Samples[i].Name == certificateExpiry {
			o.Expires = int64(r.Samples[i].Value)
		}
	}
	o.Answer = j.use.answer(r)
	return o
}

// outcome is what a result says of the target: one that answered too late is degraded.
func outcome(r *protocol.Result) verdict.Outcome {
	o := verdict.Outcome{At: r.Start, State: verdict.Up}
	if r.Up {
		return o
	}
	if o.State = verdict.Down; r.Reason.Code == protocol.Slow {
		o.State = verdict.Degraded
	}
	o.Code, o.Words = string(r.Reason.Code), r.Reason.Words
	return o
}

// site is the host whose trouble the target's may be.
func (j *job) site() string {
	if j.name != "" {
		return j.name
	}
	return hostOf(j.target)
}

// Council is where votes of other islands go.
func (p *Prober) Council() *council.Council { return p.council }

// convene tells the council what it judges, and who may vote.
func (p *Prober) convene(next *plan, around surroundings) {
	p.vantage.Store(vantageOf(around.place))
	defs := map[string]council.Definition{}
	for _, u := range next.uses {
		if u.clash {
			continue
		}
		d := council.Definition{Definition: u.Definition, Shared: u.shared}
		if u.shared {
			d.Expected = schedule.NewSpread(u.From, around.members).Each()
		}
		defs[u.Name] = d
	}
	names := make([]string, len(around.members))
	for i, m := range around.members {
		names[i] = m.Name
	}
	if !slices.Contains(names, around.self.Name) {
		names = append(names, around.self.Name)
	}
	p.council.Retain(names)
	p.council.Define(defs)
}

func vantageOf(place map[string]string) *verdict.Vantage {
	return &verdict.Vantage{Name: place["vantage"], Region: place["region"], Country: place["country"], ISP: place["isp"]}
}
