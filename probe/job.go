package probe

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/atoll-mesh/atoll/probe/council"
	"github.com/atoll-mesh/atoll/probe/definition"
)

// job is how one target is probed. It is not changed once made.
type job struct {
	use *use
	// target is what the prober is given, host what it asks for where that is an address.
	target, host string
	// instance is the target as people know it; address is set where each address of
	// its name is a target of its own.
	instance string
	address  netip.Addr
	name     string        // whose address it is
	own      labels.Labels // of the target itself
	labels   labels.Labels // of its series
	subject  council.Target
}

// key tells a target from all others of this island.
func (j *job) key() string {
	return strings.Join([]string{j.use.Name, j.instance, j.target, j.host, j.own.String()}, "\x00")
}

// baseLabels are those that say who probes from where.
func baseLabels(place map[string]string) labels.Labels {
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, name := range []string{"vantage", "region", "geohash", "isp"} {
		b.Set(name, place[name])
	}
	return b.Labels()
}

// jobs lists the targets of a definition, and notes in hosts the names whose
// addresses are to be followed.
func (p *Prober) jobs(u *use, base labels.Labels, hosts map[lookup]bool) (all []*job) {
	add := func(text, instance, server string, own labels.Labels) {
		j := &job{use: u, target: text, host: server, instance: instance, own: own}
		if u.Addresses != definition.AddressesAll {
			all = append(all, j)
			return
		}
		all = append(all, p.everyAddress(j, hosts)...)
	}
	for _, t := range u.Targets {
		own := labels.NewBuilder(labels.FromMap(t.Labels))
		own.Set(definition.ServerLabel, t.ServerName)
		add(t.Text(), t.Text(), t.ServerName, own.Labels())
	}
	p.mu.RLock()
	found := p.found
	p.mu.RUnlock()
	for block, d := range u.Discover {
		for _, group := range found[discoverySet(u.Name, block)] {
			for _, ls := range group.Targets {
				if text, instance, own, ok := discoveredTarget(u.Name, d.RelabelConfigs, ls, group.Labels); ok {
					add(text, instance, "", own)
				}
			}
		}
	}
	for _, j := range all {
		j.labels, j.subject = j.seriesLabels(base), council.NewTarget(u.Name, j.instance, j.address, j.own)
	}
	return all
}

// everyAddress makes a job for each address of a job's name; one for the name
// itself as long as it has none.
func (p *Prober) everyAddress(j *job, hosts map[lookup]bool) (all []*job) {
	host := hostOf(j.target)
	if _, err := netip.ParseAddr(host); err == nil || host == "" {
		return []*job{j}
	}
	l := lookup{host: host, network: family(j.use.module)}
	hosts[l] = true
	for _, a := range p.names.addresses(l) {
		one := *j
		one.target, one.address, one.name = withAddress(j.target, a), a, host
		if one.host == "" {
			one.host = host
		}
		all = append(all, &one)
	}
	if len(all) == 0 {
		return []*job{j}
	}
	return all
}

func (j *job) seriesLabels(base labels.Labels) labels.Labels {
	b := labels.NewBuilder(base)
	for name, value := range j.use.Labels {
		b.Set(name, value)
	}
	j.own.Range(func(l labels.Label) { b.Set(l.Name, l.Value) })
	b.Set("job", j.use.Name)
	b.Set("instance", j.instance)
	if j.address.IsValid() {
		b.Set("address", j.address.String())
	}
	return b.Labels()
}

// discoveredTarget relabels what was discovered, as a scrape configuration for
// blackbox_exporter does: the target is __param_target, or else __address__.
func discoveredTarget(job string, rules []*relabel.Config, own, group model.LabelSet) (text, instance string, ls labels.Labels, ok bool) {
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, set := range []model.LabelSet{group, own} {
		for name, value := range set {
			b.Set(string(name), string(value))
		}
	}
	if b.Get(model.JobLabel) == "" {
		b.Set(model.JobLabel, job)
	}
	if !relabel.ProcessBuilder(b, rules...) {
		return "", "", labels.EmptyLabels(), false
	}
	if text = b.Get(model.ParamLabelPrefix + "target"); text == "" {
		text = b.Get(model.AddressLabel)
	}
	if instance = b.Get(model.InstanceLabel); instance == "" {
		instance = text
	}
	b.Range(func(l labels.Label) {
		if strings.HasPrefix(l.Name, "__") || slices.Contains(definition.ReservedLabels(), l.Name) {
			b.Del(l.Name)
		}
	})
	return text, instance, b.Labels(), text != ""
}

// hostOf is the host name, or address, of a target of any protocol.
func hostOf(target string) string {
	if strings.Contains(target, "://") {
		u, err := url.Parse(target)
		if err != nil {
			return ""
		}
		return u.Hostname()
	}
	target, _, _ = strings.Cut(target, "/")
	if host, _, err := net.SplitHostPort(target); err == nil {
		return host
	}
	return strings.Trim(target, "[]")
}

// withAddress puts an address in the place of a target's host.
func withAddress(target string, a netip.Addr) string {
	bracketed := a.String()
	if a.Is6() {
		bracketed = "[" + bracketed + "]"
	}
	if strings.Contains(target, "://") {
		u, err := url.Parse(target)
		if err != nil {
			return target
		}
		port := u.Port()
		if u.Host = bracketed; port != "" {
			u.Host += ":" + port
		}
		return u.String()
	}
	authority, path, slash := strings.Cut(target, "/")
	if slash {
		path = "/" + path
	}
	if _, port, err := net.SplitHostPort(authority); err == nil {
		return bracketed + ":" + port + path
	}
	if path != "" {
		return bracketed + path
	}
	return a.String()
}

// family is what addresses a module would use: "ip", or one of ip4 and ip6.
func family(m *definition.Module) string {
	preferred, fallback := m.Families()
	switch {
	case fallback:
		return "ip"
	case preferred == "ip4":
		return preferred
	}
	return "ip6" // blackbox_exporter's preference
}
