package island

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/scrape"

	"github.com/atoll-mesh/atoll/asset"
)

// listing tells the inventory what the rooms know. The inventory asks it from one
// goroutine.
type listing struct {
	island *Island
	rooms  *rooms

	// held are the documents of a membership as of root.
	held []asset.Item
	root []byte
	of   *membership
}

// targets are all that is scraped, with what discovery said of them.
func (l *listing) targets(ctx context.Context, yield func(*asset.Item)) error {
	b, found := labels.NewBuilder(labels.EmptyLabels()), labels.NewBuilder(labels.EmptyLabels())
	for _, targets := range l.rooms.collect.ScrapeManager().TargetsActive() {
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, t := range targets {
			it := asset.Item{Kind: asset.KindTarget, State: string(t.Health()), Labels: t.Labels(b), More: discovered(t, found)}
			address := t.GetValue(model.AddressLabel)
			it.Name = cmp.Or(it.Labels.Get(model.InstanceLabel), address)
			it.Key = it.Labels.String() + address
			it.Summary = t.GetValue(model.SchemeLabel) + "://" + address + t.GetValue(model.MetricsPathLabel)
			if err := t.LastError(); err != nil {
				it.Summary = err.Error()
			}
			yield(&it)
		}
	}
	return nil
}

// discovered are the labels from before relabelling, but for how to scrape.
func discovered(t *scrape.Target, b *labels.Builder) labels.Labels {
	b.Reset(labels.EmptyLabels())
	t.DiscoveredLabels(b)
	return b.Del(model.SchemeLabel, model.MetricsPathLabel, model.ScrapeIntervalLabel, model.ScrapeTimeoutLabel, model.JobLabel).Labels()
}

// hosts are the machines of which node_exporter's metrics are here.
func (l *listing) hosts(ctx context.Context, yield func(*asset.Item)) error {
	vec, err := l.island.vector(ctx, l.rooms, "node_uname_info")
	if err != nil || len(vec) == 0 {
		return err
	}
	systems, err := l.island.vector(ctx, l.rooms, "node_os_info")
	if err != nil {
		return err
	}
	pretty := map[string]string{}
	for _, s := range systems {
		pretty[place(s.Metric)] = s.Metric.Get("pretty_name")
	}
	more := l.discoveredAt(func(at string) bool { _, ok := pretty[at]; return ok })
	for _, s := range vec {
		at := place(s.Metric)
		it := asset.Item{Kind: asset.KindHost, Ref: s.Metric.Get(model.InstanceLabel), Labels: s.Metric.DropReserved(reserved), More: more[at], State: "up"}
		it.Name = cmp.Or(s.Metric.Get("nodename"), it.Ref)
		it.Key = it.Name + " " + at
		it.Summary = strings.TrimSpace(cmp.Or(pretty[at], s.Metric.Get("sysname")) + " " + s.Metric.Get("machine"))
		yield(&it)
	}
	return nil
}

func reserved(name string) bool { return strings.HasPrefix(name, model.ReservedLabelPrefix) }

// place is what series of one machine have in common.
func place(ls labels.Labels) string {
	return ls.Get(model.JobLabel) + " " + ls.Get(model.InstanceLabel)
}

// discoveredAt are the discovered labels of the targets at places that are wanted.
func (l *listing) discoveredAt(wanted func(string) bool) map[string]labels.Labels {
	out := map[string]labels.Labels{}
	b, found := labels.NewBuilder(labels.EmptyLabels()), labels.NewBuilder(labels.EmptyLabels())
	for _, targets := range l.rooms.collect.ScrapeManager().TargetsActive() {
		for _, t := range targets {
			if at := place(t.Labels(b)); wanted(at) {
				out[at] = discovered(t, found)
			}
		}
	}
	return out
}

// containers are those of which cAdvisor's metrics are here, ours or its own.
func (l *listing) containers(ctx context.Context, yield func(*asset.Item)) error {
	vec, err := l.island.vector(ctx, l.rooms, `container_start_time_seconds{id!="/"}`)
	if err != nil {
		return err
	}
	for _, s := range vec {
		ls := s.Metric.DropReserved(reserved)
		it := asset.Item{Kind: asset.KindContainer, Key: ls.String(), Labels: ls}
		it.Name = cmp.Or(strings.Trim(ls.Get("namespace")+"/"+ls.Get("pod")+"/"+ls.Get("container"), "/"), ls.Get("name"), ls.Get("id"))
		it.Summary = strings.TrimSpace(cmp.Or(ls.Get("image"), ls.Get("runtime")) + " on " + ls.Get(model.InstanceLabel))
		yield(&it)
	}
	return nil
}

// mostDescribed bounds the targets of a job that are asked what their metrics mean:
// they are much the same.
const mostDescribed = 20

// metrics are the names of what is stored of late, with what their targets say of them.
func (l *listing) metrics(ctx context.Context, yield func(*asset.Item)) error {
	const back = 2 * time.Hour
	now := time.Now()
	q, err := l.rooms.store.Querier(now.Add(-back).UnixMilli(), now.UnixMilli())
	if err != nil {
		return fmt.Errorf("list metrics: %w", err)
	}
	defer q.Close() // it has only read
	names, _, err := q.LabelValues(ctx, model.MetricNameLabel, nil)
	if err != nil {
		return fmt.Errorf("list metrics: %w", err)
	}
	meaning := map[string]scrape.MetricMetadata{}
	for _, targets := range l.rooms.collect.ScrapeManager().TargetsActive() {
		for _, t := range targets[:min(len(targets), mostDescribed)] {
			for _, m := range t.ListMetadata() {
				if _, known := meaning[m.MetricFamily]; !known {
					meaning[m.MetricFamily] = m
				}
			}
		}
	}
	for _, name := range names {
		m := meaningOf(meaning, name)
		it := asset.Item{Kind: asset.KindMetric, Common: true, Name: name, Summary: m.Help}
		if m.Type != "" && m.Type != model.MetricTypeUnknown {
			it.Labels = labels.FromStrings("type", string(m.Type))
		}
		yield(&it)
	}
	return nil
}

// meaningOf finds a series' family: histograms and summaries have several series.
func meaningOf(all map[string]scrape.MetricMetadata, name string) scrape.MetricMetadata {
	if m, ok := all[name]; ok {
		return m
	}
	for _, suffix := range []string{"_bucket", "_count", "_sum", "_total", "_created"} {
		if family, ok := strings.CutSuffix(name, suffix); ok {
			if m, ok := all[family]; ok {
				return m
			}
		}
	}
	return scrape.MetricMetadata{}
}

// rules are those of files, the divided ones, and the network's.
func (l *listing) rules(_ context.Context, yield func(*asset.Item)) error {
	from := evaluated{l.rooms.alert, l.rooms.dimension, l.island.commonGroups}
	for _, g := range from.RuleGroups() {
		for _, r := range g.Rules() {
			b := labels.NewBuilder(r.Labels())
			b.Set("group", g.Name())
			it := asset.Item{Kind: asset.KindRule, Name: r.Name(), Summary: r.Query().String()}
			b.Set("type", "recording")
			if a, ok := r.(*rules.AlertingRule); ok {
				b.Set("type", "alerting")
				it.State = a.State().String()
			}
			it.Labels = b.Labels()
			it.Key = g.File() + "\x00" + g.Name() + "\x00" + it.Name + "\x00" + it.Summary + it.Labels.String()
			yield(&it)
		}
	}
	return nil
}

// alerts are those that fire, whoever raised them, and those that are about to.
func (l *listing) alerts(_ context.Context, yield func(*asset.Item)) error {
	for _, a := range l.rooms.alert.Standing() {
		it := asset.Item{Kind: asset.KindAlert, Key: a.Fingerprint.String(), Ref: a.Fingerprint.String(), Name: string(a.Labels[model.AlertNameLabel]), State: "firing"}
		if a.Silenced {
			it.State = "silenced"
		}
		b := labels.NewScratchBuilder(len(a.Labels))
		for name, value := range a.Labels {
			b.Add(string(name), string(value))
		}
		b.Sort()
		it.Labels = b.Labels()
		it.Summary = cmp.Or(string(a.Annotations["summary"]), string(a.Annotations["description"]), string(a.Annotations["message"]))
		yield(&it)
	}
	for _, r := range l.rooms.alert.AlertingRules() {
		for _, a := range r.ActiveAlerts() {
			if a.State != rules.StatePending {
				continue
			}
			print := fmt.Sprintf("%016x", a.Labels.Hash())
			yield(&asset.Item{
				Kind: asset.KindAlert, Key: "pending " + print, Name: a.Labels.Get(model.AlertNameLabel), State: "pending", Ref: print,
				Labels: a.Labels, Summary: cmp.Or(a.Annotations.Get("summary"), a.Annotations.Get("description")),
			})
		}
	}
	return nil
}

// probes are the definitions and what is probed from here.
func (l *listing) probes(_ context.Context, yield func(*asset.Item)) error {
	for _, d := range l.rooms.probe.Definitions() {
		b := labels.NewBuilder(labels.FromMap(d.Labels))
		b.Set("module", d.Module).Set("prober", d.Prober).Set("owner", d.Owner)
		it := asset.Item{Kind: asset.KindProbe, Common: d.Shared, Name: d.Name, Labels: b.Labels(), State: "active"}
		it.Summary = fmt.Sprintf("%d targets every %s from %d vantages", d.Targets, model.Duration(d.Interval*float64(time.Second)), d.Vantages)
		switch {
		case d.Problem != "":
			it.State, it.Summary = "faulty", d.Problem
		case !d.Active:
			it.State = "resting"
		}
		yield(&it)
	}
	for _, t := range l.rooms.probe.Targets("", "") {
		b := labels.NewBuilder(labels.FromMap(t.Labels))
		b.Set("definition", t.Definition).Set("address", t.Address)
		it := asset.Item{Kind: asset.KindProbeTarget, Name: t.Target, Ref: t.Definition, State: t.State, Labels: b.Labels(), Summary: t.Words}
		it.Key = it.Name + "\x00" + it.Labels.String()
		it.Summary = cmp.Or(it.Summary, "probed by "+t.Definition)
		yield(&it)
	}
	return nil
}
