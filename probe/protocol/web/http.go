package web

import (
	"context"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	blackbox "github.com/prometheus/blackbox_exporter/config"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// Table has the probers of this package by the name that a module gives as prober.
func Table() map[string]protocol.Func {
	return map[string]protocol.Func{"http": HTTP, "websocket": Socket, "grpc": GRPC}
}

// probe is one probe on its way.
type probe struct {
	ctx    context.Context
	req    *protocol.Request
	module *definition.Module
	want   *blackbox.HTTPProbe
	r      *protocol.Result
	// jar is made when the first cookie comes.
	jar *cookiejar.Jar
	// jumps are the URLs that redirected, for the words about a circle.
	jumps []string
	seen  seen
}

// seen is what the samples tell of the last answer.
type seen struct {
	status    int
	length    int64 // as the headers say, -1 unknown
	size      int64 // of the body, as it was before compression
	redirects int
	version   float64
	modified  time.Time
	watch     *protocol.Watch // nil without TLS
	badRegexp bool
	badCEL    bool
}

// HTTP asks a web server.
func HTTP(ctx context.Context, req *protocol.Request) *protocol.Result {
	p := &probe{ctx: ctx, req: req, module: req.Module, want: &req.Module.HTTP, r: &protocol.Result{Start: time.Now()}}
	p.r.Samples = make([]protocol.Sample, 0, 24)
	if first, ok := p.first(); ok {
		if len(p.module.Flow) > 0 {
			p.flow(first)
		} else if a, followed := p.follow(first); a != nil {
			p.judge(a, followed)
			a.done()
		}
	}
	if w := p.seen.watch; w != nil && p.r.Reason.Code == "" {
		p.certify(w)
	}
	p.samples()
	return p.r.Finish(&p.module.Expect)
}

// certify asks more of the certificate where the module wants to know more.
func (p *probe) certify(w *protocol.Watch) {
	c := &p.module.Certificate
	if c.ExpiresAfter == 0 && c.Revocation == "" && len(c.Fingerprints) == 0 {
		return
	}
	chain := w.Chain()
	protocol.Certify(p.ctx, p.req, c, chain, p.r)
	if p.req.Keep.Chain {
		p.r.Chain = chain
	}
}

// first makes the request to the target itself, with its address found.
func (p *probe) first() (*ask, bool) {
	target, err := parseTarget(p.req.Target, p.want.UseHTTP3)
	if err != nil {
		p.r.Fail(protocol.BadTarget, protocol.Resolve, "read the target as a URL: %.200v", err)
		return nil, false
	}
	host := target.Hostname()
	a := &ask{Request: &http.Request{Method: p.want.Method, URL: target, Host: target.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}, name: host}
	if a.Method == "" {
		a.Method = http.MethodGet
	}
	if !p.want.SkipResolvePhaseWithProxy || !proxied(p.want) {
		var ok bool
		if a.addr, ok = protocol.Address(p.ctx, p.req, host, p.want.IPProtocol, p.want.IPProtocolFallback, p.r); !ok {
			return nil, false
		}
	}
	if err := p.fill(a); err != nil {
		p.r.Fail(protocol.Internal, protocol.Sent, "make the request: %.300v", err)
		return nil, false
	}
	return a, true
}

// follow sends a request, and others as long as answers redirect. It answers nil
// where there is no answer to judge, and whether a redirect was left where it was.
func (p *probe) follow(a *ask) (*answer, bool) {
	initial := a
	for via := 1; ; via++ {
		p.seen = seen{redirects: p.seen.redirects, badRegexp: p.seen.badRegexp}
		ans, ok := p.exchange(a)
		if !ok {
			return nil, false
		}
		if !redirects(ans.Response) {
			return ans, true
		}
		p.seen.redirects = via
		p.jumps = append(p.jumps, a.URL.String())
		if !p.want.HTTPClientConfig.FollowRedirects {
			return ans, false
		}
		if via > maxRedirects {
			if !p.fine(ans.StatusCode) {
				p.circle()
			}
			return ans, false
		}
		next, err := p.redirect(initial, a, ans)
		ans.done()
		if err != nil {
			p.seen = seen{redirects: p.seen.redirects}
			p.r.Fail(protocol.Malformed, protocol.Transfer, "follow the redirect: %.200v", err)
			return nil, false
		}
		a = next
	}
}

// maxRedirects are followed before giving up, as blackbox_exporter does.
const maxRedirects = 10

// parseTarget reads a URL, or what follows http:// in one.
func parseTarget(target string, http3 bool) (*url.URL, error) {
	if !hasScheme(target) {
		target = "http://" + target
	}
	if http3 && len(target) > 7 && target[:7] == "http://" {
		target = "https://" + target[7:]
	}
	return url.Parse(target)
}

func hasScheme(target string) bool {
	return len(target) >= 7 && target[:7] == "http://" || len(target) >= 8 && target[:8] == "https://"
}

// portOf is the port that a URL leads to.
func portOf(u *url.URL) (uint16, error) {
	if port := u.Port(); port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		return uint16(n), err
	}
	if u.Scheme == "https" || u.Scheme == "wss" {
		return 443, nil
	}
	return 80, nil
}

// ask is one request to be sent.
type ask struct {
	*http.Request
	// addr is the address of the URL's host, invalid where it is still to be found.
	addr netip.Addr
	// name is what the certificate must be for.
	name string
	// body is sent again where a redirect asks for it.
	body []byte
}

// answer is what came back; done closes all that it holds.
type answer struct {
	*http.Response
	// first is when its first byte came.
	first time.Time
	// raw is the text of the headers where they are kept.
	raw  []byte
	done func()
}
