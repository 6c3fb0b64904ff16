package path

import (
	"context"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

const (
	defaultRounds  = 3
	defaultMaxHops = 30
	defaultWait    = time.Second
	maxRounds      = 20
	mostHops       = 64
	// pace is the time between two packets of a round, roundGap that between two rounds:
	// routers answer some packets at once and then, as a rule, one a second.
	pace     = 3 * time.Millisecond
	roundGap = 200 * time.Millisecond

	udpPort = 33434
	tcpPort = 443
)

// carrier sends the packets of a trace and hands what comes back to the channel it was
// made with.
type carrier interface {
	// send sends packet number tag. size is that of the IP packet in bytes, 0 for the
	// smallest; a carrier that has no sizes gives errNoSize.
	send(tag, hopLimit, size int) error
	close()
}

// target is where a trace leads, and with what.
type target struct {
	addr  netip.Addr
	port  uint16
	wait  time.Duration
	count int // packets at most
}

// Trace looks for the way to a host, by module key trace.
func (p *Path) Trace(ctx context.Context, r *protocol.Request) *protocol.Result {
	res := &protocol.Result{Start: time.Now()}
	t := &trace{ctx: ctx, req: r, res: res}
	if t.prepare(p) {
		t.run()
		t.carrier.close()
		t.record()
	}
	res.Finish(&r.Module.Expect)
	res.Up = res.Reason.Code == ""
	return res
}

type trace struct {
	ctx     context.Context
	req     *protocol.Request
	res     *protocol.Result
	to      target
	rounds  int
	most    int
	carrier carrier
	answers chan answer

	sent []time.Time // of each tag; zero for none
	done []bool
	hops []protocol.Hop // by distance, from 1
	// distance of the target, 0 while unknown; end is that of a router that passes
	// nothing on, 0 for none.
	distance, end int
}

func (t *trace) prepare(p *Path) bool {
	m := &t.req.Module.Trace
	host, port, err := traceTarget(t.req.Target, m)
	if err != nil {
		t.res.Fail(protocol.BadTarget, protocol.Resolve, "%v", err)
		return false
	}
	icmp := &t.req.Module.ICMP
	addr, ok := protocol.Address(t.ctx, t.req, host, icmp.IPProtocol, icmp.IPProtocolFallback, t.res)
	if !ok {
		return false
	}
	t.res.Address = netip.AddrPortFrom(addr, port)
	if err := t.req.Dialer.Permit(addr, port); err != nil {
		t.res.FailError(protocol.Connect, "trace the way to "+addr.String(), err)
		return false
	}
	t.rounds, t.most = bounded(m.Rounds, defaultRounds, maxRounds), bounded(m.MaxHops, defaultMaxHops, mostHops)
	wait := time.Duration(m.Wait)
	if wait <= 0 {
		wait = defaultWait
	}
	t.to = target{addr: addr, port: port, wait: wait, count: t.rounds*t.most + mtuTries}
	t.sent, t.done = make([]time.Time, t.to.count), make([]bool, t.to.count)
	t.answers = make(chan answer, 2*t.to.count)
	t.hops = make([]protocol.Hop, t.most)
	source := netip.Addr{}
	if icmp.SourceIPAddress != "" {
		if source, err = netip.ParseAddr(icmp.SourceIPAddress); err != nil {
			t.res.Fail(protocol.BadTarget, protocol.Resolve, "icmp.source_ip_address is %q: want an IP address", icmp.SourceIPAddress)
			return false
		}
	}
	if t.carrier, err = p.carry(m.Over, t.to, source, t.answers); err != nil {
		unsupported(t.res, err)
		return false
	}
	return true
}

func bounded(n, otherwise, most int) int {
	if n <= 0 {
		return otherwise
	}
	return min(n, most)
}

// traceTarget reads a host, host:port or URL; the port of the module, or the target's,
// or the protocol's.
func traceTarget(text string, m *definition.Trace) (host string, port uint16, err error) {
	host = text
	if _, rest, ok := strings.Cut(text, "://"); ok {
		host, _, _ = strings.Cut(rest, "/")
	}
	if h, p, err := net.SplitHostPort(host); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return "", 0, fmt.Errorf("target is %q: its port is no number", text)
		}
		host, port = h, uint16(n)
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	switch {
	case m.Over == "" || m.Over == "icmp":
		return host, 0, nil
	case m.Port != 0:
		return host, m.Port, nil
	case m.Over == "udp":
		return host, udpPort, nil
	case m.Over == "tcp" && port == 0:
		return host, tcpPort, nil
	case m.Over == "tcp":
		return host, port, nil
	}
	return "", 0, fmt.Errorf("trace.over is %q: use icmp, udp or tcp", m.Over)
}

func (p *Path) carry(over string, to target, source netip.Addr, answers chan<- answer) (carrier, error) {
	switch over {
	case "udp":
		return openUDP(to, source, answers)
	case "tcp":
		return openTCP(to, source, answers)
	}
	s, err := p.socket(kind{v6: to.addr.Is6(), df: true})
	if err != nil {
		return nil, err
	}
	return &echoCarrier{socket: s, to: to.addr, source: source, answers: answers, tickets: make([]*ticket, to.count)}, nil
}

// run sends the rounds, which overlap: a round of hops that all wait for an answer
// that does not come takes as long as one of them.
func (t *trace) run() {
	for round := range t.rounds {
		begun := time.Now()
		for hop := 1; hop <= t.reach(); hop++ {
			if !t.sendHop(round, hop) {
				return
			}
			t.listen(time.Now().Add(pace), false)
		}
		if round < t.rounds-1 {
			t.listen(begun.Add(roundGap), false)
		}
	}
	t.listen(time.Now().Add(t.to.wait), true)
	if t.distance > 0 {
		t.findMTU()
	}
}

// reach is how far packets are worth sending.
func (t *trace) reach() int {
	switch {
	case t.distance > 0:
		return t.distance
	case t.end > 0:
		return t.end
	}
	return t.most
}

func (t *trace) tag(round, hop int) int { return round*t.most + hop - 1 }

func (t *trace) sendHop(round, hop int) bool {
	tag := t.tag(round, hop)
	t.sent[tag] = time.Now()
	if err := t.carrier.send(tag, hop, 0); err != nil {
		t.sent[tag] = time.Time{}
		t.res.FailError(protocol.Sent, "send a packet to "+t.to.addr.String(), err)
		return false
	}
	return true
}

// listen takes answers until a time, or until nothing is awaited any more if all.
func (t *trace) listen(until time.Time, all bool) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for !all || t.awaited() {
		select {
		case a := <-t.answers:
			t.take(a)
		case <-timer.C:
			return
		case <-t.ctx.Done():
			return
		}
	}
}

// awaited reports whether a packet is under way that says something still unknown.
func (t *trace) awaited() bool {
	for tag, sent := range t.sent {
		if !sent.IsZero() && !t.done[tag] && tag%t.most < t.reach() && tag < t.rounds*t.most && time.Since(sent) < t.to.wait {
			return true
		}
	}
	return false
}

func (t *trace) take(a answer) {
	if a.tag < 0 || a.tag >= t.rounds*t.most || t.done[a.tag] || a.rtt > t.to.wait {
		return
	}
	t.done[a.tag] = true
	distance := a.tag%t.most + 1
	h := &t.hops[distance-1]
	h.RTT = append(h.RTT, a.rtt)
	if a.from.IsValid() && !slices.Contains(h.Addrs, a.from) {
		h.Addrs = append(h.Addrs, a.from)
	}
	there := a.fate == answered || a.from == t.to.addr && a.fate == unreachable
	switch {
	case there && (t.distance == 0 || distance < t.distance):
		t.distance = distance
	case a.fate == unreachable && !there:
		h.Unreachable, _ = refusal(t.to.addr.Is6(), a.code)
		if t.end == 0 || distance < t.end {
			t.end = distance
		}
	case a.fate == tooBig:
		h.MTU = a.mtu
	}
}

// record makes the hops and the samples of what was learnt.
func (t *trace) record() {
	last := t.reach()
	for round := range t.rounds {
		for hop := 1; hop <= last; hop++ {
			tag := t.tag(round, hop)
			if t.sent[tag].IsZero() {
				continue
			}
			t.hops[hop-1].Sent++
			if !t.done[tag] {
				t.hops[hop-1].Lost++
			}
		}
	}
	if t.distance == 0 && t.end == 0 {
		last = t.lastHeard() + 1
	}
	last = min(last, t.most)
	for i := range last {
		t.hops[i].TTL = i + 1
	}
	t.res.Hops = t.hops[:last]
	t.samples()
	if t.distance > 0 {
		t.res.Phases[protocol.FirstByte] = summarize(t.hops[t.distance-1].RTT).mean
		return
	}
	t.res.Fail(protocol.Unreachable, protocol.FirstByte, "%s", t.lost())
}

func (t *trace) lastHeard() int {
	for i := len(t.hops) - 1; i >= 0; i-- {
		if len(t.hops[i].RTT) > 0 {
			return i + 1
		}
	}
	return 0
}

// lost says where the way ends.
func (t *trace) lost() string {
	at := t.lastHeard()
	switch {
	case t.end > 0:
		h := t.hops[t.end-1]
		return fmt.Sprintf("hop %d, %s, passes nothing on to %s: %s", t.end, addresses(h.Addrs), t.to.addr, h.Unreachable)
	case at == 0:
		return fmt.Sprintf("no router on the way to %s answers", t.to.addr)
	}
	return fmt.Sprintf("nothing answers beyond hop %d, %s, on the way to %s", at, addresses(t.hops[at-1].Addrs), t.to.addr)
}

func addresses(addrs []netip.Addr) string {
	words := make([]string, len(addrs))
	for i, a := range addrs {
		words[i] = a.String()
	}
	return strings.Join(words, " or ")
}

func (t *trace) samples() {
	t.res.Add("probe_trace_reached", b2f(t.distance > 0))
	t.res.Add("probe_trace_hops", float64(len(t.res.Hops)))
	hash := fnv.New32a()
	for _, h := range t.res.Hops {
		if len(h.Addrs) > 0 {
			_, _ = hash.Write(h.Addrs[0].AsSlice())
		}
		_, _ = hash.Write([]byte{byte(h.TTL)})
	}
	t.res.Add("probe_trace_path_hash", float64(hash.Sum32()))
	for _, h := range t.res.Hops {
		hop := strconv.Itoa(h.TTL)
		if h.Sent > 0 {
			t.res.Add("probe_trace_hop_loss_ratio", float64(h.Lost)/float64(h.Sent), "hop", hop)
		}
		if len(h.RTT) > 0 {
			t.res.Add("probe_trace_hop_rtt_seconds", summarize(h.RTT).mean.Seconds(), "hop", hop)
		}
		if len(h.Addrs) > 0 {
			t.res.Add("probe_trace_hop_info", 1, "hop", hop, "address", h.Addrs[0].String())
		}
		if h.MTU > 0 {
			t.res.Add("probe_trace_hop_mtu_bytes", float64(h.MTU), "hop", hop)
		}
	}
}

func b2f(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
