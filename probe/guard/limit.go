package guard

import (
	"fmt"
	"sync"
	"time"

	limit "golang.org/x/time/rate"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// Limiter bounds how often each caller may ask for a probe.
type Limiter struct {
	guard *Guard
	key   string
	now   func() time.Time

	mu      sync.Mutex
	rate    float64
	callers map[string]*limit.Limiter
}

// mostCallers bounds those that are told apart; who was idle is forgotten first.
const mostCallers = 4096

// burstSeconds is for how long a caller who was idle may save up.
const burstSeconds = 10

// Limit makes a Limiter of so many probes a second for each caller; 0 allows none. key
// is where an operator set it.
func (g *Guard) Limit(perSecond float64, key string) *Limiter {
	return &Limiter{guard: g, key: key, now: time.Now, rate: perSecond, callers: map[string]*limit.Limiter{}}
}

// Set changes the rate for everybody.
func (l *Limiter) Set(perSecond float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate != perSecond {
		l.rate, l.callers = perSecond, map[string]*limit.Limiter{}
	}
}

// Admit lets a caller have one more probe, or says why not.
func (l *Limiter) Admit(caller string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	of := l.callers[caller]
	if of == nil {
		l.forget(now)
		of = limit.NewLimiter(limit.Limit(l.rate), l.burst())
		l.callers[caller] = of
	}
	if l.rate > 0 && of.AllowN(now, 1) {
		return nil
	}
	l.guard.denied.WithLabelValues(AdHoc.String(), string(rate)).Inc()
	return fmt.Errorf("%w: %s asks for more than %g probes a second; wait, or have %s raised", protocol.ErrDenied, caller, l.rate, l.key)
}

func (l *Limiter) burst() int { return max(1, int(l.rate*burstSeconds)) }

// forget makes room: callers whose allowance is whole again lose nothing by it.
func (l *Limiter) forget(now time.Time) {
	if len(l.callers) < mostCallers {
		return
	}
	for c, of := range l.callers {
		if of.TokensAt(now) >= float64(of.Burst()) {
			delete(l.callers, c)
		}
	}
	for c := range l.callers { // all are busy: a flood of names; half of them, or each new one would look at all
		if len(l.callers) <= mostCallers/2 {
			return
		}
		delete(l.callers, c)
	}
}
