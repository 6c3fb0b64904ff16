package gather

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// Of name servers at most so many are asked, and so much of their answers is kept.
const (
	mostSystem  = 3
	mostServers = 4 // authoritative ones
	mostRecords = 50
	mostRecord  = 512 // bytes
	mostSteps   = 8   // from the name up to where a zone begins

	exchangeTime = 3 * time.Second
)

type namesText struct {
	Host string `json:"host"`
	// Resolver is what this island's resolver said, which the probe goes by.
	Resolver resolverText `json:"resolver"`
	// Zone is where Host belongs, "" if it was not found.
	Zone    string       `json:"zone,omitempty"`
	Problem string       `json:"problem,omitempty"`
	Servers []serverText `json:"servers"`
}

type resolverText struct {
	Addresses []string `json:"addresses"`
	Error     string   `json:"error,omitempty"`
	Took      float64  `json:"tookMilliseconds"`
}

// serverText is what one name server said.
type serverText struct {
	// Role is system or authoritative.
	Role    string       `json:"role"`
	Name    string       `json:"name,omitempty"`
	Address string       `json:"address,omitempty"`
	Error   string       `json:"error,omitempty"`
	Answers []answerText `json:"answers,omitempty"`
}

type answerText struct {
	Type          string   `json:"type"`
	Code          string   `json:"code,omitempty"`
	Authoritative bool     `json:"authoritative"`
	Truncated     bool     `json:"truncated,omitempty"`
	Records       []string `json:"records"`
	Error         string   `json:"error,omitempty"`
	Took          float64  `json:"tookMilliseconds"`
}

const (
	roleSystem        = "system"
	roleAuthoritative = "authoritative"
)

// names asks the system's name servers and those of the zone for the target's name.
func (g *gathering) names(ctx context.Context) {
	host := g.host()
	if _, err := netip.ParseAddr(host); err == nil && g.Host != "" {
		host = g.Host
	}
	_, err := netip.ParseAddr(host)
	switch _, valid := dns.IsDomainName(host); {
	case host == "" || !valid:
		g.miss(namesFile, "the target has no host name")
		return
	case err == nil:
		g.miss(namesFile, "the target is an address, without a name")
		return
	}
	text := namesText{Host: host, Servers: []serverText{}}
	var parts sync.WaitGroup
	denied := make(chan bool, 1)
	parts.Go(func() {
		text.Resolver, err = g.resolve(ctx, host)
		denied <- errors.Is(err, protocol.ErrDenied)
	})
	// A name that must not be probed is not asked for: the resolver says so at once.
	select {
	case no := <-denied:
		if no {
			g.miss(namesFile, "%v", err)
			return
		}
	case <-time.After(deniedTime):
	}
	system := make([]serverText, min(len(g.NameServers), mostSystem))
	for i := range system {
		parts.Go(func() { system[i] = g.ask(ctx, serverText{Role: roleSystem}, g.NameServers[i], true, host) })
	}
	var zone []serverText
	parts.Go(func() { zone, text.Zone, text.Problem = g.authorities(ctx, host) })
	parts.Wait()
	text.Servers = append(append(text.Servers, system...), zone...)
	g.putJSON(namesFile, text)
}

// deniedTime is how long the guard has to refuse a name; it asks nobody for that.
const deniedTime = 100 * time.Millisecond

func (g *gathering) resolve(ctx context.Context, host string) (resolverText, error) {
	begun := time.Now()
	addrs, err := g.Resolver.LookupNetIP(ctx, "ip", host)
	t := resolverText{Addresses: []string{}, Took: milliseconds(time.Since(begun))}
	for _, a := range addrs[:min(len(addrs), mostRecords)] {
		t.Addresses = append(t.Addresses, a.String())
	}
	if err != nil {
		t.Error = cut(err.Error(), mostRecord)
	}
	return t, err
}

// authorities finds the zone of a name and asks its servers.
func (g *gathering) authorities(ctx context.Context, host string) (all []serverText, zone, problem string) {
	zone, servers, err := g.zone(ctx, host)
	if err != nil {
		return nil, "", cut(err.Error(), mostRecord)
	}
	all = make([]serverText, min(len(servers), mostServers))
	var parts sync.WaitGroup
	for i := range all {
		parts.Go(func() { all[i] = g.authority(ctx, servers[i], host) })
	}
	parts.Wait()
	return all, zone, ""
}

func (g *gathering) authority(ctx context.Context, name, host string) serverText {
	s := serverText{Role: roleAuthoritative, Name: cut(name, mostRecord)}
	within, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	addrs, err := g.Resolver.LookupNetIP(within, "ip", strings.TrimSuffix(name, "."))
	if err != nil || len(addrs) == 0 {
		s.Error = cut(fmt.Sprintf("find its address: %v", err), mostRecord)
		return s
	}
	at := addrs[0].Unmap()
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() { // that more machines can reach
			at = a
			break
		}
	}
	const port = 53
	return g.ask(ctx, s, netip.AddrPortFrom(at, port), false, host)
}

var errNoZone = errors.New("no name server of the system says where the zone of the name begins")

// zone goes up from a name until there are name servers.
func (g *gathering) zone(ctx context.Context, host string) (zone string, servers []string, err error) {
	at := dns.Fqdn(host)
	err = errNoZone
	for range mostSteps {
		if at == "." {
			break
		}
		var m *dns.Msg
		for _, server := range g.NameServers[:min(len(g.NameServers), mostSystem)] {
			if m, _, err = g.exchange(ctx, server, true, at, dns.TypeNS); err == nil {
				break
			}
		}
		if err != nil {
			return "", nil, fmt.Errorf("look for the zone of the name: %w", err)
		}
		if m == nil {
			break // there is no name server
		}
		for _, rr := range m.Answer {
			if ns, ok := rr.(*dns.NS); ok && strings.EqualFold(ns.Hdr.Name, at) {
				servers = append(servers, ns.Ns)
			}
		}
		if len(servers) > 0 {
			return at, servers, nil
		}
		next, end := dns.NextLabel(at, 0)
		if end {
			break
		}
		at = at[next:]
	}
	return "", nil, errNoZone
}

// ask asks one server for both kinds of address.
func (g *gathering) ask(ctx context.Context, s serverText, at netip.AddrPort, recursive bool, host string) serverText {
	s.Address = at.String()
	s.Answers = make([]answerText, 2)
	var parts sync.WaitGroup
	for i, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		parts.Go(func() {
			a := answerText{Type: dns.TypeToString[kind], Records: []string{}}
			m, took, err := g.exchange(ctx, at, recursive, dns.Fqdn(host), kind)
			a.Took = milliseconds(took)
			if err != nil {
				a.Error = cut(err.Error(), mostRecord)
			} else {
				a.Code, a.Authoritative, a.Truncated = dns.RcodeToString[m.Rcode], m.Authoritative, m.Truncated
				for _, rr := range m.Answer[:min(len(m.Answer), mostRecords)] {
					a.Records = append(a.Records, cut(rr.String(), mostRecord))
				}
			}
			s.Answers[i] = a
		})
	}
	parts.Wait()
	return s
}

// exchange asks one question. Recursive ones go to the machine's own servers, which the
// resolver asks as well; all others go through the guard.
func (g *gathering) exchange(ctx context.Context, at netip.AddrPort, recursive bool, name string, kind uint16) (m *dns.Msg, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	begun := time.Now()
	defer func() { took = time.Since(begun) }()
	var conn net.Conn
	if recursive {
		conn, err = new(net.Dialer).DialContext(ctx, "udp", at.String())
	} else {
		conn, err = g.Dialer.DialContext(ctx, "udp", at.String(), netip.Addr{})
	}
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close() // and not protocol.Bind's, which dns takes for a stream
	q := new(dns.Msg)
	q.SetQuestion(name, kind)
	q.RecursionDesired = recursive
	c := dns.Client{UDPSize: dns.MaxMsgSize, Timeout: exchangeTime}
	m, _, err = c.ExchangeWithConnContext(ctx, q, &dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize})
	if err == nil && (len(m.Question) != 1 || !strings.EqualFold(m.Question[0].Name, name) || m.Question[0].Qtype != kind) {
		return nil, 0, errors.New("the answer is to another question")
	}
	if err != nil {
		return nil, 0, err
	}
	return m, 0, nil
}

// SystemServers are the name servers that the machine is set up with.
func SystemServers(file string) ([]netip.AddrPort, error) {
	cfg, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the system's name servers: %w", err)
	}
	var out []netip.AddrPort
	for _, s := range cfg.Servers {
		if a, err := netip.ParseAddrPort(net.JoinHostPort(s, cfg.Port)); err == nil {
			out = append(out, a)
		}
	}
	return out, nil
}
