package budget

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/health"
)

const (
	defaultPoll = model.Duration(5 * time.Second)
	// minMemory is what the linked packages and an idle head take, and some air.
	minMemory = flow.Bytes(64 << 20)
	// calm is how long nothing must have been dropped before the warning ends.
	calm = time.Minute
)

var (
	// ErrDisk is wrapped by every refusal of the disk guard. It wraps
	// flow.ErrUnavailable.
	ErrDisk = fmt.Errorf("disk reserve: %w", flow.ErrUnavailable)
	// ErrSeriesLimit is what Append returns for a new series over the limit, to
	// those who asked for it by flow.Strict. It wraps flow.ErrOverLimit.
	ErrSeriesLimit = fmt.Errorf("series limit: %w", flow.ErrOverLimit)
)

// Options is what a budget is made of; Logger, Registerer and Health may be nil.
type Options struct {
	Config     Config
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *health.List
	// Dir is the data directory, or one that will be made in it.
	Dir string
	// NumSeries says how many series the store's head holds. It is called for
	// each sample of an unknown series, so it must be cheap.
	NumSeries func() uint64
}

// Budget holds the limits of one island. All methods are safe for concurrent use.
type Budget struct {
	logger    *slog.Logger
	m         *metrics
	warn      warnings
	dir       string
	numSeries func() uint64

	cfg    atomic.Pointer[Config]
	change chan struct{} // the configuration has changed

	dropping atomic.Bool  // the warning about the series limit is on
	dropped  atomic.Int64 // when a sample was last dropped, in Unix nanoseconds

	space  func(dir string) (free, total uint64, err error)
	check  sync.Mutex             // one look at the disk at a time
	looked atomic.Int64           // when, in Unix nanoseconds
	short  atomic.Pointer[notice] // nil while there is room
}

// New checks the configuration and prepares a budget. It changes nothing in the
// process; ApplyRuntime does.
func New(o Options) (*Budget, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Health == nil {
		o.Health = health.New(nil)
	}
	if o.NumSeries == nil {
		o.NumSeries = func() uint64 { return 0 }
	}
	b := &Budget{
		logger:    o.Logger,
		warn:      declare(o.Health),
		dir:       o.Dir,
		numSeries: o.NumSeries,
		change:    make(chan struct{}, 1),
		space:     Space,
	}
	b.m = newMetrics(o.Registerer, b)
	b.adopt(o.Config)
	return b, nil
}

func (b *Budget) adopt(c Config) {
	b.cfg.Store(&c)
	b.m.seriesLimit.Set(float64(c.Series))
}

// Prepare checks a new configuration; commit puts it in force. What needs a
// restart is refused by name with its old and new value.
func (b *Budget) Prepare(next Config) (commit, discard func(), err error) {
	if err := next.Validate(); err != nil {
		return nil, nil, err
	}
	if err := b.cfg.Load().fixed(next); err != nil {
		return nil, nil, err
	}
	commit = func() {
		b.adopt(next)
		select {
		case b.change <- struct{}{}:
		default:
		}
	}
	return commit, func() {}, nil
}

// Run watches the disk and keeps the warnings up to date until ctx ends.
func (b *Budget) Run(ctx context.Context) error {
	for {
		b.look()
		b.review()
		t := time.NewTimer(time.Duration(b.cfg.Load().Disk.Poll))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-b.change:
			t.Stop()
		case <-t.C:
		}
	}
}

// review ends the warning about the series limit once nothing is dropped any more.
func (b *Budget) review() {
	if b.dropping.Load() && time.Since(time.Unix(0, b.dropped.Load())) > calm {
		b.dropping.Store(false)
		b.warn.series.Clear()
	}
}
