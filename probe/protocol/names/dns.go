package names

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
	blackbox "github.com/prometheus/blackbox_exporter/config"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// Table has the prober of this package by the name that a module gives as prober.
func Table() map[string]protocol.Func {
	return map[string]protocol.Func{"dns": DNS}
}

// probe is one question on its way.
type probe struct {
	ctx   context.Context
	req   *protocol.Request
	want  *blackbox.DNSProbe
	more  *definition.Resolver
	r     *protocol.Result
	watch *protocol.Watch // nil without TLS
	over  string
	from  netip.Addr
	ask   *dns.Msg
	// took is how long the question and its answer were on the way.
	took time.Duration
}

// DNS asks a name server one question.
func DNS(ctx context.Context, req *protocol.Request) *protocol.Result {
	p := &probe{ctx: ctx, req: req, want: &req.Module.DNS, more: &req.Module.Resolver, r: &protocol.Result{Start: time.Now()}}
	var answer *dns.Msg
	if p.prepare() {
		if s, ok := p.locate(); ok {
			answer = p.exchange(s)
			p.judge(answer, s)
		}
	}
	p.samples(answer)
	return p.r.Finish(&req.Module.Expect)
}

// prepare makes the question of what the module says.
func (p *probe) prepare() bool {
	if p.over = transport(p.want, p.more); p.over == "" {
		p.r.Fail(protocol.Internal, protocol.Resolve, "DNS over TLS needs transport_protocol tcp; udp, tcp, tls and https are known, not %.40q", p.want.TransportProtocol+p.more.Over)
		return false
	}
	if s := p.want.SourceIPAddress; s != "" {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			p.r.Fail(protocol.Internal, protocol.Connect, "read source_ip_address: %.100v", err)
			return false
		}
		p.from = addr
	}
	class, kind := uint16(dns.ClassINET), dns.TypeANY
	ok := true
	if p.want.QueryClass != "" {
		class, ok = dns.StringToClass[p.want.QueryClass]
	}
	if p.want.QueryType != "" && ok {
		kind, ok = dns.StringToType[p.want.QueryType]
	}
	if !ok {
		p.r.Fail(protocol.Internal, protocol.Sent, "query class %.20q or type %.20q is not known", p.want.QueryClass, p.want.QueryType)
		return false
	}
	p.ask = &dns.Msg{MsgHdr: dns.MsgHdr{Id: dns.Id(), RecursionDesired: p.want.Recursion}}
	p.ask.Question = []dns.Question{{Name: dns.Fqdn(p.want.QueryName), Qtype: kind, Qclass: class}}
	if p.more.DNSSEC {
		p.ask.SetEdns0(ednsSize, true)
		p.ask.AuthenticatedData = true // RFC 6840, 5.7: tell us whether it was checked
	}
	if p.over == overHTTPS {
		p.ask.Id = 0 // RFC 8484, 4.1: the same question can be cached
	}
	return true
}

// ednsSize is what arrives without being broken up; www.dnsflagday.net/2020.
const ednsSize = 1232

// The ways to a server.
const (
	overUDP   = "udp"
	overTCP   = "tcp"
	overTLS   = "tls"
	overHTTPS = "https"
)

// transport is resolver.over, or what blackbox_exporter's keys say; "" is a mistake.
func transport(want *blackbox.DNSProbe, more *definition.Resolver) string {
	over := more.Over
	if over == "" {
		over = want.TransportProtocol
		if over == "" {
			over = overUDP
		}
		if want.DNSOverTLS {
			if over != overTCP {
				return ""
			}
			over = overTLS
		}
		if over == overHTTPS {
			return ""
		}
	}
	switch over {
	case overUDP, overTCP, overTLS, overHTTPS:
		return over
	}
	return ""
}

// server is one that is asked.
type server struct {
	// text is as the module or target spells it.
	text string
	host string
	addr netip.AddrPort
	// url is for DNS over HTTPS.
	url *url.URL
}

// locate finds the address of the target.
func (p *probe) locate() (server, bool) {
	s, port, err := parseServer(p.req.Target, p.over)
	if err != nil {
		p.r.Fail(protocol.BadTarget, protocol.Resolve, "read the target: %.200v", err)
		return s, false
	}
	addr, ok := protocol.Address(p.ctx, p.req, s.host, p.want.IPProtocol, p.want.IPProtocolFallback, p.r)
	s.addr = netip.AddrPortFrom(addr, port)
	return s, ok
}

// parseServer reads host, host:port, or for HTTPS a URL.
func parseServer(text, over string) (server, uint16, error) {
	s := server{text: text}
	if over == overHTTPS {
		if !strings.Contains(text, "://") {
			text = "https://" + text
		}
		u, err := url.Parse(text)
		if err != nil {
			return s, 0, err
		}
		if u.Scheme != "https" {
			return s, 0, fmt.Errorf("scheme %q of %.100q is not https", u.Scheme, text)
		}
		if u.Path == "" || u.Path == "/" {
			u.Path = "/dns-query"
		}
		s.url, s.host = u, u.Hostname()
		port, err := portNumber(u.Port(), 443)
		return s, port, err
	}
	standard := uint16(53)
	if over == overTLS {
		standard = 853
	}
	host, portText, err := net.SplitHostPort(text)
	if err != nil {
		host, portText = strings.Trim(text, "[]"), ""
	}
	s.host = host
	port, err := portNumber(portText, standard)
	return s, port, err
}

func portNumber(text string, standard uint16) (uint16, error) {
	if text == "" {
		return standard, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err
}

// samples adds those of blackbox_exporter's dns prober, and what is ours after them.
func (p *probe) samples(answer *dns.Msg) {
	r := p.r
	if answer == nil {
		answer = &dns.Msg{}
	}
	r.Add("probe_dns_duration_seconds", r.Phases[protocol.Resolve].Seconds(), "phase", "resolve")
	r.Add("probe_dns_duration_seconds", (r.Phases[protocol.Connect] + r.Phases[protocol.TLS]).Seconds(), "phase", "connect")
	r.Add("probe_dns_duration_seconds", p.took.Seconds(), "phase", "request")
	r.Add("probe_dns_answer_rrs", float64(len(answer.Answer)))
	r.Add("probe_dns_authority_rrs", float64(len(answer.Ns)))
	r.Add("probe_dns_additional_rrs", float64(len(answer.Extra)))
	r.Add("probe_dns_query_succeeded", number(answer.Response))
	if !answer.Response {
		p.tls()
		return
	}
	p.keep(answer)
	if p.ask.Question[0].Qtype == dns.TypeSOA {
		serial := 0.0
		for _, rr := range answer.Answer {
			if soa, ok := rr.(*dns.SOA); ok {
				serial = float64(soa.Serial)
			}
		}
		r.Add("probe_dns_serial", serial)
	}
	r.Add("probe_dns_rcode", float64(answer.Rcode))
	r.Add("probe_dns_truncated", number(answer.Truncated))
	r.Add("probe_dns_authenticated_data", number(answer.AuthenticatedData))
	r.Add("probe_dns_authoritative", number(answer.Authoritative))
	if least, ok := leastTTL(answer); ok {
		r.Add("probe_dns_ttl_min_seconds", float64(least))
	}
	p.tls()
}

// keep keeps the records of an answer as text, a line for each: name, TTL, class, type
// and data with spaces between them.
func (p *probe) keep(answer *dns.Msg) {
	if p.req.Keep.Body == 0 {
		return
	}
	res := &protocol.Response{Status: rcodeName(answer.Rcode)}
	for _, rr := range answer.Answer {
		line := strings.Join(strings.Fields(rr.String()), " ")
		res.Size += int64(len(line)) + 1
		if len(res.Body)+len(line) < p.req.Keep.Body {
			if len(res.Body) > 0 {
				res.Body = append(res.Body, '\n')
			}
			res.Body = append(res.Body, line...)
		}
	}
	p.r.Response = res
}

func (p *probe) tls() {
	if p.watch == nil {
		return
	}
	if p.r.Reason.Code == "" {
		protocol.Certify(p.ctx, p.req, &p.req.Module.Certificate, p.watch.Chain(), p.r)
	}
	p.watch.Record(p.req.Keep, p.r)
}

func leastTTL(m *dns.Msg) (least uint32, ok bool) {
	for _, rr := range m.Answer {
		if ttl := rr.Header().Ttl; !ok || ttl < least {
			least, ok = ttl, true
		}
	}
	return least, ok
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
