package enrol

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// Documents is the part of the replica that this room works on; *replica.Replica
// is one. It is safe for concurrent use.
type Documents interface {
	// Get gives the version in force; an error where there is none or it is deleted.
	Get(key string) (*replicapb.Document, error)
	// List gives the versions in force of all documents whose key begins with
	// prefix, without deleted ones, ordered by key. They are not to be changed.
	List(prefix string) []*replicapb.Document
	// History gives older versions, as far as this island still holds any.
	History(key string) []*replicapb.Document
	// Put takes documents signed by somebody with the right to, which may follow
	// from others in the same call; what loses its author's right on the way is
	// dropped only after all are in. When it returns without an error they are on
	// disk and Trust reflects them.
	Put(ctx context.Context, docs ...*replicapb.Document) error
	// Now is the next tick of the hybrid logical clock, never given out before.
	Now() uint64
}

// Log is where changes are written down, one entry each, before they are made;
// *trust.Audit is one.
type Log interface {
	Append(trust.AuditEntry) (trust.AuditEntry, error)
}

// Conns reaches another member. Calls fail fast where it cannot be reached.
type Conns func(ctx context.Context, peer trust.Key) (grpc.ClientConnInterface, error)

// AuthorityOptions is what an Authority works with. Home, Documents, Trust and
// Log are required.
type AuthorityOptions struct {
	Config    Config
	Home      *trust.Home
	Documents Documents
	// Trust gives the state in force; it is not nil.
	Trust func() *trust.State
	Log   Log
	// Conns passes guests on to the island that made their invitation; without it
	// such guests are told where to go.
	Conns Conns
	// Bootstrap gives islands that a guest should knock at or connect to first.
	Bootstrap func() []trust.Bootstrap
	// Now is the wall clock, time.Now where nil.
	Now        func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// ErrNoSigner is in every error that comes of an island not having the key that
// the change needs.
var ErrNoSigner = errors.New("this island does not hold the key for it")

// ErrDenied is in every error that refuses who asked, not what was asked.
var ErrDenied = errors.New("denied")
