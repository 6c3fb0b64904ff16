package enrol

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

// RenewerOptions is what a Renewer works with. Home, Trust and Health are required.
type RenewerOptions struct {
	Home  *trust.Home
	Trust func() *trust.State
	// Conns reaches other islands; Local signs here where this island holds a signer key.
	Conns Conns
	Local *Authority
	// Changed is called after each new certificate, to show it to the peers.
	Changed func()
	// Now is the wall clock, time.Now where nil.
	Now        func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Health     *health.List
}

const (
	// look is how often the wall clock is compared: timers stand still while a
	// machine sleeps, and the clock may be set.
	look       = 15 * time.Second
	backoffMin = 5 * time.Second
	backoffMax = 5 * time.Minute
)

// Renewer keeps this island's certificate fresh.
type Renewer struct {
	opts      RenewerOptions
	registrar registrar
	metrics   *renewerMetrics
	warnings  renewerWarnings
	wake      chan struct{}

	// The rest belongs to Run.
	serial  uint64        // of the certificate that spread is for
	spread  time.Duration // after half life, so that islands that came together part
	backoff time.Duration
	notTill time.Time // of the next attempt, monotonic
	got     time.Time // of the last success, monotonic
	signed  time.Time // the signer's clock then
	skewed  bool      // by that, this island's clock is wrong
	steady  bool      // and it has not jumped since
	wall    time.Time // wall clock at the last look
	mono    time.Time
}

// NewRenewer starts nothing.
func NewRenewer(o RenewerOptions) (*Renewer, error) {
	if o.Home == nil || o.Trust == nil || o.Health == nil {
		return nil, errors.New("BUG: enrol.NewRenewer: Home, Trust and Health are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Renewer{
		opts:      o,
		registrar: registrar{home: o.Home, trust: o.Trust, conns: o.Conns, local: o.Local},
		metrics:   newRenewerMetrics(o.Registerer), warnings: declareRenewer(o.Health), wake: make(chan struct{}, 1),
	}, nil
}

// Wake makes Run look again at once: after a change of trust, or a new
// connection. It never blocks.
func (r *Renewer) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run renews at half of each certificate's life until ctx ends. Where nobody
// can be reached it tries on, more and more rarely, down to every five minutes.
func (r *Renewer) Run(ctx context.Context) error {
	defer r.clear()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
			// Something changed: what failed before may work now.
			r.notTill = time.Time{}
		case <-timer.C:
		}
		timer.Reset(r.step(ctx))
	}
}

func (r *Renewer) clear() {
	r.warnings.expiring.Clear()
	r.warnings.expired.Clear()
	r.warnings.outside.Clear()
	r.warnings.clock.Clear()
}

func (r *Renewer) now() time.Time { return r.opts.Now().Round(0) }

// step renews if it is time to, and returns how long to wait.
func (r *Renewer) step(ctx context.Context) time.Duration {
	c := r.opts.Home.Certificate()
	if c == nil {
		return look
	}
	r.noticeSleep()
	invalid := r.opts.Trust().CheckCertificate(c, r.opts.Home.Node().Public(), r.now())
	if !r.due(c, invalid) {
		r.warn(c, invalid)
		return look
	}
	if wait := time.Until(r.notTill); wait > 0 {
		r.warn(c, invalid)
		return min(wait, look)
	}
	err := r.renew(ctx, c, invalid != nil)
	if ctx.Err() != nil {
		return look
	}
	if err != nil {
		r.fail(err)
	}
	if c = r.opts.Home.Certificate(); c == nil {
		return look // this island has left meanwhile
	}
	r.warn(c, r.opts.Trust().CheckCertificate(c, r.opts.Home.Node().Public(), r.now()))
	return min(look, max(time.Until(r.notTill), 0)+time.Millisecond)
}

// noticeSleep forgets the wait between attempts when the wall clock moved
// further than time went by: the machine slept, or its clock was set.
func (r *Renewer) noticeSleep() {
	wall, mono := r.now(), time.Now()
	if jump := wall.Sub(r.wall) - mono.Sub(r.mono); !r.wall.IsZero() && (jump > time.Minute || jump < -time.Minute) {
		r.notTill, r.steady = time.Time{}, false
	}
	r.wall, r.mono = wall, mono
}

// due decides by the wall clock, which is what others judge the certificate by.
func (r *Renewer) due(c *trust.Certificate, invalid error) bool {
	life := c.NotAfter.Sub(c.NotBefore)
	if c.Serial != r.serial {
		r.serial, r.spread = c.Serial, rand.N(life/20+1)
	}
	if invalid != nil {
		// With a clock that is wrong here every certificate looks out of its time: one
		// that was just issued is good where it counts.
		fresh := r.skewed && r.steady && time.Since(r.got) < life/2 && r.opts.Trust().IsSigner(c.Signer)
		return !fresh
	}
	return !r.now().Before(c.RenewAt().Add(r.spread))
}

func (r *Renewer) renew(ctx context.Context, old *trust.Certificate, invalid bool) error {
	fresh, err := r.registrar.certificate(ctx, r.opts.Home.Node().Public(), ask{
		here: func(ctx context.Context, a *Authority) (*trustpb.Certificate, error) {
			return a.Renew(ctx, r.opts.Home.Node().Public())
		},
		there: func(ctx context.Context, m meshpb.MembershipClient) (*trustpb.Certificate, error) {
			res, err := m.Renew(ctx, &meshpb.RenewRequest{})
			return res.GetCertificate(), err
		},
	})
	if err != nil {
		return err
	}
	if !invalid && !fresh.NotAfter.After(old.NotAfter) {
		return fmt.Errorf("certificate: ends at %s, not after the present one; compare the clocks of the islands that sign", fresh.NotAfter.Format(time.RFC3339))
	}
	if err := r.opts.Home.SetCertificate(fresh); err != nil {
		return err
	}
	r.got, r.backoff, r.notTill = time.Now(), 0, time.Now().Add(backoffMin)
	r.signed, r.steady = fresh.NotBefore, true
	skew := r.skew()
	r.skewed = differs(skew)
	if r.skewed {
		r.warnings.clock.Set("this machine's clock differs by %s from that of the island that signed (%s)", skew.Round(time.Second), fresh.Signer)
	} else {
		r.warnings.clock.Clear()
	}
	r.metrics.attempts.WithLabelValues("renewed").Inc()
	r.opts.Logger.Info("certificate renewed", "not_after", fresh.NotAfter, "signer", fresh.Signer)
	r.opts.Changed()
	return nil
}

// skew is by how much the wall clock is ahead of the last signer's, had that
// gone on since.
func (r *Renewer) skew() time.Duration { return r.now().Sub(r.signed.Add(time.Since(r.got))) }

func differs(skew time.Duration) bool {
	return skew > trust.ClockTolerance || skew < -trust.ClockTolerance
}

func (r *Renewer) fail(err error) {
	r.backoff = min(max(2*r.backoff, backoffMin), backoffMax)
	wait := r.backoff/2 + rand.N(r.backoff/2)
	r.notTill = time.Now().Add(wait)
	r.metrics.attempts.WithLabelValues("failed").Inc()
	r.opts.Logger.Warn("certificate not renewed", "error", err, "retry_in", wait)
}

// warn says what an operator should know about the certificate as it is now. A
// certificate that looks out of its time by a wrong clock is the clock's trouble.
func (r *Renewer) warn(c *trust.Certificate, invalid error) {
	r.metrics.notAfter.Set(float64(c.NotAfter.UnixMilli()) / 1000)
	if r.skewed && !differs(r.skew()) {
		r.skewed = false
		r.warnings.clock.Clear()
	}
	outside := r.outside()
	if outside == "" {
		r.warnings.outside.Clear()
	} else {
		r.warnings.outside.Set("%s", outside)
	}
	left, life := c.NotAfter.Sub(r.now()), c.NotAfter.Sub(c.NotBefore)
	switch {
	case outside != "":
		r.warnings.expired.Clear()
		r.warnings.expiring.Clear()
	case invalid != nil && !r.skewed:
		r.warnings.expired.Set("%v", invalid)
		r.warnings.expiring.Clear()
	case invalid == nil && left < life/4:
		r.warnings.expiring.Set("the certificate ends at %s, in %s", c.NotAfter.Format(time.RFC3339), left.Round(time.Minute))
		r.warnings.expired.Clear()
	default:
		r.warnings.expired.Clear()
		r.warnings.expiring.Clear()
	}
}

// outside says why this island is no member, by the documents that it holds; it is
// empty for a member.
func (r *Renewer) outside() string {
	state, own := r.opts.Trust(), r.opts.Home.Node().Public()
	switch state.Standing(own) {
	case trust.MemberStanding:
		return ""
	case trust.Revoked:
		d, _ := state.Revocation(own)
		return fmt.Sprintf("revoked by %s at %s, reason %q", d.By, d.At.Format(time.RFC3339), d.Reason)
	case trust.Left:
		return "it has left"
	}
	return fmt.Sprintf("nobody with the right to vouches for its key %s: the signer that admitted it or replaced its key is trusted no more", own)
}
