package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/guard"
	"github.com/atoll-mesh/atoll/probe/schedule"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// Islands is the section "probe.islands": what other islands may ask for at a moment.
type Islands struct {
	// Rate is how many probes a second each of them may ask for; half of that for one
	// of its callers. 0 is none.
	Rate float64 `yaml:"rate"`
	// Modules of the file that they may name, beside the built-in ones: whoever names a
	// module chooses whom its passwords are sent to.
	Modules []string `yaml:"modules,omitempty"`
}

// Validate reports a value that cannot be used.
func (i Islands) Validate() error {
	if !(i.Rate >= 0) {
		return fmt.Errorf("islands.rate: %v: must be 0, for none, or more", i.Rate)
	}
	return nil
}

// guests bounds what is probed for other islands.
type guests struct {
	// islands and callers are bounded alike, so that one caller does not use up what
	// all of an island have.
	islands, callers *guard.Limiter
	crowd            *crowd
}

// mostGuests are the probes that run for other islands at once, mostOfOne those for
// one of them.
const mostGuests, mostOfOne = 32, 8

func newGuests(g *guard.Guard, rate float64) guests {
	const key = "probe.islands.rate"
	return guests{islands: g.Limit(rate, key), callers: g.Limit(rate/2, key), crowd: &crowd{most: mostGuests, each: mostOfOne}}
}

func (g guests) set(rate float64) {
	g.islands.Set(rate)
	g.callers.Set(rate / 2)
}

// guestModules are those that other islands may name.
func (p *Prober) guestModules() definition.Modules {
	opened := definition.Modules{}
	for _, name := range p.plan.Load().config.Islands.Modules {
		if m := p.Modules()[name]; m != nil {
			opened[name] = m
		}
	}
	return p.builtin.With(opened)
}

// RunFor probes for another island, by its name in the network. What it may not is an
// error with a status of gRPC. The probe ends with the stream.
func (p *Prober) RunFor(island string, r *probepb.RunRequest, stream grpc.ServerStreamingServer[probepb.RunReply]) error {
	result, err := p.runFor(stream.Context(), island, r, func(within time.Duration) error {
		return stream.Send(&probepb.RunReply{Said: &probepb.RunReply_Accepted{Accepted: &probepb.RunAccepted{TimeoutMs: within.Milliseconds()}}})
	})
	if err != nil {
		p.m.adHoc.WithLabelValues("island", RunRefused).Inc()
		return err
	}
	if stream.Context().Err() != nil {
		p.m.adHoc.WithLabelValues("island", "cancelled").Inc()
		return grpcstatus.FromContextError(stream.Context().Err()).Err()
	}
	outcome := RunDown
	if result.GetUp() {
		outcome = RunUp
	}
	p.m.adHoc.WithLabelValues("island", outcome).Inc()
	return stream.Send(&probepb.RunReply{Said: &probepb.RunReply_Result{Result: result}})
}

func (p *Prober) runFor(ctx context.Context, island string, r *probepb.RunRequest, accepted func(time.Duration) error) (*probepb.RunResult, error) {
	a := Ask{
		Target: r.GetTarget(), Module: r.GetModule(), Host: r.GetHost(), Record: r.GetRecord(), Caller: r.GetCaller(),
		Timeout: time.Duration(min(max(r.GetTimeoutMs(), 0), longestRun.Milliseconds())) * time.Millisecond,
	}
	around := p.surroundings()
	if !slices.ContainsFunc(around.members, func(m schedule.Member) bool { return m.Name == around.self.Name }) {
		return nil, grpcstatus.Error(codes.FailedPrecondition, "this island does not probe")
	}
	if err := a.validate(); err != nil {
		return nil, grpcstatus.Error(codes.InvalidArgument, err.Error())
	}
	if err := p.guests.callers.Admit(a.Caller + " at " + island); err != nil {
		return nil, grpcstatus.Error(codes.ResourceExhausted, err.Error())
	}
	if err := p.guests.islands.Admit(island); err != nil {
		return nil, grpcstatus.Error(codes.ResourceExhausted, err.Error())
	}
	t, err := p.task(p.guestModules(), a)
	if errors.Is(err, errNoModule) {
		return nil, grpcstatus.Error(codes.NotFound, p.noModule(a.Module))
	}
	if err != nil {
		return nil, grpcstatus.Error(codes.InvalidArgument, err.Error())
	}
	leave, err := p.guests.crowd.enter(island)
	if err != nil {
		return nil, grpcstatus.Error(codes.ResourceExhausted, err.Error())
	}
	running := p.m.running.WithLabelValues("island")
	running.Inc()
	defer func() { running.Dec(); leave() }()
	if err := p.ledger.note(entry{island, "probe-for", a.Target, fmt.Sprintf("module %s, asked there by %s", a.Module, a.Caller)}); err != nil {
		return nil, grpcstatus.Error(codes.Unavailable, err.Error())
	}
	if err := accepted(t.within); err != nil {
		return nil, err
	}
	return p.runHere(ctx, t, a.Host, around.place), nil
}

// noModule says why a module cannot be named by another island.
func (p *Prober) noModule(name string) string {
	if p.Modules()[name] != nil {
		return fmt.Sprintf("module %q is not open to other islands here; an operator of this island may name it in probe.islands.modules", name)
	}
	return fmt.Sprintf("there is no module %q here; built-in are %s", name, strings.Join(p.builtin.Names(), ", "))
}
