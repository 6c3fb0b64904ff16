// Package health holds what an island knows to be wrong with itself.
//
// In: rooms declare each kind of trouble once (code, severity, title, remedy)
// and later set or clear it. Out: the list of what is wrong right now, one
// vocabulary for the log, the CLI, the API, the portal and the metrics.
// Guaranteed: safe for concurrent use; a warning is listed from the moment Set
// returns until Clear; the first Set of a spell fixes its Since.
package health

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Severity says how much a warning should worry the reader.
type Severity string

// The severities, from "good to know" to "data or alerts are being lost".
const (
	SeverityInfo     Severity = "info"
	SeverityWarning  Severity = "warning"
	SeverityCritical Severity = "critical"
)

func (s Severity) rank() int {
	switch s {
	case SeverityCritical:
		return 0
	case SeverityWarning:
		return 1
	default:
		return 2
	}
}

// Warning declares one kind of trouble.
type Warning struct {
	// Code is stable, lower-case and hyphenated, led by the room: "store-disk-full".
	Code string `json:"code"`
	// Severity is how bad it is while it lasts.
	Severity Severity `json:"severity"`
	// Title is one phrase without values.
	Title string `json:"title"`
	// Remedy is what a person should do about it.
	Remedy string `json:"remedy"`
}

// Active is a warning that holds now.
type Active struct {
	Warning
	// Text says what was found this time: paths, values, limits.
	Text string `json:"text"`
	// Since is when the present spell began.
	Since time.Time `json:"since"`
}

// List collects the warnings of one island.
type List struct {
	active *prometheus.GaugeVec

	mu       sync.Mutex
	declared map[string]*Handle

	// of a list made by Lease: where it declares, and what it has declared
	root   *List
	leased []*Handle
}

// New returns an empty list that exposes atoll_health_warning_active{code,severity}.
func New(reg prometheus.Registerer) *List {
	l := &List{
		active: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "atoll_health_warning_active",
			Help: "1 while the declared warning holds.",
		}, []string{"code", "severity"}),
		declared: map[string]*Handle{},
	}
	if reg != nil {
		reg.MustRegister(l.active)
	}
	return l
}

// Lease returns a list for rooms that come and go while the island runs: what is
// declared on it appears in l until end is called, and can be declared again then.
// The returned list is for Declare only.
func (l *List) Lease() (lease *List, end func()) {
	lease = &List{root: l}
	return lease, func() {
		lease.mu.Lock()
		defer lease.mu.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, h := range lease.leased {
			h.on, h.gone = false, true
			delete(l.declared, h.w.Code)
			l.active.DeleteLabelValues(h.w.Code, string(h.w.Severity))
		}
		lease.leased = nil
	}
}

// Handle sets and clears one declared warning.
type Handle struct {
	list *List
	w    Warning

	// guarded by list.mu
	on    bool
	gone  bool // its lease has ended
	text  string
	since time.Time
}

// Declare announces a kind of trouble. Declaring a code twice is a programmer's
// error and panics.
func (l *List) Declare(w Warning) *Handle {
	if l.root != nil {
		h := l.root.Declare(w)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.leased = append(l.leased, h)
		return h
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, dup := l.declared[w.Code]; dup {
		panic(fmt.Sprintf("BUG: health warning %q declared twice", w.Code))
	}
	h := &Handle{list: l, w: w}
	l.declared[w.Code] = h
	l.active.WithLabelValues(w.Code, string(w.Severity)).Set(0)
	return h
}

// Set makes the warning hold, with a text formatted as by fmt.Sprintf.
func (h *Handle) Set(format string, args ...any) {
	h.list.mu.Lock()
	defer h.list.mu.Unlock()
	if h.gone {
		return
	}
	if !h.on {
		h.on, h.since = true, time.Now()
	}
	h.text = fmt.Sprintf(format, args...)
	h.list.active.WithLabelValues(h.w.Code, string(h.w.Severity)).Set(1)
}

// Clear ends the warning; clearing one that does not hold does nothing.
func (h *Handle) Clear() {
	h.list.mu.Lock()
	defer h.list.mu.Unlock()
	if h.gone {
		return
	}
	h.on = false
	h.list.active.WithLabelValues(h.w.Code, string(h.w.Severity)).Set(0)
}

// Active returns what is wrong now: the most severe first, then the oldest.
func (l *List) Active() []Active {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []Active{}
	for _, h := range l.declared {
		if h.on {
			out = append(out, Active{Warning: h.w, Text: h.text, Since: h.since})
		}
	}
	slices.SortFunc(out, func(a, b Active) int {
		return cmp.Or(
			cmp.Compare(a.Severity.rank(), b.Severity.rank()),
			a.Since.Compare(b.Since),
			cmp.Compare(a.Code, b.Code),
		)
	})
	return out
}

// Declared returns every kind of trouble this island can report, by code.
func (l *List) Declared() []Warning {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Warning, 0, len(l.declared))
	for _, h := range l.declared {
		out = append(out, h.w)
	}
	slices.SortFunc(out, func(a, b Warning) int { return cmp.Compare(a.Code, b.Code) })
	return out
}
