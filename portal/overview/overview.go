package overview

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/portal/events"
)

// Path is where the overview is served.
const Path = "/api/atoll/v1/overview"

// Overview says whether everything is well, as this island knows it. Times are
// RFC 3339.
type Overview struct {
	Island string    `json:"island"`
	At     time.Time `json:"at"`

	Islands Islands         `json:"islands"`
	Targets Targets         `json:"targets"`
	Alerts  Alerts          `json:"alerts"`
	Probes  Probes          `json:"probes"`
	Health  []health.Active `json:"health"`
	Budgets []Budget        `json:"budgets"`
	Changes Changes         `json:"changes"`
	// Needs is what waits for somebody, the worst first.
	Needs []Need `json:"needs"`
}

// Islands are the members of the network; one where there is no network.
type Islands struct {
	Count int `json:"count"`
	// Connected counts this island too.
	Connected int `json:"connected"`
	// Lost are those that nobody reaches, by the word of the network, Unreached those
	// that this island does not reach.
	Lost      []string `json:"lost"`
	Unreached []string `json:"unreached"`
	Network   string   `json:"network,omitempty"`
}

// Targets are those that this island scrapes.
type Targets struct {
	Up      int `json:"up"`
	Down    int `json:"down"`
	Unknown int `json:"unknown"`
	// Jobs are those with most down first, then by name, MaxJobs at most.
	Jobs []Job `json:"jobs"`
	// MoreJobs is how many are left out.
	MoreJobs int `json:"more_jobs,omitempty"`
}

// Job is the targets of one job.
type Job struct {
	Job     string `json:"job"`
	Up      int    `json:"up"`
	Down    int    `json:"down"`
	Unknown int    `json:"unknown"`
}

// Alerts are those of this island's Alertmanager.
type Alerts struct {
	Firing int `json:"firing"`
	// BySeverity has those that fire and are not silenced; "" is without severity.
	BySeverity map[string]int `json:"by_severity"`
	Pending    int            `json:"pending"`
	Silenced   int            `json:"silenced"`
}

// Probes are what this island judges for all vantages, and what it sees itself.
type Probes struct {
	Up       int `json:"up"`
	Degraded int `json:"degraded"`
	Down     int `json:"down"`
	Unknown  int `json:"unknown"`
	// SeenUp, SeenDown and SeenPending count the targets that it probes itself.
	SeenUp      int `json:"seen_up"`
	SeenDown    int `json:"seen_down"`
	SeenPending int `json:"seen_pending"`
}

// Budget is a limit and how much of it is used, in Unit; Limit is 0 without one.
type Budget struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Used  float64 `json:"used"`
	Limit float64 `json:"limit"`
}

// Changes are what happened in the last hour.
type Changes struct {
	// Since is how far back they are known: an hour, or less.
	Since time.Time `json:"since"`
	// Counts are by topic and kind, as "alerts.firing".
	Counts map[string]int `json:"counts"`
	// Newest are the newest, MaxChanges at most.
	Newest []events.Event `json:"newest"`
}

// Need is one thing that waits for somebody.
type Need struct {
	// Kind is health, alert, island, probe, target or budget; Severity critical or warning.
	Kind     string `json:"kind"`
	Severity string `json:"severity"`
	Title    string `json:"title"`
	Detail   string `json:"detail,omitempty"`
	Remedy   string `json:"remedy,omitempty"`
	// Href is its page in the portal.
	Href  string     `json:"href"`
	Since *time.Time `json:"since,omitempty"`
}

// Bounds of one answer.
const (
	MaxJobs    = 50
	MaxChanges = 30
	MaxNeeds   = 20
	// fresh is for how long an answer is given again.
	fresh = 2 * time.Second
)

// Handler answers with what look finds.
type Handler struct {
	look func() Overview

	mu     sync.Mutex
	looked time.Time
	text   []byte
}

// New makes the handler.
func New(look func() Overview) *Handler { return &Handler{look: look} }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	text, err := h.answer()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		text = []byte(`{"code":"internal","message":"overview: the answer cannot be encoded","remedy":"Report this as a fault of Atoll."}`)
	}
	_, _ = w.Write(text) // the client went away
}

// answer looks once for all who ask at the same time.
func (h *Handler) answer() ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.text != nil && time.Since(h.looked) < fresh {
		return h.text, nil
	}
	text, err := json.Marshal(h.look())
	if err != nil {
		return nil, err
	}
	h.looked, h.text = time.Now(), text
	return h.text, nil
}
