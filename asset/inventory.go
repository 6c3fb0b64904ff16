package asset

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"

	"github.com/atoll-mesh/atoll/health"
)

// Source lists the resources that another room knows.
type Source struct {
	// Name is a label value of metrics.
	Name string
	// Every is how often it is listed at most.
	Every time.Duration
	// List hands over each resource, in any order, and the same ones again in the next
	// call as long as nothing changed. What an Item holds is not kept.
	List func(ctx context.Context, yield func(*Item)) error
}

// Options are what an Inventory is made of.
type Options struct {
	// Island is the name under which other islands know this one.
	Island  func() string
	Sources []Source
	// Others are the islands that may be asked; nil for none.
	Others func() []Other
	// Ask evaluates PromQL over this island's own samples as they are now; the vector
	// is the caller's.
	Ask func(ctx context.Context, expr string) (promql.Vector, error)
	// MaxResources bounds the inventory; 0 takes DefaultMaxResources.
	MaxResources int
	Logger       *slog.Logger
	Registerer   prometheus.Registerer
	Health       *health.List
}

// DefaultMaxResources is five times what the search is measured with.
const DefaultMaxResources = 500_000

// Inventory is what there is.
type Inventory struct {
	o       Options
	metrics *metrics
	full    *health.Handle
	touched chan struct{}
	hosts   hosts
	asking  chan struct{} // holds one for each island that is being asked

	mu     sync.RWMutex
	listed []listed // as Options.Sources
}

type listed struct {
	segment *segment
	sum     uint64
	leftOff int
}

// New checks the options; nothing is listed before Run.
func New(o Options) (*Inventory, error) {
	if o.Island == nil {
		return nil, errors.New("making the inventory: Island must be set")
	}
	if o.MaxResources == 0 {
		o.MaxResources = DefaultMaxResources
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Health == nil {
		o.Health = health.New(nil)
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register metrics of the inventory: %w", err)
	}
	v := &Inventory{o: o, metrics: m, touched: make(chan struct{}, 1), asking: make(chan struct{}, mostOthers), listed: make([]listed, len(o.Sources))}
	v.hosts.ask = o.Ask
	if o.Ask == nil {
		v.hosts.ask = func(context.Context, string) (promql.Vector, error) { return nil, nil }
	}
	v.full = o.Health.Declare(health.Warning{
		Code: "asset-inventory-full", Severity: health.SeverityWarning,
		Title:  "The inventory has no room for all resources; some are not found by searching",
		Remedy: "Let other islands collect a part of the targets, or drop labels and targets that nobody looks for.",
	})
	return v, nil
}

// busyShare is the part of the time that listing may take: a source that takes 100 ms
// is listed every 5 s at most.
const busyShare = 50

// Run keeps the inventory up to date until ctx ends.
func (v *Inventory) Run(ctx context.Context) error {
	due := make([]time.Time, len(v.o.Sources))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-v.touched:
			clear(due)
		case <-timer.C:
		}
		next := time.Now().Add(time.Hour)
		for i := range v.o.Sources {
			if begin := time.Now(); !begin.Before(due[i]) {
				v.refresh(ctx, i)
				due[i] = begin.Add(max(v.o.Sources[i].Every, busyShare*time.Since(begin)))
			}
			if due[i].Before(next) {
				next = due[i]
			}
			if ctx.Err() != nil {
				return nil
			}
		}
		timer.Reset(time.Until(next))
	}
}

// Refresh has all sources listed soon.
func (v *Inventory) Refresh() {
	select {
	case v.touched <- struct{}{}:
	default:
	}
}

// refresh lists one source. Where that fails, what it listed before stays.
func (v *Inventory) refresh(ctx context.Context, i int) {
	source, begin := &v.o.Sources[i], time.Now()
	result, err := v.list(ctx, i)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		v.o.Logger.Warn("a part of the inventory is not brought up to date", "source", source.Name, "error", err)
	}
	v.metrics.took.WithLabelValues(source.Name).Set(time.Since(begin).Seconds())
	v.metrics.refreshed.WithLabelValues(source.Name, result).Inc()
}

func (v *Inventory) list(ctx context.Context, i int) (result string, err error) {
	source := &v.o.Sources[i]
	// Most of the time nothing changed, which costs less to find out.
	var sum uint64
	if err := source.List(ctx, func(it *Item) { sum += it.sum() }); err != nil {
		return resultFailed, err
	}
	v.mu.RLock()
	same := v.listed[i].segment != nil && v.listed[i].sum == sum
	v.mu.RUnlock()
	if same {
		return resultSame, nil
	}
	b := newBuilder(v.o.Island(), v.room(i))
	if err := source.List(ctx, b.add); err != nil {
		return resultFailed, err
	}
	next := listed{segment: b.build(), sum: b.sum, leftOff: b.leftOff}
	if b.leftOff > 0 {
		next.sum = sum // of all that there is, so that it is not built again and again
	}
	v.mu.Lock()
	v.listed[i] = next
	v.mu.Unlock()
	v.tell()
	return resultChanged, nil
}

// room is how many resources a source may have.
func (v *Inventory) room(i int) int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	left := v.o.MaxResources
	for k, l := range v.listed {
		if k != i && l.segment != nil {
			left -= len(l.segment.ids)
		}
	}
	return max(0, left)
}

// tell brings metrics and the warning up to date.
func (v *Inventory) tell() {
	var counts [kinds]int
	bytes, leftOff := 0, 0
	v.mu.RLock()
	for _, l := range v.listed {
		leftOff += l.leftOff
		if l.segment == nil {
			continue
		}
		bytes += l.segment.bytes()
		for _, k := range l.segment.kinds {
			counts[k]++
		}
	}
	v.mu.RUnlock()
	for k, n := range counts {
		v.metrics.resources.WithLabelValues(Kind(k).String()).Set(float64(n))
	}
	v.metrics.bytes.Set(float64(bytes))
	v.metrics.leftOff.Set(float64(leftOff))
	if leftOff > 0 {
		v.full.Set("%d resources are left out, at most %d are kept", leftOff, v.o.MaxResources)
	} else {
		v.full.Clear()
	}
}

// all are the segments as they are now.
func (v *Inventory) all() []*segment {
	v.mu.RLock()
	defer v.mu.RUnlock()
	out := make([]*segment, 0, len(v.listed))
	for _, l := range v.listed {
		if l.segment != nil {
			out = append(out, l.segment)
		}
	}
	return out
}
