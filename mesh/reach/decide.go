package reach

import (
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// maxAdvertised bounds what peers are told: identify and signed records are small.
const maxAdvertised = 24

// evidence is all that is known about how others can reach this island.
type evidence struct {
	config   string
	announce []ma.Multiaddr // set by the operator
	own      []ma.Multiaddr // of interfaces that are listened on
	observed []ma.Multiaddr // by peers
	nats     map[family]nat
	// verdicts of dial-backs, by the address's bytes; absent where not known.
	verdicts map[string]bool
}

// decision is what follows from the evidence.
type decision struct {
	reach network.Reachability
	why   string
	// add are addresses to advertise beyond those of interfaces.
	add []ma.Multiaddr
	// drop are addresses that dial-backs have shown to lead nowhere.
	drop map[string]bool
}

// decide is a pure function. IPv4 decides: an island that only IPv6 reaches is
// private to those without it, so it keeps relays, and advertises both.
func decide(e evidence) decision {
	d := decision{reach: network.ReachabilityPrivate, drop: map[string]bool{}}
	nat4 := behindNAT(e.nats)
	var v4, v6 string
	consider := func(a ma.Multiaddr, assume bool, what string) {
		verdict, probed := e.verdicts[string(a.Bytes())]
		switch {
		case probed && !verdict:
			d.drop[string(a.Bytes())] = true
			return
		case probed:
			what = "a dial-back reached " + a.String()
		case !assume:
			return
		default:
			what = fmt.Sprintf("%s %s", what, a)
		}
		d.add = append(d.add, a)
		if e, ok := endpointOf(a); ok && e.family().v6 {
			v6 = what
		} else if v4 == "" || probed {
			v4 = what
		}
	}
	for _, a := range e.announce {
		consider(a, true, "the configuration announces")
	}
	has4 := false
	for _, a := range e.own {
		end, ok := endpointOf(a)
		if !ok {
			continue
		}
		has4 = has4 || !end.family().v6
		if manet.IsPublicAddr(a) && len(e.announce) == 0 {
			consider(a, end.family().v6 || !nat4, "an interface has the public address")
		}
	}
	for _, a := range e.observed {
		if manet.IsPublicAddr(a) {
			consider(a, false, "")
		}
	}
	switch {
	case v4 != "":
		d.reach, d.why = network.ReachabilityPublic, v4
	case v6 != "" && !has4:
		d.reach, d.why = network.ReachabilityPublic, v6
	case v6 != "":
		d.why = "reachable over IPv6 only: " + v6
	case len(d.drop) > 0:
		d.why = "dial-backs reached none of the public addresses"
	case nat4:
		d.why = "a NAT is in between: peers see another address than this machine has"
	default:
		d.why = "no interface has a public address"
	}
	switch e.config {
	case Public:
		d.reach, d.why = network.ReachabilityPublic, "the configuration says so"
		d.drop = map[string]bool{}
	case Private:
		d.reach, d.why = network.ReachabilityPrivate, "the configuration says so"
	}
	return d
}

// advertise turns the host's own list (interfaces, relays) into what peers are told.
func (d decision) advertise(host []ma.Multiaddr, announce []ma.Multiaddr) []ma.Multiaddr {
	var out, circuits []ma.Multiaddr
	for _, a := range host {
		if relayed(a) {
			circuits = append(circuits, a)
		} else {
			out = append(out, a)
		}
	}
	if len(announce) > 0 {
		out = append(slices.Clone(announce), slices.DeleteFunc(out, manet.IsPublicAddr)...)
	}
	out = unique(append(out, d.add...))
	out = slices.DeleteFunc(out, func(a ma.Multiaddr) bool { return d.drop[string(a.Bytes())] })
	if room := maxAdvertised - len(circuits); len(out) > room && room > 0 {
		out = out[:room]
	}
	return append(usable(out), circuits...)
}

// probes lists the addresses that dial-backs should be asked for: those that are
// claimed, and those that may be reachable by a port forward.
func (e evidence) probes() []ma.Multiaddr {
	var out []ma.Multiaddr
	out = append(out, e.announce...)
	ports := map[family]string{}
	for _, a := range e.own {
		if end, ok := endpointOf(a); ok {
			ports[end.family()] = end.port
		}
	}
	out = append(out, e.own...)
	for _, a := range e.observed {
		out = append(out, a)
		if end, ok := endpointOf(a); ok && ports[end.family()] != "" {
			out = append(out, withPort(a, ports[end.family()]))
		}
	}
	return unique(out)
}
