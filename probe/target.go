package probe

import (
	"context"
	"fmt"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/atoll-mesh/atoll/probe/emit"
	"github.com/atoll-mesh/atoll/probe/guard"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// target is one thing that this island probes. It implements schedule.Task.
type target struct {
	prober *Prober
	series *emit.Target
	job    atomic.Pointer[job]
	last   atomic.Pointer[last]
}

// last is what is remembered of the latest probe.
type last struct {
	at      time.Time
	up      bool
	took    time.Duration
	reason  protocol.Reason
	phases  [protocol.Phases]time.Duration
	address netip.AddrPort
}

// Run implements schedule.Task.
func (t *target) Run(ctx context.Context, due time.Time) {
	p, j := t.prober, t.job.Load()
	now := time.Now()
	// Samples of a target that is gone, or of a process that stops, are written all
	// the same: a transaction is not left half done.
	lasting := context.WithoutCancel(ctx)
	if !j.use.Active(now) {
		t.last.Store(nil)
		p.council.Leave(j.subject)
		p.stored(t.series.Pause(lasting, now.UnixMilli()))
		return
	}
	session := p.guard.For(guard.Defined)
	if j.address.IsValid() {
		session.Vouch(j.name, j.address)
	}
	r := p.probe(ctx, j.use.run, j.use.within, session, &protocol.Request{Target: j.target, Host: j.host, Module: j.use.module, Keep: j.use.keep()})
	if ctx.Err() != nil {
		return // stopped in the middle: the target is not to blame
	}
	at := sampleTime(r.Start, due, time.Duration(j.use.Interval))
	p.stored(t.series.Relabel(lasting, at.UnixMilli()-1, j.labels))
	p.stored(t.series.Append(lasting, at.UnixMilli(), r))
	t.last.Store(&last{at: r.Start, up: r.Up, took: r.Took, reason: r.Reason, phases: r.Phases, address: r.Address})
	result := isDown
	if r.Up {
		result = isUp
	}
	p.m.runs.WithLabelValues(j.use.module.Prober, result).Inc()
	o := Observation{job: j, Definition: j.use.Definition, Shared: j.use.shared, Target: j.instance, Address: j.address, At: at, Result: r}
	p.observed(j, o)
	if p.opts.Observe != nil {
		p.opts.Observe(o)
	}
}

// Gone implements schedule.Task.
func (t *target) Gone() {
	t.prober.council.Leave(t.job.Load().subject)
	t.prober.stored(t.series.Gone(context.Background(), time.Now().UnixMilli()))
}

func (p *Prober) stored(err error) {
	if err != nil {
		p.unstored(err, 1)
	}
}

func (p *Prober) unstored(err error, results int) {
	p.m.unstored.Add(float64(results))
	p.log.Warn("results of probes are not stored", "results", results, "err", err)
}

// sampleTime is the planned time where the probe began right then: series whose
// samples are evenly spaced take a fraction of the room.
func sampleTime(start, due time.Time, interval time.Duration) time.Time {
	const most, part = 20 * time.Millisecond, 100
	// Both without their monotonic readings, for due was computed: after a jump of
	// the clock they are far apart.
	if late := start.Round(0).Sub(due); late >= 0 && late <= min(most, interval/part) {
		return due
	}
	return start
}

// probe runs a prober once. What it does not say by itself is filled in.
func (p *Prober) probe(ctx context.Context, run protocol.Func, within time.Duration, session *guard.Session, req *protocol.Request) (r *protocol.Result) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	req.Dialer, req.Memory = session, &p.memory
	if req.Resolver == nil {
		req.Resolver = session
	}
	start := time.Now()
	defer func() {
		if cause := recover(); cause != nil {
			p.log.Error("BUG: a prober panicked", "prober", req.Module.Prober, "target", req.Target, "cause", cause, "stack", string(debug.Stack()))
			r = (&protocol.Result{}).Fail(protocol.Internal, protocol.Resolve, "%s", fmt.Sprint(cause))
		}
		if r.Start.IsZero() {
			r.Start = start
		}
		if r.Took == 0 {
			r.Took = time.Since(start)
		}
	}()
	return run(ctx, req)
}
