package protocol

import (
	"context"
	"errors"
	"hash/fnv"
	"net"
	"net/netip"
	"time"
)

// Address finds the address of host that is to be probed: of the preferred family
// ("ip4" or "ip6", "" means ip6), or with fallback of the other one if there is none.
// It times the phase Resolve and adds the three samples that blackbox_exporter has
// for it. An address in place of a name asks nobody. Where it answers false, r says
// why.
func Address(ctx context.Context, req *Request, host, preferred string, fallback bool, r *Result) (netip.Addr, bool) {
	start := time.Now()
	addr, fail := choose(ctx, req.Resolver, host, preferred, fallback)
	took := time.Since(start)
	r.Phases[Resolve] += took
	r.Add("probe_ip_protocol", family(addr))
	r.Add("probe_dns_lookup_time_seconds", took.Seconds())
	r.Add("probe_ip_addr_hash", addrHash(addr))
	if fail != nil {
		fail(r)
		return netip.Addr{}, false
	}
	return addr, true
}

// Lookup is Address without its samples, for names that turn up later in a probe.
func Lookup(ctx context.Context, req *Request, host, preferred string, fallback bool, r *Result) (netip.Addr, bool) {
	start := time.Now()
	addr, fail := choose(ctx, req.Resolver, host, preferred, fallback)
	r.Phases[Resolve] += time.Since(start)
	if fail != nil {
		fail(r)
		return netip.Addr{}, false
	}
	return addr, true
}

// choose returns the address, or what to write into the result.
func choose(ctx context.Context, resolver Resolver, host, preferred string, fallback bool) (netip.Addr, func(*Result)) {
	want4 := preferred == "ip4"
	if host == "" {
		return netip.Addr{}, func(r *Result) { r.Fail(BadTarget, Resolve, "the target has no host") }
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap()
		if addr.Is4() != want4 && !fallback {
			return netip.Addr{}, func(r *Result) {
				r.Fail(NoAddress, Resolve, "%s is no %s address, which the module asks for", addr, familyName(want4))
			}
		}
		return addr, nil
	}
	network := "ip"
	if !fallback {
		network = networkOf(want4)
	}
	addrs, err := resolver.LookupNetIP(ctx, network, host)
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() == want4 {
			return a, nil
		}
	}
	if err == nil && fallback && len(addrs) > 0 {
		return addrs[0].Unmap(), nil
	}
	if !fallback && (err == nil || notFound(err)) {
		// Told apart from a name that does not exist at all, which is another mistake.
		if others, _ := resolver.LookupNetIP(ctx, networkOf(!want4), host); len(others) > 0 {
			return netip.Addr{}, func(r *Result) {
				r.Fail(NoAddress, Resolve, "%.100q has no %s address, only %s", host, familyName(want4), others[0].Unmap())
			}
		}
	}
	if err == nil {
		return netip.Addr{}, func(r *Result) { r.Fail(NoAddress, Resolve, "%.100q has no address", host) }
	}
	return netip.Addr{}, func(r *Result) { r.failLookup(host, err) }
}

func (r *Result) failLookup(host string, err error) {
	var d *net.DNSError
	switch {
	case errors.Is(err, ErrDenied):
		r.Fail(Denied, Resolve, "look up %.100q: %v", host, err)
	case isTimeout(err):
		r.Fail(ResolveTimeout, Resolve, "no name server told the address of %.100q in time", host)
	case errors.As(err, &d) && d.IsNotFound:
		r.Fail(ResolveFailed, Resolve, "the name %.100q does not exist", host)
	case errors.As(err, &d):
		r.Fail(ResolveFailed, Resolve, "look up %.100q: %.200s", host, d.Err)
	default:
		r.Fail(ResolveFailed, Resolve, "look up %.100q: %.200v", host, err)
	}
}

func notFound(err error) bool {
	var d *net.DNSError
	var a *net.AddrError
	return errors.As(err, &d) && d.IsNotFound || errors.As(err, &a)
}

func networkOf(v4 bool) string {
	if v4 {
		return "ip4"
	}
	return "ip6"
}

func familyName(v4 bool) string {
	if v4 {
		return "IPv4"
	}
	return "IPv6"
}

func family(a netip.Addr) float64 {
	switch {
	case a.Is4():
		return 4
	case a.Is6():
		return 6
	}
	return 0
}

// addrHash is blackbox_exporter's: FNV-1a of the address' bytes.
func addrHash(a netip.Addr) float64 {
	if !a.IsValid() {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write(a.AsSlice())
	return float64(h.Sum32())
}
