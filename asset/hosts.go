package asset

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// HostsPath is where hosts are listed.
const HostsPath = "/api/atoll/v1/hosts"

// Host is a machine of which node_exporter's metrics are here, by the newest samples.
// What is not known is absent.
type Host struct {
	Name     string `json:"name"`
	Instance string `json:"instance"`
	Job      string `json:"job"`
	OS       string `json:"os,omitempty"`
	Kernel   string `json:"kernel,omitempty"`
	Machine  string `json:"machine,omitempty"`

	Cores       *float64 `json:"cores,omitempty"`
	CPUUsed     *float64 `json:"cpu_used_ratio,omitempty"`
	Load1       *float64 `json:"load1,omitempty"`
	MemoryBytes *float64 `json:"memory_bytes,omitempty"`
	MemoryUsed  *float64 `json:"memory_used_ratio,omitempty"`
	// DiskUsed is of the fullest file system.
	DiskUsed      *float64          `json:"disk_used_ratio,omitempty"`
	UptimeSeconds *float64          `json:"uptime_seconds,omitempty"`
	Labels        map[string]string `json:"labels"`
	Href          string            `json:"href"`
}

// HostList is a page of hosts.
type HostList struct {
	Items      []Host `json:"items"`
	Total      int    `json:"total"`
	NextOffset int    `json:"next_offset,omitempty"`
}

const (
	// mostHosts is how many hosts one answer has at most.
	mostHosts, defaultHosts = 1000, 200
	// hostsAge is for how long what was asked of the store is given again.
	hostsAge = 10 * time.Second
	// hostsTimeout bounds the questions.
	hostsTimeout = 10 * time.Second
)

// hosts keeps what the store said of machines.
type hosts struct {
	ask func(ctx context.Context, expr string) (promql.Vector, error)

	mu    sync.Mutex
	asked time.Time
	all   []Host
}

// figures are the questions, one for each number of a host.
func figures() map[string]func(*Host) **float64 {
	return map[string]func(*Host) **float64{
		`count by (job, instance) (node_cpu_seconds_total{mode="idle"})`:             func(h *Host) **float64 { return &h.Cores },
		`1 - avg by (job, instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))`: func(h *Host) **float64 { return &h.CPUUsed },
		`node_load1`:                 func(h *Host) **float64 { return &h.Load1 },
		`node_memory_MemTotal_bytes`: func(h *Host) **float64 { return &h.MemoryBytes },
		`1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes`:                                                                       func(h *Host) **float64 { return &h.MemoryUsed },
		`max by (job, instance) (1 - node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|squashfs|overlay|iso9660"} / node_filesystem_size_bytes)`: func(h *Host) **float64 { return &h.DiskUsed },
		`time() - node_boot_time_seconds`: func(h *Host) **float64 { return &h.UptimeSeconds },
	}
}

// list asks at most once in a while, for all who want to know.
func (h *hosts) list(ctx context.Context) ([]Host, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all != nil && time.Since(h.asked) < hostsAge {
		return h.all, nil
	}
	ctx, cancel := context.WithTimeout(ctx, hostsTimeout)
	defer cancel()
	names, err := h.ask(ctx, "node_uname_info")
	if err != nil {
		return nil, err
	}
	systems, err := h.ask(ctx, "node_os_info")
	if err != nil {
		return nil, err
	}
	all := make([]Host, 0, len(names))
	at := map[[2]string]int{}
	for _, s := range names {
		host := hostOf(s.Metric)
		if _, twice := at[place(s.Metric)]; twice {
			continue // it has just got another name or kernel
		}
		at[place(s.Metric)] = len(all)
		all = append(all, host)
	}
	for _, s := range systems {
		if i, ok := at[place(s.Metric)]; ok {
			all[i].OS = cmp.Or(s.Metric.Get("pretty_name"), all[i].OS)
		}
	}
	for expr, field := range figures() {
		vec, err := h.ask(ctx, expr)
		if err != nil {
			return nil, err
		}
		for _, s := range vec {
			if i, ok := at[place(s.Metric)]; ok && !math.IsNaN(s.F) && !math.IsInf(s.F, 0) {
				*field(&all[i]) = &s.F
			}
		}
	}
	slices.SortFunc(all, func(a, b Host) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Job, b.Job))
	})
	h.asked, h.all = time.Now(), all
	return all, nil
}

// place is what all series of a machine have in common.
func place(ls labels.Labels) [2]string {
	return [2]string{ls.Get(model.JobLabel), ls.Get(model.InstanceLabel)}
}

// unameLabels say what the fields do.
var unameLabels = [...]string{model.JobLabel, model.InstanceLabel, "nodename", "sysname", "release", "version", "machine", "domainname"}

func hostOf(ls labels.Labels) Host {
	h := Host{
		Name: cmp.Or(ls.Get("nodename"), ls.Get(model.InstanceLabel)), Instance: ls.Get(model.InstanceLabel), Job: ls.Get(model.JobLabel),
		OS: ls.Get("sysname"), Kernel: ls.Get("release"), Machine: ls.Get("machine"), Labels: map[string]string{},
	}
	h.Href = href(KindHost, h.Name, h.Instance, nil)
	ls.Range(func(l labels.Label) {
		if !slices.Contains(unameLabels[:], l.Name) && !strings.HasPrefix(l.Name, model.ReservedLabelPrefix) {
			h.Labels[l.Name] = l.Value
		}
	})
	return h
}

// matches reports whether every word is somewhere in what a host is called.
func (h *Host) matches(q Query) bool {
	text := lower(strings.Join(append(slices.Collect(maps.Values(h.Labels)), h.Name, h.Instance, h.Job, h.OS, h.Kernel, h.Machine), "\n"))
	for _, w := range q.words {
		if w.field != "" && strings.Contains(lower(h.Labels[w.field]), w.value) && h.Labels[w.field] != "" {
			continue
		}
		if !strings.Contains(text, w.text) {
			return false
		}
	}
	return true
}

// serveHosts answers ?q=&limit=&offset=, by name.
func (v *Inventory) serveHosts(r *http.Request) (any, *refusal) {
	form := r.URL.Query()
	q, err := Parse(form.Get("q"))
	if err != nil {
		return nil, bad("q", "hosts: "+err.Error(), "Search for fewer or shorter words.")
	}
	limit, refused := readNumber(form.Get("limit"), "limit", defaultHosts, 1, mostHosts)
	if refused != nil {
		return nil, refused
	}
	offset, refused := readNumber(form.Get("offset"), "offset", 0, 0, v.o.MaxResources)
	if refused != nil {
		return nil, refused
	}
	all, err := v.hosts.list(r.Context())
	if err != nil {
		return nil, &refusal{status: http.StatusServiceUnavailable, Code: "unavailable", Message: fmt.Sprintf("hosts: %v", err), Remedy: "Try again in a moment; the island's status says what keeps its store busy."}
	}
	out := HostList{Items: []Host{}}
	for i := range all {
		if !all[i].matches(q) {
			continue
		}
		if out.Total >= offset && len(out.Items) < limit {
			out.Items = append(out.Items, all[i])
		}
		out.Total++
	}
	if next := offset + len(out.Items); len(out.Items) > 0 && next < out.Total {
		out.NextOffset = next
	}
	return out, nil
}
