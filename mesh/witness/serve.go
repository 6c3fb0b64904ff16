package witness

import (
	"context"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

// Look looks at an island for somebody who cannot reach it. Only members are
// looked at, and only for members.
func (w *Witness) Look(ctx context.Context, r *meshpb.LookRequest) (*meshpb.LookResponse, error) {
	target, err := trust.KeyOf(r.GetKey())
	if err != nil {
		return nil, w.refuse("malformed", codes.InvalidArgument, "look: key: %v", err)
	}
	caller, ok := w.o.Caller(ctx)
	if !ok {
		return nil, w.refuse("stranger", codes.PermissionDenied, "look: the caller is not known to be a member")
	}
	if target == w.o.Self {
		return &meshpb.LookResponse{Reached: true, HeardMs: w.o.Clock().UnixMilli(), Alone: w.Alone()}, nil
	}
	v, f, answer, err := w.lookFor(caller, target)
	if err != nil || answer != nil {
		return answer, err
	}
	select {
	case w.served <- struct{}{}:
		defer func() { <-w.served }()
	default:
		return nil, w.refuse("busy", codes.ResourceExhausted, "look: %d looks for others are under way; ask again later", servedAtOnce)
	}
	timeout := time.Duration(w.cfg.LookTimeout)
	if ms := r.GetTimeoutMs(); ms > 0 && ms < timeout.Milliseconds() {
		timeout = time.Duration(ms) * time.Millisecond
	}
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-f.done:
	case <-t.C:
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	return w.saw(v, f), nil
}

// lookFor checks the request against the limits, answers from what is fresh, or
// begins a look.
func (w *Witness) lookFor(caller, target trust.Key) (*view, *flight, *meshpb.LookResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if _, ok := w.views[caller]; !ok {
		return nil, nil, nil, w.refuse("stranger", codes.PermissionDenied, "look: the caller is no member")
	}
	v, ok := w.views[target]
	if !ok {
		return nil, nil, nil, w.refuse("not_member", codes.NotFound, "look: %s is no member", target)
	}
	if !w.limiter(caller).AllowN(now, 1) {
		return nil, nil, nil, w.refuse("limited", codes.ResourceExhausted, "look: more than %v requests per second from one island; ask again later", w.cfg.CallerPerSecond)
	}
	if !v.heard.IsZero() && now.Sub(v.heard) < time.Duration(w.cfg.LookTimeout) {
		w.m.served.WithLabelValues("reached").Inc()
		return nil, nil, w.answer(v, true, "", now), nil
	}
	// One look answers all who ask within its time.
	if v.flight == nil && v.failures > 0 && now.Sub(v.missed) < time.Duration(w.cfg.LookTimeout) {
		w.report(v, now)
		w.m.served.WithLabelValues("not_reached").Inc()
		return nil, nil, w.answer(v, false, v.err, now), nil
	}
	favour := v.flight == nil && v.next.IsZero()
	f := w.look(v, now)
	if f != nil && favour {
		f.favour = true
	}
	if f == nil {
		return nil, nil, nil, w.refuse("stopping", codes.Unavailable, "look: this island is starting or stopping")
	}
	return v, f, nil, nil
}

// saw answers with the outcome of a look, or says that it takes too long.
func (w *Witness) saw(v *view, f *flight) *meshpb.LookResponse {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	select {
	case <-f.done:
	default:
		w.m.served.WithLabelValues("not_reached").Inc()
		return w.answer(v, false, "the look takes longer than was asked for", now)
	}
	if f.err == nil {
		w.m.served.WithLabelValues("reached").Inc()
		return w.answer(v, true, "", now)
	}
	w.report(v, now)
	w.m.served.WithLabelValues("not_reached").Inc()
	return w.answer(v, false, brief(f.err.Error()), now)
}

// report takes in that the caller has looked at v in vain for a while and now
// this island did, too: the first speaker asks others at once.
func (w *Witness) report(v *view, now time.Time) {
	if v.failures == 0 || v.state >= Suspect || w.stated(v.Key) || w.views[v.Key] != v {
		return
	}
	if w.rank(v.Key) == 0 {
		w.suspect(v, now)
	}
}

func (w *Witness) answer(v *view, reached bool, why string, now time.Time) *meshpb.LookResponse {
	a := &meshpb.LookResponse{Reached: reached, Error: why, Alone: !w.alone.IsZero()}
	if reached {
		a.RttUs = v.rtt.Microseconds()
	}
	if !v.heard.IsZero() {
		a.HeardMs = w.wall(v.heard, now).UnixMilli()
	}
	return a
}

func (w *Witness) limiter(caller trust.Key) *rate.Limiter {
	l, ok := w.callers[caller]
	if !ok {
		l = rate.NewLimiter(rate.Limit(w.cfg.CallerPerSecond), callerBurst)
		w.callers[caller] = l
	}
	return l
}

func (w *Witness) refuse(reason string, code codes.Code, format string, args ...any) error {
	w.m.served.WithLabelValues(reason).Inc()
	return status.Errorf(code, format, args...)
}
