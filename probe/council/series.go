package council

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/probe/emit"
	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/verdict"
)

// The series of verdicts.
const (
	State    = "probe_state"
	Since    = "probe_state_since_seconds"
	Vantages = "probe_vantages"
	Page     = "probe_page"
	Expires  = "probe_certificate_expires_seconds"
	Mismatch = "probe_compare_mismatch"
	// Blind is of the vantage itself, Info of a definition, for its owner and severity.
	Blind = "probe_vantage_blind"
	Info  = "probe_definition_info"
)

// writable is what is to be written now; no samples end the series.
type writable struct {
	series  *emit.Target
	labels  labels.Labels
	samples []protocol.Sample
}

// samples are those of a verdict. Vantages are counted where there are several, and
// the page is there while the target is not up.
func (d *docket) samples() []protocol.Sample {
	v := &d.last
	out := []protocol.Sample{{Name: State, Value: float64(v.State)}}
	if v.State != verdict.Up {
		page := 0.0
		if v.Page {
			page = 1
		}
		out = append(out, protocol.Sample{Name: Page, Value: page})
		if v.State != verdict.Unknown {
			const milli = 1000
			out = append(out, protocol.Sample{Name: Since, Value: float64(v.Since.UnixMilli()) / milli})
		}
	}
	if d.expires != 0 {
		out = append(out, protocol.Sample{Name: Expires, Value: float64(d.expires)})
	}
	out = append(out, d.mismatches()...)
	if d.judge.Votes() < 2 {
		return out
	}
	for i, votes := range [...][]verdict.Vote{v.Fine, v.Slow, v.Failing, v.Blind, v.Silent} {
		if len(votes) > 0 {
			out = append(out, protocol.Sample{Name: Vantages, Labels: vantageStates[i], Value: float64(len(votes))})
		}
	}
	return out
}

var vantageStates = [...][]string{{"state", "up"}, {"state", "degraded"}, {"state", "down"}, {"state", "blind"}, {"state", "silent"}}

// info is a series that is not of a target: of a definition, or of this vantage.
type info struct {
	series *emit.Target
	due    time.Time
}

// infos are those series of this island that are not of targets.
func (c *Council) infos(now time.Time) (all []writable) {
	add := func(key string, ls labels.Labels, s protocol.Sample) {
		i := c.info[key]
		if i == nil {
			i = &info{series: c.o.Emitter.Target(ls)}
			c.info[key] = i
		}
		if !now.Before(i.due) {
			i.due = now.Add(period)
			all = append(all, writable{i.series, ls, []protocol.Sample{s}})
		}
	}
	for name, d := range c.defs {
		ls := labelled("job", name, "owner", cmp.Or(d.Owner, d.Labels["owner"]), "severity", cmp.Or(d.Severity, d.Labels["severity"]))
		add("definition/"+name, ls, protocol.Sample{Name: Info, Value: 1})
	}
	if len(c.seats) > 0 {
		add("vantage", labelled("vantage", c.self.Name, "region", c.self.Region, "isp", c.self.ISP), protocol.Sample{Name: Blind, Value: c.blind})
	}
	for key, i := range c.info {
		name, of := strings.CutPrefix(key, "definition/")
		if of && c.defs[name] == nil || !of && len(c.seats) == 0 {
			c.ended = append(c.ended, i.series)
			delete(c.info, key)
		}
	}
	return all
}

// labelled makes labels of names and values in turn, without those that are empty.
func labelled(pairs ...string) labels.Labels {
	b := labels.NewBuilder(labels.EmptyLabels())
	for ; len(pairs) > 1; pairs = pairs[2:] {
		b.Set(pairs[0], pairs[1])
	}
	return b.Labels()
}

// write stores what judge found. Only Run calls it.
func (c *Council) write(ctx context.Context, now time.Time, all []writable, ended []*emit.Target) {
	ms := now.UnixMilli()
	stored := func(err error) {
		if err != nil {
			c.log.Warn("verdict is not stored", "err", err)
		}
	}
	for _, t := range ended {
		stored(t.Gone(ctx, ms))
	}
	for _, w := range all {
		if w.samples == nil {
			stored(w.series.Gone(ctx, ms))
			continue
		}
		stored(w.series.Relabel(ctx, ms-1, w.labels))
		stored(w.series.Write(ctx, ms, w.samples))
	}
}
