package probe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/guard"
	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/schedule"
	"github.com/atoll-mesh/atoll/probe/verdict"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

const (
	// mostAsks run at once for this island's own callers, each from mostVantages.
	mostAsks, mostVantages = 16, 200
	// acceptWithin is how long a vantage has until it begins, answerWithin how long its
	// result is on the way; mostReplies bounds what it may say.
	acceptWithin, answerWithin, mostReplies = 10 * time.Second, 3 * time.Second, 4
)

// Refusal is why nothing was probed, with the status of HTTP that says so.
type Refusal struct {
	Status int
	Err    error
}

func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns the reason.
func (r *Refusal) Unwrap() error { return r.Err }

// Ask has vantages probe what somebody wants to know now, and hands each event over as
// it comes, from one goroutine. It returns a *Refusal where nothing is probed. What
// runs elsewhere ends with ctx.
func (p *Prober) Ask(ctx context.Context, a Ask, emit func(RunEvent)) error {
	plan, t, around, err := p.planRun(a)
	if err != nil {
		p.m.adHoc.WithLabelValues("here", RunRefused).Inc()
		return err
	}
	leave, err := p.admitRun(a, plan)
	if err != nil {
		p.m.adHoc.WithLabelValues("here", RunRefused).Inc()
		return err
	}
	running := p.m.running.WithLabelValues("here")
	running.Inc()
	defer func() { running.Dec(); leave() }()
	emit(RunEvent{Plan: plan})
	request := &probepb.RunRequest{
		Target: a.Target, Module: plan.Module, Host: a.Host, Record: a.Record, TimeoutMs: a.Timeout.Milliseconds(), Caller: a.Caller,
	}
	results := make(chan *RunResult)
	var all sync.WaitGroup
	for _, name := range plan.Vantages {
		all.Go(func() {
			if name == around.self.Name {
				results <- heard(name, p.runHere(ctx, t, a.Host, around.place))
				return
			}
			results <- p.runThere(ctx, name, request)
		})
	}
	go func() { all.Wait(); close(results) }()
	count := tally{begun: time.Now()}
	for r := range results {
		p.m.adHoc.WithLabelValues("here", r.State).Inc()
		count.add(r)
		emit(RunEvent{Result: r})
	}
	emit(RunEvent{End: count.end(len(plan.Vantages))})
	return nil
}

// planRun finds out what is to be done, by whom.
func (p *Prober) planRun(a Ask) (*RunPlan, task, surroundings, error) {
	around := p.surroundings()
	refused := func(status int, err error) (*RunPlan, task, surroundings, error) {
		return nil, task{}, around, &Refusal{Status: status, Err: err}
	}
	if err := a.validate(); err != nil {
		return refused(http.StatusBadRequest, err)
	}
	t, err := p.task(p.Modules(), a)
	if errors.Is(err, errNoModule) {
		return refused(http.StatusBadRequest, fmt.Errorf("module=%.60q: this island has none of that name; there are %s", a.Module, strings.Join(p.Modules().Names(), ", ")))
	}
	if err != nil {
		return refused(http.StatusBadRequest, err)
	}
	members := around.members
	if a.From.This {
		members = slices.DeleteFunc(slices.Clone(members), func(m schedule.Member) bool { return m.Name != around.self.Name })
	}
	name := a.Module
	if name == "" {
		name = moduleFor(a.Target)
	}
	plan := &RunPlan{
		Target: a.Target, Module: name, Prober: t.module.Prober, At: time.Now().UTC(), Timeout: t.within.Seconds(),
		Vantages: schedule.NewSpread(a.From, members).Chosen(a.Target),
	}
	switch n := len(plan.Vantages); {
	case n == 0:
		return refused(http.StatusBadRequest, fmt.Errorf("from=%.100q: no island that probes is selected; there are %s", a.From.Selector, namesOf(around.members)))
	case n > mostVantages:
		return refused(http.StatusBadRequest, fmt.Errorf("from: %d islands are selected; at most %d probe at once: narrow it, or use spread", n, mostVantages))
	}
	return plan, t, around, nil
}

func namesOf(members []schedule.Member) string {
	const few = 12
	var all []string
	for _, m := range members {
		all = append(all, m.Name)
	}
	if len(all) > few {
		all = append(all[:few], fmt.Sprintf("and %d more", len(all)-few))
	}
	return strings.Join(all, ", ")
}

// admitRun holds a caller to what may be asked, and writes down what is.
func (p *Prober) admitRun(a Ask, plan *RunPlan) (leave func(), err error) {
	if err := p.limiter.Admit(a.Caller); err != nil {
		return nil, &Refusal{http.StatusTooManyRequests, err}
	}
	if leave, err = p.asks.enter(a.Caller); err != nil {
		return nil, &Refusal{http.StatusTooManyRequests, err}
	}
	detail := fmt.Sprintf("module %s, from %s", plan.Module, strings.Join(plan.Vantages, ", "))
	if n := len(plan.Vantages); n > 1 {
		detail = fmt.Sprintf("module %s, from %d vantages: %s", plan.Module, n, strings.Join(plan.Vantages, ", "))
	}
	if err := p.ledger.note(entry{a.Caller, "probe", a.Target, detail}); err != nil {
		leave()
		return nil, &Refusal{http.StatusServiceUnavailable, err}
	}
	return leave, nil
}

// runHere probes from this island.
func (p *Prober) runHere(ctx context.Context, t task, host string, place map[string]string) *probepb.RunResult {
	r := p.probe(ctx, t.run, t.within, p.guard.For(guard.AdHoc), &protocol.Request{
		Target: t.target, Host: host, Module: t.module, Keep: protocol.Keep{Body: keptOfAnswer},
	})
	return resultOf(t, r, place)
}

var errNoBeginning = errors.New("it did not begin in time")

// runThere has another island probe.
func (p *Prober) runThere(ctx context.Context, name string, request *probepb.RunRequest) *RunResult {
	if p.opts.Runs == nil {
		return unheard(name, errors.New("there is no network"))
	}
	client, err := p.opts.Runs(name)
	if err != nil {
		return unheard(name, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(acceptWithin, func() { cancel(errNoBeginning) })
	defer late.Stop()
	stream, err := client.Run(ctx, request)
	for range mostReplies {
		if err != nil {
			break
		}
		var reply *probepb.RunReply
		if reply, err = stream.Recv(); err != nil {
			break
		}
		if result := reply.GetResult(); result != nil {
			return heard(name, result)
		}
		if accepted := reply.GetAccepted(); accepted != nil {
			within := min(max(0, accepted.GetTimeoutMs()), longestRun.Milliseconds())
			late.Reset(time.Duration(within)*time.Millisecond + answerWithin)
		}
	}
	switch cause := context.Cause(ctx); {
	case err == nil:
		err = errors.New("it answered without a result")
	case cause != nil:
		err = cause
	}
	return unheard(name, err)
}

// unheard is of a vantage that does not probe, or whose answer did not come.
func unheard(vantage string, err error) *RunResult {
	r := &RunResult{Vantage: vantage, State: RunSilent, Words: err.Error()}
	if s, ok := grpcstatus.FromError(err); ok {
		r.Words = s.Message()
		if _, own, ok := strings.Cut(r.Words, " of "+vantage+": "); ok { // which call of whom is plain
			r.Words = own
		}
		switch s.Code() {
		case codes.PermissionDenied, codes.InvalidArgument, codes.ResourceExhausted, codes.FailedPrecondition, codes.NotFound:
			r.State = RunRefused
		case codes.Unimplemented:
			r.State, r.Words = RunRefused, "it runs a version that does not probe for others; upgrade it"
		}
	}
	r.Words = printable(r.Words, mostWords)
	return r
}

// tally counts results, and judges by them.
type tally struct {
	judge verdict.Judge
	sum   RunEnd
	begun time.Time
}

func (c *tally) add(r *RunResult) {
	vote := verdict.Vote{Vantage: verdict.Vantage{Name: r.Vantage, Region: r.Region, Country: r.Country, ISP: r.ISP}, At: c.begun, Code: r.Reason, Words: r.Words}
	switch r.State {
	case RunUp:
		vote.State = verdict.Up
		c.sum.Up++
	case RunSlow:
		vote.State = verdict.Degraded
		c.sum.Slow++
	case RunDown:
		vote.State = verdict.Down
		c.sum.Down++
	case RunRefused:
		c.sum.Refused++
		return
	default:
		c.sum.Silent++
		return
	}
	c.judge.Vote(vote)
}

func (c *tally) end(expected int) *RunEnd {
	e := &c.sum
	v := c.judge.Verdict(verdict.Rules{Quorum: definition.Quorum{}, Fresh: time.Hour, Expected: expected}, time.Now())
	e.State, e.Words, e.Took = v.State.String(), v.Words, time.Since(c.begun).Seconds()
	if c.judge.Votes() == 0 {
		e.Words = "nobody can tell"
	}
	for _, more := range []struct {
		n    int
		what string
	}{{e.Refused, "refused"}, {e.Silent, "did not answer"}} {
		if more.n > 0 {
			e.Words += fmt.Sprintf("; %d %s", more.n, more.what)
		}
	}
	return e
}

// crowd bounds how much goes on at once, in all and for each.
type crowd struct {
	most, each int

	mu  sync.Mutex
	all int
	by  map[string]int
}

func (c *crowd) enter(who string) (leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[string]int{}
	}
	if c.all >= c.most || c.by[who] >= c.each {
		return nil, fmt.Errorf("%w: %d are running, %d of them for %s; at most %d and %d do at once: wait", protocol.ErrDenied, c.all, c.by[who], who, c.most, c.each)
	}
	c.all++
	c.by[who]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all--
		if c.by[who]--; c.by[who] == 0 {
			delete(c.by, who)
		}
	}, nil
}

func (p *Prober) flushLedger(everything bool) {
	if err := p.ledger.flush(everything); err != nil {
		p.log.Error("write down who probed what", "err", err)
	}
}
