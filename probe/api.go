package probe

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Where the room answers.
const (
	RequestPath     = "/probe"
	DefinitionsPath = "/api/v1/probes/definitions"
	TargetsPath     = "/api/v1/probes/targets"
)

// Handler answers Patterns.
func (p *Prober) Handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range p.routes() {
		mux.HandleFunc(pattern, h)
	}
	return mux
}

// Patterns are those of http.ServeMux that Handler answers.
func Patterns() []string {
	var p *Prober // the handlers are named, not called
	return slices.Sorted(maps.Keys(p.routes()))
}

func (p *Prober) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET " + RequestPath:                                  p.serveProbe,
		"GET " + DefinitionsPath:                              p.serveDefinitions,
		"GET " + TargetsPath:                                  p.serveTargets,
		"GET " + VerdictsPath:                                 p.serveVerdicts,
		"GET " + MatrixPath:                                   p.serveMatrix,
		"GET " + VantagesPath:                                 p.serveVantages,
		"GET " + EvidencePath:                                 p.serveEvidence,
		"GET " + EvidencePath + "/{failure}":                  p.serveFailure,
		"GET " + EvidencePath + "/{failure}/{vantage}":        p.serveArchive,
		"GET " + EvidencePath + "/{failure}/{vantage}/{file}": p.serveFile,
		"GET " + RunPath:                                      p.serveRun,
		"POST " + RunPath:                                     p.serveRun,
	}
}

// envelope is as in the answers of Prometheus.
type envelope struct {
	Status string `json:"status"`
	Data   any    `json:"data,omitempty"`
	Error  string `json:"error,omitempty"`
}

func reply(w http.ResponseWriter, status int, a envelope) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(a) // the client went away
}

// DefinitionStatus is a definition as this island sees it.
type DefinitionStatus struct {
	Name string `json:"name"`
	// Shared tells that it is a document of the network.
	Shared bool `json:"shared"`
	// Module is its name, "" where it stands in the definition.
	Module   string  `json:"module,omitempty"`
	Prober   string  `json:"prober,omitempty"`
	Interval float64 `json:"intervalSeconds"`
	Timeout  float64 `json:"timeoutSeconds"`
	// Active tells that targets are probed at this time of day.
	Active bool              `json:"active"`
	Owner  string            `json:"owner,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	// Vantages is how many islands it selects; Targets is how many this one probes, Up
	// how many of them were up.
	Vantages int `json:"vantages"`
	Targets  int `json:"targets"`
	Up       int `json:"up"`
	// Problem is why it cannot be used here.
	Problem string `json:"problem,omitempty"`
}

// Definitions lists all that this island knows, by name.
func (p *Prober) Definitions() []DefinitionStatus {
	now := time.Now()
	p.mu.RLock()
	defer p.mu.RUnlock()
	targets, up := map[string]int{}, map[string]int{}
	for _, t := range p.targets {
		name := t.job.Load().use.Name
		targets[name]++
		if l := t.last.Load(); l != nil && l.up {
			up[name]++
		}
	}
	out := []DefinitionStatus{}
	for _, u := range p.plan.Load().uses {
		s := DefinitionStatus{
			Name: u.Name, Shared: u.shared, Module: u.Module.Name, Interval: time.Duration(u.Interval).Seconds(), Timeout: u.within.Seconds(),
			Active: u.Active(now), Owner: u.Owner, Labels: u.Labels, Problem: u.problem,
		}
		if u.problem == "" {
			s.Prober, s.Vantages, s.Targets, s.Up = u.module.Prober, p.spreads[u.Name].Members(), targets[u.Name], up[u.Name]
		}
		out = append(out, s)
	}
	slices.SortStableFunc(out, func(a, b DefinitionStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (p *Prober) serveDefinitions(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, envelope{Status: "success", Data: p.Definitions()})
}

// TargetStatus is the last result of one target. Times are RFC 3339 and seconds.
type TargetStatus struct {
	Definition string            `json:"definition"`
	Target     string            `json:"target"`
	Address    string            `json:"address,omitempty"`
	Labels     map[string]string `json:"labels"`
	// State is up, down, or pending where there is no result yet.
	State string `json:"state"`
	// Reason and Words say why it is down.
	Reason string             `json:"reason,omitempty"`
	Phase  string             `json:"phase,omitempty"`
	Words  string             `json:"words,omitempty"`
	At     *time.Time         `json:"at,omitempty"`
	Took   float64            `json:"tookSeconds,omitempty"`
	Phases map[string]float64 `json:"phases,omitempty"`
	// Answered is who was asked at last.
	Answered string `json:"answered,omitempty"`
}

// Targets lists what this island probes, by definition and target; definition and
// state select, "" for all.
func (p *Prober) Targets(definition, state string) []TargetStatus {
	p.mu.RLock()
	out := []TargetStatus{}
	for _, t := range p.targets {
		j := t.job.Load()
		if definition != "" && definition != j.use.Name {
			continue
		}
		if s := j.status(t.last.Load()); state == "" || state == s.State {
			out = append(out, s)
		}
	}
	p.mu.RUnlock()
	slices.SortFunc(out, func(a, b TargetStatus) int {
		return cmp.Or(cmp.Compare(a.Definition, b.Definition), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Address, b.Address))
	})
	return out
}

const (
	stateUp      = "up"
	stateDown    = "down"
	statePending = "pending"
)

func (j *job) status(l *last) TargetStatus {
	s := TargetStatus{Definition: j.use.Name, Target: j.instance, Labels: j.labels.Map(), State: statePending}
	if j.address.IsValid() {
		s.Address = j.address.String()
	}
	if l == nil {
		return s
	}
	s.State = stateDown
	if l.up {
		s.State = stateUp
	}
	if s.Reason = string(l.reason.Code); s.Reason != "" {
		s.Phase, s.Words = l.reason.Phase.String(), l.reason.Words
	}
	s.At, s.Took, s.Phases = &l.at, l.took.Seconds(), phaseSeconds(l.phases[:])
	if l.address.IsValid() {
		s.Answered = l.address.String()
	}
	return s
}

// serveTargets answers ?definition=NAME&state=up|down|pending&limit=N, all optional.
func (p *Prober) serveTargets(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit := 0
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			reply(w, http.StatusBadRequest, envelope{Status: "error", Error: "limit=" + strconv.Quote(text) + ": must be a number, 1 or more"})
			return
		}
		limit = n
	}
	switch state := q.Get("state"); state {
	case "", stateUp, stateDown, statePending:
	default:
		reply(w, http.StatusBadRequest, envelope{Status: "error", Error: "state=" + strconv.Quote(state) + ": must be up, down or pending"})
		return
	}
	targets := p.Targets(q.Get("definition"), q.Get("state"))
	if limit > 0 {
		targets = targets[:min(limit, len(targets))]
	}
	reply(w, http.StatusOK, envelope{Status: "success", Data: targets})
}
