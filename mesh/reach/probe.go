package reach

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/protocol/autonatv2"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

const (
	probeTimeout = 30 * time.Second
	// An address is probed again after probeEvery; one about which nothing is known
	// yet, and one that failed once, after probeSoon.
	probeEvery = 30 * time.Minute
	probeSoon  = time.Minute
	// While nobody can be asked it costs nothing to look again.
	probeNobody = 2 * time.Second
	// One failed dial-back may be the prober's fault; two are believed.
	believedFailures = 2
	maxProbes        = 8
)

// verdict is what dial-backs said about one address.
type verdict struct {
	reachable bool
	failures  int
	next      time.Time
}

// prober asks members to dial this island back, by AutoNAT v2, and serves others
// that ask.
type prober struct {
	log     *slog.Logger
	metrics *metrics
	key     crypto.PrivKey
	private bool // probe private addresses too, for tests on one machine
	wanted  func() []ma.Multiaddr
	learnt  func()
	kick    chan struct{}

	mu       sync.Mutex
	verdicts map[string]*verdict
}

func (p *prober) forget() {
	p.mu.Lock()
	clear(p.verdicts)
	p.mu.Unlock()
	poke(p.kick)
}

// known returns the believed verdicts by address bytes.
func (p *prober) known() map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]bool{}
	for a, v := range p.verdicts {
		if v.reachable || v.failures >= believedFailures {
			out[a] = v.reachable
		}
	}
	return out
}

// run probes and serves until ctx ends. Without key or swarm there is nothing to do.
func (p *prober) run(ctx context.Context, h host.Host) error {
	d, err := newDialer(p.key, h)
	if err != nil {
		return err
	}
	opts := []autonatv2.AutoNATOption{autonatv2.WithServerRateLimit(120, 12, 60, 2)}
	if p.private {
		opts = append(opts, autonatv2.AllowPrivateAddrs)
	}
	an, err := autonatv2.New(d, opts...)
	if err != nil {
		d.Close()
		return err
	}
	if err := an.Start(h); err != nil {
		d.Close()
		return err
	}
	defer an.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-p.kick:
		}
		timer.Reset(p.round(ctx, an))
	}
}

// round probes what is due and returns how long to wait.
func (p *prober) round(ctx context.Context, an *autonatv2.AutoNAT) time.Duration {
	now := time.Now()
	wait := probeEvery
	changed := false
	for _, a := range p.due(now) {
		got, err := p.ask(ctx, an, a)
		if ctx.Err() != nil {
			return wait
		}
		if errors.Is(err, autonatv2.ErrNoPeers) {
			// Nobody who could dial back is known yet, or all were asked within the last
			// two minutes.
			return probeNobody
		}
		changed = p.note(a, got, err, time.Now()) || changed
	}
	if changed {
		p.learnt()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range p.verdicts {
		wait = min(wait, max(time.Until(v.next), time.Second))
	}
	return wait
}

func (p *prober) due(now time.Time) []ma.Multiaddr {
	wanted := p.wanted() // looks at the verdicts itself
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []ma.Multiaddr
	for _, a := range wanted {
		if !p.private && !manet.IsPublicAddr(a) {
			continue
		}
		if v := p.verdicts[string(a.Bytes())]; v == nil || !now.Before(v.next) {
			out = append(out, a)
		}
		if len(out) == maxProbes {
			break
		}
	}
	return out
}

func (p *prober) ask(ctx context.Context, an *autonatv2.AutoNAT, a ma.Multiaddr) (network.Reachability, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	res, err := an.GetReachability(ctx, []autonatv2.Request{{Addr: a, SendDialData: true}})
	switch {
	case errors.Is(err, autonatv2.ErrNoPeers):
		return network.ReachabilityUnknown, err
	case err != nil:
		p.metrics.probes.WithLabelValues("error").Inc()
		p.log.Debug("dial-back gave no answer", "addr", a, "err", err)
		return network.ReachabilityUnknown, err
	case res.AllAddrsRefused:
		p.metrics.probes.WithLabelValues("refused").Inc()
		return network.ReachabilityUnknown, nil
	}
	p.metrics.probes.WithLabelValues(word(res.Reachability)).Inc()
	return res.Reachability, nil
}

// note records an answer and reports whether the believed verdict changed.
func (p *prober) note(a ma.Multiaddr, got network.Reachability, err error, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.verdicts) > 256 {
		clear(p.verdicts) // addresses come and go; what is still wanted is probed again
	}
	v := p.verdicts[string(a.Bytes())]
	if v == nil {
		v = &verdict{}
		p.verdicts[string(a.Bytes())] = v
	}
	before := [2]bool{v.reachable, v.failures >= believedFailures}
	v.next = now.Add(probeSoon)
	switch {
	case err == nil && got == network.ReachabilityPublic:
		v.reachable, v.failures, v.next = true, 0, now.Add(probeEvery)
	case err == nil && got == network.ReachabilityPrivate:
		v.failures++
		if v.failures >= believedFailures {
			v.reachable, v.next = false, now.Add(probeEvery)
		}
	}
	return before != [2]bool{v.reachable, v.failures >= believedFailures}
}
