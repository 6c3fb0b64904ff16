package engine

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// Ref names a series: bits 0 to 31 are a dense index, bits 32 to 47 tell apart
// the series that had the index before, and the replica. 0 is no series.
type Ref uint64

// Index is dense: it may be used to index a (chunked) array.
func (r Ref) Index() uint32 { return uint32(r) }

// Gen changes whenever Index names another series or replica.
func (r Ref) Gen() uint16 { return uint16(r >> 32) }

func (r Ref) gen() uint8     { return uint8(r >> 32) }
func (r Ref) replica() uint8 { return uint8(r >> 40) }

// Verdict says what the rules make of a series.
type Verdict uint8

const (
	// Matched says that at least one rule takes the series.
	Matched Verdict = 1 << iota
	// Drop says that a rule that takes it wants its samples not stored.
	Drop
)

// Journal keeps frames so that ReplayFrame can repeat them after a crash.
type Journal interface {
	// Append must not keep frame.
	Append(frame []byte) error
}

// Options of an Engine.
type Options struct {
	Rules *rule.Set
	// Shards is rounded up to a power of two, at most 64. 0: four per processor, as a
	// batch begins with those that nobody is busy with. Each has its own sums of a group,
	// so more of them than that only spread the same over more memory.
	Shards int
	// Journal, if set, is given a frame before each change of state. Its errors
	// reach Failed and stop nothing.
	Journal Journal
	// Failed, if set, is told about errors of Journal; it is called without locks.
	Failed func(error)
	// Registerer may be nil.
	Registerer prometheus.Registerer
	// Seed of the fingerprints; 0 takes a random one.
	Seed uint64
}

const (
	maxShards = 64
	// aheadLimit is how far a sample's time may be ahead of its arrival.
	aheadLimit = 10 * 60 * 1000
	never      = math.MinInt64
)

// Engine is safe for concurrent use; a Batch is not.
type Engine struct {
	journal   Journal
	failed    func(error)
	seed      uint64
	secret    secret // made of seed
	shards    []*shard
	shardBits uint
	_         [64]byte // what is read for each sample is not on a line of locks

	src      sources
	replicas replicas
	neg      negatives
	rules    atomic.Pointer[ruleSet]
	epoch    atomic.Uint32
	started  atomic.Int64 // arrival of the first batch
	newest   atomic.Int64 // latest time that came in
	batches  sync.Pool
	lanes    laneSet

	// cut is held for reading while a batch is journalled and applied, for writing
	// while windows are taken away: so a window is taken between two batches.
	cut guard
	// learning serializes everything that gives series, groups and sources their places.
	learning guard
	// turn serializes Advance, Snapshot, Restore and Reload; it comes before all other locks.
	turn   sync.Mutex
	outbox []*partial.Window
	frame  []byte
	// replayed are series that replay gave another reference than they had.
	replayed map[Ref]Ref
	sweep    sweeper
	count    counters

	// homeKey keys the IDs of distributed series; 0: they have none. Under learning.
	// homing: new ones wait for their home.
	homeKey    uint64
	homeSecret secret
	homing     atomic.Bool
	waking     sync.Mutex
	doubts     atomic.Uint64
	looked     int64 // when overdue looked last; under turn
	claimMu    sync.Mutex
	claims     [][]Claim
}

// New returns an engine without state.
func New(o Options) (*Engine, error) {
	if o.Rules == nil {
		return nil, fmt.Errorf("aggregation engine: Rules is nil, want a set (an empty one for no rules)")
	}
	if o.Shards < 0 || o.Shards > maxShards {
		return nil, fmt.Errorf("aggregation engine: %d shards, want 0 to %d", o.Shards, maxShards)
	}
	if o.Shards == 0 {
		o.Shards = min(maxShards, 4*runtime.GOMAXPROCS(0))
	}
	e := &Engine{journal: o.Journal, failed: o.Failed, seed: o.Seed, shardBits: uint(bits.Len(uint(o.Shards - 1)))}
	if e.seed == 0 {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return nil, fmt.Errorf("aggregation engine: read random seed: %w", err)
		}
		e.seed = binary.LittleEndian.Uint64(b[:])
	}
	e.secret = newSecret(e.seed)
	e.started.Store(never)
	e.newest.Store(never)
	for i := range 1 << e.shardBits {
		e.shards = append(e.shards, newShard(e, uint32(i)))
	}
	e.src.reset()
	e.rules.Store(&ruleSet{slots: make([]*ruleState, 1)})
	if err := e.install(o.Rules); err != nil {
		return nil, err
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(collector{e}); err != nil {
			return nil, fmt.Errorf("register metrics of the aggregation engine: %w", err)
		}
	}
	return e, nil
}

// Idle reports whether there are no rules, so that nothing needs to be shown.
func (e *Engine) Idle() bool { return len(e.rules.Load().active) == 0 }

// Epoch changes with each Reload: what an answer said of a series (that no rule
// matches it) holds within one epoch only.
func (e *Engine) Epoch() uint16 { return uint16(e.epoch.Load()) }

// see notes that it is now at least now.
func (e *Engine) see(now int64) {
	e.started.CompareAndSwap(never, now)
	for {
		old := e.newest.Load()
		if now <= old || e.newest.CompareAndSwap(old, now) {
			return
		}
	}
}

// absence is how long this island must have been away until others may have taken
// its series over, ms.
const absence = takeOver / 2

// wake is see for what comes in now: after an absence it must be found out anew who
// counts what.
func (e *Engine) wake(now int64) {
	if e.absent(now) {
		e.waking.Lock()
		defer e.waking.Unlock()
		if e.absent(now) {
			e.enact(now, []Decision{{Verb: Doubt}})
		}
	}
	e.see(now)
}

func (e *Engine) absent(now int64) bool {
	old := e.newest.Load()
	return old != never && now-old > absence && e.homing.Load()
}

func (e *Engine) fail(err error) {
	if err != nil && e.failed != nil {
		e.failed(err)
	}
}
