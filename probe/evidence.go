package probe

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sync/errgroup"

	"github.com/atoll-mesh/atoll/budget"
	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/evidence"
	"github.com/atoll-mesh/atoll/probe/evidence/gather"
	"github.com/atoll-mesh/atoll/probe/guard"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

const (
	// gatherTime bounds all that is done for one bundle.
	gatherTime = 15 * time.Second
	// mostGathered are gathered at once. When a whole network goes, a few bundles tell of it.
	mostGathered = 8
	// mostFetched archives of other islands are on their way here at once.
	mostFetched = 4
	// gatherGap is the time between two bundles of a target, so that one that goes up and
	// down does not fill the disk.
	gatherGap = 5 * time.Minute
	// expireEvery is how often bundles that are too old are let go.
	expireEvery = 10 * time.Minute
)

// keeper gathers evidence and keeps it.
type keeper struct {
	p     *Prober
	store *evidence.Store // nil where none can be kept
	m     *evidenceMetrics
	// orders are begun and not yet taken by run; slots has one token for each.
	orders chan *order
	slots  chan struct{}
	// fetches has a token for each archive of another island that is on its way.
	fetches chan struct{}

	mu sync.Mutex
	// taken are the latest of each role and target, for as long as gatherGap.
	taken map[string]failure
	// refusing tells that the reserve of the disk was in the way last.
	refusing bool
}

// failure is one that there is, or will be, evidence of.
type failure struct {
	id string
	at time.Time
}

// order is evidence to be gathered.
type order struct {
	failure
	role string
	job  *job
	// failed is the result that it is about, nil of a healthy vantage.
	failed *protocol.Result
	// address is whom the last probe talked to.
	address netip.AddrPort
}

func newKeeper(p *Prober) (k *keeper, err error) {
	k = &keeper{p: p, orders: make(chan *order, mostGathered), slots: make(chan struct{}, mostGathered), fetches: make(chan struct{}, mostFetched), taken: map[string]failure{}}
	cfg := p.opts.Config.Evidence
	dir := cfg.Dir
	if dir == "" && p.opts.Dir != "" {
		dir = filepath.Join(p.opts.Dir, "evidence")
	}
	if dir != "" {
		k.store, err = evidence.New(evidence.Options{Dir: dir, MaxBytes: int64(cfg.MaxSize), MaxAge: time.Duration(cfg.Retention), Logger: p.log})
		if err != nil {
			return nil, err
		}
		for _, m := range slices.Backward(k.store.Since(time.Now().Add(-gatherGap))) {
			k.taken[targetKey(m.Role, m.Definition, m.Target, m.Address, labels.FromMap(m.Labels))] = failure{m.Failure, m.Began}
		}
	}
	if k.m, err = newEvidenceMetrics(k, p.opts.Registerer); err != nil {
		return nil, err
	}
	return k, nil
}

// prepare checks a new section; commit puts it in force.
func (k *keeper) prepare(cfg evidence.Config) (commit func(), err error) {
	if now := k.p.plan.Load().config.Evidence.Dir; cfg.Dir != now {
		return nil, fmt.Errorf("evidence.dir: changing %q to %q needs a restart", now, cfg.Dir)
	}
	return func() {
		if k.store != nil {
			k.store.Limit(int64(cfg.MaxSize), time.Duration(cfg.Retention))
		}
	}, nil
}

// run gathers what is begun until ctx ends.
func (k *keeper) run(ctx context.Context) error {
	g := new(errgroup.Group)
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	k.expire()
	for {
		select {
		case o := <-k.orders:
			g.Go(func() error {
				k.gather(ctx, o)
				<-k.slots
				return nil
			})
		case <-tick.C:
			k.expire()
		case <-ctx.Done():
			return g.Wait()
		}
	}
}

func (k *keeper) expire() {
	if k.store == nil {
		return
	}
	if err := k.store.Expire(time.Now()); err != nil {
		k.p.log.Warn("old evidence cannot be removed", "err", err)
	}
}

// relax takes back the warning that there is no room once there is.
func (k *keeper) relax() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refusing && k.crowded(evidence.MostArchive) == "" {
		k.refusing = false
		k.p.warnings.evidence.Clear()
	}
}

func targetKey(role, definition, instance, address string, own labels.Labels) string {
	return strings.Join([]string{role, definition, instance, address, own.String()}, "\x00")
}

func (o *order) key() string { return keyOf(o.role, o.job) }

func keyOf(role string, j *job) string {
	return targetKey(role, j.use.Name, j.instance, textOf(j.address), j.own)
}

// textOf is "" for no address.
func textOf(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// Why evidence is not gathered.
var (
	errOff     = errors.New("off")
	errRecent  = errors.New("recent")
	errBusy    = errors.New("busy")
	errReserve = errors.New("disk_reserve")
)

// turned begins to gather evidence of what this island found.
func (k *keeper) turned(o Observation) {
	switch o.Result.Reason.Code {
	case protocol.Denied, protocol.BadTarget, protocol.Unsupported, protocol.Internal:
		k.m.skipped.WithLabelValues("unsent").Inc()
		return // there is nothing outside to look at
	}
	id := ulid.MustNew(ulid.Timestamp(time.Now()), rand.Reader).String()
	f, err := k.begin(&order{
		failure: failure{id, o.At}, role: evidence.Failing, job: o.job, failed: o.Result, address: o.Result.Address,
	})
	if f.id != "" { // perhaps that of a moment ago
		k.p.council.Evidence(o.job.subject, f.id)
	}
	if err != nil {
		k.m.skipped.WithLabelValues(err.Error()).Inc()
	}
}

// begin takes an order, or returns why not; with errRecent also what there is already.
func (k *keeper) begin(o *order) (failure, error) {
	if k.store == nil || k.p.plan.Load().config.Evidence.MaxSize == 0 || o.job.use.Evidence.Off {
		return failure{}, errOff
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	key, now := o.key(), time.Now()
	if before, ok := k.taken[key]; ok && now.Sub(before.at) < gatherGap {
		return before, errRecent
	}
	if words := k.crowded(evidence.MostArchive); words != "" {
		k.refusing = true
		k.p.warnings.evidence.Set("%s", words)
		return failure{}, errReserve
	}
	select {
	case k.slots <- struct{}{}:
	default:
		return failure{}, errBusy
	}
	const many = 1024
	if len(k.taken) >= many {
		for key, f := range k.taken {
			if now.Sub(f.at) >= gatherGap {
				delete(k.taken, key)
			}
		}
	}
	k.taken[key] = failure{o.id, now}
	k.orders <- o // there is room: it has a slot
	return o.failure, nil
}

// crowded says why so many bytes are not to be written: the rest of the file system is
// the budget's reserve, for what is worth more. "" if they may.
func (k *keeper) crowded(size uint64) string {
	if k.p.opts.Reserve == nil {
		return ""
	}
	dir := k.store.Dir()
	free, total, err := budget.Space(dir)
	for err != nil && errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) { // it is made with the first bundle
		dir = filepath.Dir(dir)
		free, total, err = budget.Space(dir)
	}
	if err != nil {
		return fmt.Sprintf("keep evidence: %v", err)
	}
	reserve := k.p.opts.Reserve(total)
	if free >= reserve+size {
		return ""
	}
	return fmt.Sprintf("no evidence is kept: %s free on %s, a bundle may take %s, and budget.disk.reserve leaves %s alone", flow.Bytes(free).Short(), dir, flow.Bytes(size).Short(), flow.Bytes(reserve).Short())
}

// of is the latest evidence that this island has or is about to have of a target that
// failed here, "" for none.
func (k *keeper) of(j *job) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.taken[keyOf(evidence.Failing, j)].id
}

// gather makes one bundle.
func (k *keeper) gather(ctx context.Context, o *order) {
	ctx, cancel := context.WithTimeout(ctx, gatherTime)
	defer cancel()
	j := o.job
	m := &evidence.Manifest{
		Failure: o.id, Definition: j.use.Name, Target: j.instance, Address: textOf(j.address), Labels: j.own.Map(), Vantage: k.p.self().Name,
		Role: o.role, At: o.at.UTC(), Began: time.Now().UTC(),
	}
	if o.failed != nil {
		m.Code, m.Words = string(o.failed.Reason.Code), o.failed.Reason.Words
	}
	var counterpart sync.WaitGroup
	var alone string
	if o.role == evidence.Failing {
		counterpart.Go(func() { m.Counterpart, alone = k.counterpart(ctx, o) })
	}
	found := gather.All(ctx, k.orderOf(o))
	counterpart.Wait()
	m.Files, m.Missing, m.Up, m.Gathered = found.Files, found.Missing, found.Look.Up, time.Now().UTC()
	if alone != "" {
		m.Missing["a healthy vantage's"] = alone
	}
	if err := k.store.Put(m, k.crowded); err != nil {
		result := "lost"
		if errors.Is(err, evidence.ErrNoRoom) {
			result = "refused"
			k.mu.Lock()
			k.refusing = true
			k.mu.Unlock()
		}
		k.m.bundles.WithLabelValues(o.role, result).Inc()
		k.p.warnings.evidence.Set("%v", err)
		return
	}
	k.p.warnings.evidence.Clear()
	k.m.bundles.WithLabelValues(o.role, "kept").Inc()
	k.p.log.Info("evidence is gathered", "failure", o.id, "definition", m.Definition, "target", m.Target, "role", o.role, "files", len(m.Files), "took", m.Gathered.Sub(m.Began))
}

// orderOf is what is gathered of a target: by the probers of its definition, and no
// further than its definition may go.
func (k *keeper) orderOf(o *order) gather.Order {
	p, j := k.p, o.job
	session := p.guard.For(guard.Defined)
	if j.address.IsValid() {
		session.Vouch(j.name, j.address)
	}
	run, module := j.use.run, j.use.module
	if module.Prober == "browser" { // which loads the page and shows nothing of its parts
		module = definition.Builtin()[definition.DefaultModule]
		run = p.table[module.Prober]
	}
	prober := func(run protocol.Func) protocol.Func {
		return func(ctx context.Context, r *protocol.Request) *protocol.Result {
			if run == nil {
				return (&protocol.Result{}).Fail(protocol.Unsupported, protocol.Resolve, "this program has no such prober")
			}
			return p.probe(ctx, run, gatherTime, session, r)
		}
	}
	look := prober(run)
	servers := p.opts.nameServers
	if servers == nil {
		var err error
		if servers, err = gather.SystemServers(resolvConf); err != nil {
			p.log.Debug("name servers are not asked for evidence", "err", err)
		}
	}
	return gather.Order{
		Target: j.target, Host: cmp.Or(j.host, j.name), Module: module, Address: o.address, Failed: o.failed,
		Look: func(ctx context.Context, r *protocol.Request) *protocol.Result {
			ctx, cancel := context.WithTimeout(ctx, max(j.use.within, leastLook))
			defer cancel()
			r.Host = j.host
			return look(ctx, r)
		},
		Trace: prober(p.table["trace"]), Dialer: session, Resolver: session, NameServers: servers,
		Capture: j.use.Evidence.Capture && p.plan.Load().config.Evidence.Capture,
		Comment: fmt.Sprintf("failure %s of %s (%s), seen from %s", o.id, j.instance, j.use.Name, p.self().Name),
	}
}

const (
	// leastLook is for how long the fresh look may wait even where the probe may not: to
	// come late is another failure than not to come.
	leastLook = 5 * time.Second
	// resolvConf names the machine's name servers; where there is no such file none is asked.
	resolvConf = "/etc/resolv.conf"
)
