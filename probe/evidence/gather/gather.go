package gather

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/evidence"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// Order says what is to be found out.
type Order struct {
	// Target, Host and Module are as in a protocol.Request.
	Target, Host string
	Module       *definition.Module
	// Address is whom the target's last probe talked to, or tried to; invalid where it did
	// not come so far.
	Address netip.AddrPort
	// Failed is the result that this is about; nil on a vantage that sees nothing wrong.
	Failed *protocol.Result
	// Look probes the target once more, and Trace looks for the way to it.
	Look, Trace protocol.Func
	// Dialer and Resolver are the guarded way out, for Look and Trace too.
	Dialer   protocol.Dialer
	Resolver protocol.Resolver
	// NameServers are the system's.
	NameServers []netip.AddrPort
	// Capture records the packets of the look, with Comment in the file.
	Capture bool
	Comment string
}

// Found is what was found out.
type Found struct {
	Files   []evidence.File
	Missing map[string]string
	// Look is the result of the fresh look.
	Look *protocol.Result
}

// The files of a bundle.
const (
	lookFile       = "probe.json"
	traceFile      = "trace.json"
	namesFile      = "dns.json"
	chainFile      = "chain.json"
	pemFile        = "chain.pem"
	responseFile   = "response.txt"
	screenshotFile = "screenshot.jpg"
	captureFile    = "flow.pcapng"
)

// mostBytes is how much all files together may have, the capture apart.
const mostBytes = 1 << 20

// All gathers until it has everything or ctx ends.
func All(ctx context.Context, o Order) *Found {
	g := &gathering{Order: o, found: &Found{Missing: map[string]string{}}}
	var parts sync.WaitGroup
	for _, part := range []func(context.Context){g.look, g.way, g.names} {
		parts.Go(func() { part(ctx) })
	}
	parts.Wait()
	g.bound()
	return g.found
}

type gathering struct {
	Order
	mu    sync.Mutex
	found *Found
	// there is the address that the way and the packets are about, found out once.
	there sync.Once
	addr  netip.Addr
	none  error
}

func (g *gathering) put(name string, content []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.found.Files = append(g.found.Files, evidence.File{Name: name, Content: content})
}

func (g *gathering) putJSON(name string, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		g.miss(name, "%v", err)
		return
	}
	g.put(name, text)
}

func (g *gathering) miss(name, format string, args ...any) {
	const most = 1000 // bytes of a reason
	g.mu.Lock()
	defer g.mu.Unlock()
	g.found.Missing[name] = cut(fmt.Sprintf(format, args...), most)
}

// bound drops what is too much, the largest first.
func (g *gathering) bound() {
	for {
		sum, largest := 0, -1
		for i, f := range g.found.Files {
			if f.Name == captureFile {
				continue
			}
			sum += len(f.Content)
			if largest < 0 || len(f.Content) > len(g.found.Files[largest].Content) {
				largest = i
			}
		}
		if sum <= mostBytes {
			return
		}
		f := g.found.Files[largest]
		g.found.Files = append(g.found.Files[:largest:largest], g.found.Files[largest+1:]...)
		g.miss(f.Name, "it has %d bytes, with which all files have %d: at most %d are kept", len(f.Content), sum, mostBytes)
	}
}

const vouchTime = time.Second

var errNoAddress = errors.New("the target has no address")

// address is where the target is, as far as it may be known.
func (g *gathering) address(ctx context.Context) (netip.Addr, error) {
	g.there.Do(func() { g.addr, g.none = g.locate(ctx) })
	return g.addr, g.none
}

func (g *gathering) locate(ctx context.Context) (netip.Addr, error) {
	last := g.Address.Addr()
	if last.IsValid() && g.Dialer.Permit(last, g.Address.Port()) == nil {
		return last, nil
	}
	host := g.host()
	if host == "" {
		return netip.Addr{}, errNoAddress
	}
	// Also where the address is known: looking it up is what lets a name on the island's
	// list vouch for it. The look waits for that, so not for long.
	if last.IsValid() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, vouchTime)
		defer cancel()
	}
	preferred, fallback := g.Module.Families()
	scratch := &protocol.Result{}
	a, ok := protocol.Lookup(ctx, &protocol.Request{Resolver: g.Resolver}, host, preferred, fallback, scratch)
	switch {
	case last.IsValid():
		return last, g.Dialer.Permit(last, g.Address.Port())
	case !ok:
		return netip.Addr{}, errors.New(scratch.Reason.Words)
	}
	return a, g.Dialer.Permit(a, 0)
}

// host is the name or address in the target, "" where it has none.
func (g *gathering) host() string {
	if g.Module.Prober == "unix" {
		return ""
	}
	text := g.Target
	if _, _, ok := strings.Cut(text, "://"); ok {
		u, err := url.Parse(text)
		if err != nil {
			return ""
		}
		return u.Hostname()
	}
	text, _, _ = strings.Cut(text, "/")
	if host, _, err := net.SplitHostPort(text); err == nil {
		return host
	}
	return strings.Trim(text, "[]")
}

// transport is what the target's packets are of: tcp, udp or icmp.
func (g *gathering) transport() string {
	switch m := g.Module; m.Prober {
	case "icmp", "trace":
		return "icmp"
	case "udp", "ntp":
		return "udp"
	case "dns":
		over := m.Resolver.Over
		if over == "" {
			over = m.DNS.TransportProtocol
		}
		if over == "" || over == "udp" {
			return "udp"
		}
	case "http":
		if m.HTTP.UseHTTP3 {
			return "udp"
		}
	}
	return "tcp"
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func cut(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
