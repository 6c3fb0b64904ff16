package witness

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

// Member is an island of the network.
type Member struct {
	Key  trust.Key
	Name string
	// Region is where it is; empty takes the name, so that an island without a
	// label is a region of its own.
	Region string
}

func (m Member) region() string {
	if m.Region == "" {
		return m.Name
	}
	return m.Region
}

// Options are what a Witness needs of its surroundings. All functions are called
// without a lock held and must honour their context.
type Options struct {
	Config Config
	Self   trust.Key
	// Members lists every member, Self included.
	Members func() []Member
	// Probe looks at an island directly, dialling if it must.
	Probe func(ctx context.Context, key trust.Key) (rtt time.Duration, err error)
	// Ask has via look at target.
	Ask func(ctx context.Context, via, target trust.Key) (*meshpb.LookResponse, error)
	// Publish writes a statement where all islands will read it; Withdraw takes
	// away the one about target. Both are repeated until they succeed.
	Publish  func(ctx context.Context, s Statement) error
	Withdraw func(ctx context.Context, target trust.Key) error
	// Caller says who sent a Look.
	Caller func(ctx context.Context) (trust.Key, bool)
	// Clock is the wall clock for the times in statements; nil is time.Now. It
	// decides nothing.
	Clock func() time.Time

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Health may be nil.
	Health *health.List
}
