package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// Bounds of what is asked for at this moment.
const (
	longestTarget  = 2048
	longestWord    = 253 // module, host name, record type, who asks
	shortestRun    = 100 * time.Millisecond
	longestRun     = 60 * time.Second
	keptOfAnswer   = 4096 // bytes of a name server's records
	mostAnswerRows = 64
)

// Ask is what somebody wants probed at this moment.
type Ask struct {
	// Target is as people write it; of a URL that a protocol does not take, its host.
	// For dns it is the name to ask for, NAME@SERVER, or a server.
	Target string
	// Module is the name of a module or of a protocol; "" chooses by the target.
	Module string
	// Host replaces the host name in what is asked of the server.
	Host string
	// Record is the type of DNS record, "" for addresses.
	Record string
	// Timeout bounds the probe, 0 takes the module's.
	Timeout time.Duration
	// From selects the vantages.
	From definition.From
	// Caller is whom rates are counted for, and who is written down.
	Caller string
}

func (a *Ask) validate() error {
	var errs []error
	for _, f := range []struct {
		field, text string
		longest     int
	}{{"target", a.Target, longestTarget}, {"module", a.Module, longestWord}, {"hostname", a.Host, longestWord}, {"record", a.Record, longestWord}, {"caller", a.Caller, longestWord}} {
		if len(f.text) > f.longest || !utf8.ValidString(f.text) || strings.ContainsFunc(f.text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			errs = append(errs, fmt.Errorf("%s=%.60q: must be at most %d bytes that can be printed", f.field, f.text, f.longest))
		}
	}
	if a.Target == "" {
		errs = append(errs, errors.New("target: is empty; name a URL, a host or host:port"))
	}
	if a.Timeout != 0 && (a.Timeout < shortestRun || a.Timeout > longestRun) {
		errs = append(errs, fmt.Errorf("timeout=%s: must be from %s to %s", a.Timeout, shortestRun, longestRun))
	}
	return errors.Join(errs...)
}

// moduleFor chooses by the target where no module is named.
func moduleFor(target string) string {
	scheme, _, ok := strings.Cut(target, "://")
	switch {
	case ok && (scheme == "ws" || scheme == "wss"):
		return "websocket"
	case ok:
		return definition.DefaultModule
	}
	if _, _, err := net.SplitHostPort(target); err == nil {
		return "tcp_connect"
	}
	return definition.DefaultModule
}

// protocolModule is the built-in module that a protocol's name stands for where no
// module has that name itself.
func protocolModule(name string) string {
	switch name {
	case "http", "https":
		return definition.DefaultModule
	case "tcp":
		return "tcp_connect"
	case "ping":
		return "icmp"
	case "mtr", "traceroute":
		return "trace"
	case "smtp", "imap", "pop3":
		return name + "_starttls"
	}
	return name
}

// task is one probe, ready to run.
type task struct {
	module *definition.Module
	run    protocol.Func
	target string
	within time.Duration
}

// errNoModule is of names that no module has.
var errNoModule = errors.New("no such module")

// task makes a probe of what is asked for, out of the modules that may be used.
func (p *Prober) task(modules definition.Modules, a Ask) (task, error) {
	name := cmp.Or(a.Module, moduleFor(a.Target))
	m := modules[name]
	if m == nil {
		m = modules[protocolModule(name)]
	}
	if m == nil {
		return task{}, fmt.Errorf("%w: %q", errNoModule, name)
	}
	t := task{module: m, run: p.table[m.Prober], target: a.Target, within: cmp.Or(a.Timeout, m.Timeout, definition.DefaultTimeout)}
	t.within = min(t.within, longestRun)
	if t.run == nil {
		return task{}, fmt.Errorf("prober %q is not part of this program", m.Prober)
	}
	return t.aim(strings.ToUpper(a.Record))
}

// aim makes of a URL what the protocol takes.
func (t task) aim(record string) (task, error) {
	if t.module.Prober == "dns" {
		return t.ask(record)
	}
	if record != "" {
		return t, fmt.Errorf("record=%s: is for dns, the module's protocol is %s", record, t.module.Prober)
	}
	u, err := url.Parse(t.target)
	if !strings.Contains(t.target, "://") || err != nil || u.Host == "" {
		return t, nil
	}
	switch t.module.Prober {
	case "http", "websocket", "browser", "grpc", "unix", "trace":
	case "icmp", "ntp":
		t.target = u.Hostname()
	case "tcp", "tls":
		t.target = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), map[string]string{"http": "80", "ws": "80"}[u.Scheme], "443"))
	default:
		t.target = u.Host
	}
	return t, nil
}

// ask aims at name servers. A module that asks for the root, as the built-in ones do,
// has no name of its own to ask for.
func (t task) ask(record string) (task, error) {
	name, server, at := strings.Cut(t.target, "@")
	_, notAddress := netip.ParseAddr(strings.Trim(t.target, "[]"))
	_, _, noPort := net.SplitHostPort(t.target)
	aURL := strings.Contains(t.target, "://")
	named := aURL || notAddress != nil && noPort != nil
	at = at && !aURL
	switch general := t.module.DNS.QueryName == "."; {
	case !general && (at || record != ""):
		return t, fmt.Errorf("target=%.60q: the module asks for %s by itself; name a server", t.target, t.module.DNS.QueryName)
	case at && (name == "" || server == ""):
		return t, fmt.Errorf("target=%.60q: must be NAME@SERVER", t.target)
	case at:
		m := *t.module
		m.DNS.QueryName, m.DNS.QueryType = name, cmp.Or(record, "A")
		t.module, t.target = &m, server
	case general && t.module.Resolver.Over == "" && t.module.DNS.TransportProtocol != "tcp" && named:
		network, known := map[string]string{"": "ip", "A": "ip4", "AAAA": "ip6"}[record]
		if !known {
			return t, fmt.Errorf("record=%s: a vantage's own resolver is asked for addresses only; name a server, as in %s@192.0.2.53", record, hostOf(t.target))
		}
		t.target, t.run = hostOf(t.target), lookUp(network)
	case record != "":
		return t, fmt.Errorf("record=%s: of which name? write it as NAME@%s", record, t.target)
	}
	return t, nil
}

// lookUp asks the vantage's own resolver for the addresses of a name. Those that may
// not be probed are not told: they would draw a map of a network of somebody's own.
func lookUp(network string) protocol.Func {
	return func(ctx context.Context, r *protocol.Request) *protocol.Result {
		res := &protocol.Result{Start: time.Now()}
		addrs, err := r.Resolver.LookupNetIP(ctx, network, r.Target)
		res.Phases[protocol.Resolve] = time.Since(res.Start)
		if err != nil {
			return res.FailError(protocol.Resolve, "look up "+r.Target, err)
		}
		var denied error
		rows := make([]string, 0, len(addrs))
		for _, a := range addrs {
			if err := r.Dialer.Permit(a, 0); err != nil {
				denied = err
				continue
			}
			rows = append(rows, a.Unmap().String())
		}
		switch {
		case len(rows) > 0:
			res.Up = true
			res.Response = &protocol.Response{Body: []byte(strings.Join(rows[:min(len(rows), mostAnswerRows)], "\n"))}
		case denied != nil:
			res.Fail(protocol.Denied, protocol.Resolve, "%s: has addresses only that may not be probed; an operator of this island may open them with probe.allow_ad_hoc", r.Target)
		default:
			res.Fail(protocol.NoAddress, protocol.Resolve, "%s: has no address", r.Target)
		}
		return res
	}
}
