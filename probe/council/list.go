package council

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/probe/compare"
	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/verdict"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// Filter selects verdicts; what is empty selects all.
type Filter struct {
	Definition, Instance, State string
	// Vantage leaves out the votes of all others, and targets without one of it.
	Vantage string
	// After leaves out all targets up to this one, in the order of the list; nil for none.
	After *Target
	// Limit is how many verdicts there are at most, 0 for MostListed.
	Limit int
}

const (
	// MostListed bounds the verdicts of one answer.
	MostListed = 5000
	// listTimeout bounds how long another island is waited for.
	listTimeout = 5 * time.Second
	// listBytes bounds what one island answers.
	listBytes = 3 << 20
)

// Verdict is what is known of one target.
type Verdict struct {
	Target
	verdict.Verdict
	Owner, Severity string
	// Differences are those of the answers that are compared.
	Differences []compare.Difference
	// Judge is the island that says so.
	Judge string
}

// matches also leaves out what another island says.
func (f Filter) matches(d *docket) bool {
	return d.lead && (f.Definition == "" || f.Definition == d.target.Definition) && (f.Instance == "" || f.Instance == d.target.Instance) &&
		(f.State == "" || f.State == d.last.State.String()) && (f.Vantage == "" || d.judge.Has(f.Vantage)) &&
		(f.After == nil || d.target.compare(f.After) > 0)
}

func byTarget(a, b Verdict) int { return a.compare(&b.Target) }

// Here lists the verdicts that this island judges, in order of targets, and how many
// were left off.
func (c *Council) Here(f Filter) (all []Verdict, leftOff int) {
	c.mu.Lock()
	for _, d := range c.dockets {
		if f.matches(d) {
			all = append(all, c.verdictOn(d))
			all[len(all)-1].only(f.Vantage)
		}
	}
	c.mu.Unlock()
	slices.SortFunc(all, byTarget)
	return f.cut(all)
}

func (f Filter) cut(all []Verdict) ([]Verdict, int) {
	limit := f.Limit
	if limit <= 0 || limit > MostListed {
		limit = MostListed
	}
	n := min(len(all), limit)
	return all[:n], len(all) - n
}

func (c *Council) verdictOn(d *docket) Verdict {
	v := Verdict{Target: d.target, Verdict: d.last, Judge: c.self.Name, Differences: d.differences}
	if def := c.defs[d.target.Definition]; def != nil {
		v.Owner, v.Severity = def.Owner, def.Severity
	}
	return v
}

// only leaves out the votes of all vantages but one.
func (v *Verdict) only(vantage string) {
	if vantage == "" {
		return
	}
	for _, list := range lists(&v.Verdict) {
		var kept []verdict.Vote
		for _, vote := range *list {
			if vote.Vantage.Name == vantage {
				kept = append(kept, vote)
			}
		}
		*list = kept
	}
}

// On is the verdict on a target that is judged here, also as the second of two: of those
// that go by that name the one that fits the labels best, and of these the worst.
func (c *Council) On(definition, instance, address string, ls labels.Labels) (v Verdict, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	best := 0
	for t, d := range c.dockets {
		if t.Definition != definition || t.Instance != instance || t.Address != address {
			continue
		}
		if score, fits := t.Fit(ls); fits && (!ok || score > best || score == best && d.last.State > v.State) {
			v, best, ok = c.verdictOn(d), score, true
		}
	}
	return v, ok
}

// Everywhere lists the verdicts of all judges in reach, in order of targets. missing
// are those that did not answer, by why.
func (c *Council) Everywhere(ctx context.Context, f Filter) (all []Verdict, leftOff int, missing map[string]string) {
	all, leftOff = c.Here(f)
	missing = map[string]string{}
	// ends are where lists were cut off: nothing beyond them is whole.
	var ends []Target
	if leftOff > 0 && len(all) > 0 {
		ends = append(ends, all[len(all)-1].Target)
	}
	if c.o.Mesh == nil {
		return all, leftOff, missing
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	c.mu.Lock()
	self := c.self.Name
	c.mu.Unlock()
	var mu sync.Mutex
	var asked sync.WaitGroup
	for _, judge := range c.o.Mesh.Judges() {
		if judge == self {
			continue
		}
		asked.Go(func() {
			answer, err := c.o.Mesh.List(ctx, judge, &probepb.ListRequest{
				Definition: f.Definition, Instance: f.Instance, State: f.State, Limit: uint32(max(f.Limit, 0)), Vantage: f.Vantage, After: f.after(),
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				missing[judge] = err.Error()
				return
			}
			some := f.read(judge, answer)
			if answer.GetLeftOff() > 0 && len(some) > 0 {
				ends = append(ends, some[len(some)-1].Target)
			}
			all, leftOff = append(all, some...), leftOff+int(answer.GetLeftOff())
		})
	}
	asked.Wait()
	// While judges change two may answer for a target: the one with more votes.
	slices.SortStableFunc(all, func(a, b Verdict) int {
		return cmp.Or(byTarget(a, b), cmp.Compare(b.votes(), a.votes()), cmp.Compare(a.Judge, b.Judge))
	})
	all = slices.CompactFunc(all, func(a, b Verdict) bool { return byTarget(a, b) == 0 })
	whole := slices.IndexFunc(all, func(v Verdict) bool {
		return slices.ContainsFunc(ends, func(end Target) bool { return v.compare(&end) > 0 })
	})
	if whole >= 0 {
		all, leftOff = all[:whole], leftOff+len(all)-whole
	}
	all, more := f.cut(all)
	return all, leftOff + more, missing
}

func (f Filter) after() *probepb.Target {
	if f.After == nil {
		return nil
	}
	return f.After.message()
}

func (v *Verdict) votes() int { return len(v.Failing) + len(v.Slow) + len(v.Fine) }

// lists are the votes of a verdict by how they were counted.
func lists(v *verdict.Verdict) [5]*[]verdict.Vote {
	return [...]*[]verdict.Vote{&v.Failing, &v.Slow, &v.Fine, &v.Blind, &v.Silent}
}

// Answer answers another island.
func (c *Council) Answer(r *probepb.ListRequest) *probepb.ListResponse {
	f := Filter{
		Definition: r.GetDefinition(), Instance: r.GetInstance(), State: r.GetState(), Limit: int(min(r.GetLimit(), MostListed)), Vantage: r.GetVantage(),
	}
	if r.GetAfter() != nil {
		after := targetOf(r.GetAfter())
		f.After = &after
	}
	all, left := c.Here(f)
	out := &probepb.ListResponse{}
	size := 0
	for i := range all {
		m := all[i].message()
		if size += proto.Size(m); size > listBytes {
			left += len(all) - i
			break
		}
		out.Verdicts = append(out.Verdicts, m)
	}
	out.LeftOff = uint32(left)
	return out
}

func (v *Verdict) message() *probepb.Verdict {
	m := &probepb.Verdict{
		Target: v.Target.message(), State: uint32(v.State), SinceMs: v.Since.UnixMilli(), Words: v.Words, Page: v.Page,
		PageQuorum: uint32(v.PageQuorum), Flapping: v.Flapping, Owner: v.Owner, Severity: v.Severity,
	}
	for _, one := range v.Differences {
		m.Differences = append(m.Differences, differenceMessage(one))
	}
	for i, votes := range lists(&v.Verdict) {
		for _, b := range *votes {
			one := &probepb.Ballot{
				Vantage: b.Vantage.Name, Region: b.Vantage.Region, Country: b.Vantage.Country, Isp: b.Vantage.ISP, Counted: uint32(i + 1),
				SinceMs: b.Since.UnixMilli(), AtMs: b.At.UnixMilli(), Code: b.Code, Words: b.Words, Bad: uint32(b.Bad), Of: uint32(b.Of),
				Uplink: b.Uplink, TookUs: micro(b.Took), PhasesUs: phasesMessage(b.Phases), State: uint32(b.State), Failure: b.Failure,
			}
			if !b.Measured.IsZero() {
				one.MeasuredMs = b.Measured.UnixMilli()
			}
			m.Ballots = append(m.Ballots, one)
		}
	}
	return m
}

// read takes what another island answered, which may be anything.
func (f Filter) read(judge string, r *probepb.ListResponse) (all []Verdict) {
	for _, m := range r.GetVerdicts()[:min(len(r.GetVerdicts()), MostListed)] {
		t := targetOf(m.GetTarget())
		if !t.plain(m.GetTarget().GetLabels()) || f.After != nil && t.compare(f.After) <= 0 {
			continue
		}
		t.Definition = clip(t.Definition, longestPlace)
		v := Verdict{Target: t, Judge: judge, Owner: clip(m.GetOwner(), longestWords), Severity: clip(m.GetSeverity(), longestWords)}
		v.State, v.Since, v.Words = stateOf(m.GetState()), time.UnixMilli(m.GetSinceMs()), clip(m.GetWords(), longestSentence)
		v.Page, v.PageQuorum, v.Flapping = m.GetPage(), int(m.GetPageQuorum()), m.GetFlapping()
		for _, b := range m.GetBallots()[:min(len(m.GetBallots()), mostVoters)] {
			if i := int(b.GetCounted()) - 1; i >= 0 && i < len(lists(&v.Verdict)) {
				to := lists(&v.Verdict)[i]
				*to = append(*to, voteOf(b))
			}
		}
		for _, one := range m.GetDifferences()[:min(len(m.GetDifferences()), mostDifferences)] {
			v.Differences = append(v.Differences, differenceOf(one))
		}
		v.only(f.Vantage)
		all = append(all, v)
	}
	return all
}

// longestSentence bounds the words of a verdict, in bytes.
const longestSentence = 4096

func voteOf(b *probepb.Ballot) verdict.Vote {
	v := verdict.Vote{
		Vantage: verdict.Vantage{
			Name: clip(b.GetVantage(), longestPlace), Region: clip(b.GetRegion(), longestPlace),
			Country: clip(b.GetCountry(), longestPlace), ISP: clip(b.GetIsp(), longestPlace),
		},
		Since: time.UnixMilli(b.GetSinceMs()), At: time.UnixMilli(b.GetAtMs()), Code: clip(b.GetCode(), longestCode), Words: short(b.GetWords()),
		Bad: int(b.GetBad()), Of: int(b.GetOf()), Uplink: short(b.GetUplink()), Took: short64(b.GetTookUs()), State: stateOf(b.GetState()),
	}
	if ms := b.GetMeasuredMs(); ms > 0 {
		v.Measured = time.UnixMilli(ms)
	}
	if plainFailure(b.GetFailure()) {
		v.Failure = b.GetFailure()
	}
	for _, us := range b.GetPhasesUs()[:min(len(b.GetPhasesUs()), int(protocol.Phases))] {
		v.Phases = append(v.Phases, short64(us))
	}
	return v
}
