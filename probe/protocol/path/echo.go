package path

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

const (
	// defaultPayload bytes are blackbox_exporter's.
	defaultPayload  = 28
	defaultInterval = 200 * time.Millisecond
	// maxCount bounds a module's echo.count.
	maxCount = 1000
)

// Echo pings a host, by module keys icmp and echo.
func (p *Path) Echo(ctx context.Context, r *protocol.Request) *protocol.Result {
	res := &protocol.Result{Start: time.Now()}
	e := &echoes{ctx: ctx, path: p, icmp: r, res: res}
	e.run()
	res.Finish(&r.Module.Expect)
	res.Up = res.Reason.Code == ""
	return res
}

// echoes is one probe.
type echoes struct {
	ctx  context.Context
	path *Path
	icmp *protocol.Request
	res  *protocol.Result

	to, source netip.Addr
	socket     *socket
	setup      time.Duration
	size       int

	sent     int
	rtts     []time.Duration // in the order in which they were sent, of those that came back
	hopLimit int
	refused  *answer
}

func (e *echoes) run() {
	m := e.icmp.Module
	if e.prepare() {
		e.exchange()
	}
	e.record()
	e.judge()
	if m.Echo.MTU && len(e.rtts) > 0 {
		e.measureMTU()
	}
}

// prepare finds the address and opens the socket.
func (e *echoes) prepare() bool {
	m := &e.icmp.Module.ICMP
	host := strings.TrimSuffix(strings.TrimPrefix(e.icmp.Target, "["), "]")
	to, ok := protocol.Address(e.ctx, e.icmp, host, m.IPProtocol, m.IPProtocolFallback, e.res)
	if !ok {
		return false
	}
	e.to = to
	e.res.Address = netip.AddrPortFrom(to, 0)
	if m.SourceIPAddress != "" {
		source, err := netip.ParseAddr(m.SourceIPAddress)
		if err != nil || source.Unmap().Is4() != to.Is4() {
			e.res.Fail(protocol.BadTarget, protocol.Resolve, "icmp.source_ip_address is %q: want an address of the target's family", m.SourceIPAddress)
			return false
		}
		e.source = source.Unmap()
	}
	if err := e.icmp.Dialer.Permit(to, 0); err != nil {
		e.res.FailError(protocol.Connect, "ping "+to.String(), err)
		return false
	}
	start := time.Now()
	s, err := e.path.socket(kind{v6: to.Is6(), df: m.DontFragment})
	e.setup = time.Since(start)
	e.res.Phases[protocol.Connect] = e.setup
	if err != nil {
		unsupported(e.res, err)
		return false
	}
	e.socket = s
	e.size = m.PayloadSize
	if e.size == 0 {
		e.size = defaultPayload
	}
	return true
}

func echoCount(m *definition.Echo) int { return min(max(m.Count, 1), maxCount) }

// exchange sends all echoes and waits for what comes back.
func (e *echoes) exchange() {
	m := &e.icmp.Module.Echo
	count, interval := echoCount(m), time.Duration(m.Interval)
	if interval <= 0 {
		interval = defaultInterval
	}
	answers := make(chan answer, 4*count)
	tickets := make([]ticket, count)
	rtts := make([]time.Duration, count)
	open := 0
	for i := range tickets {
		t := &tickets[i]
		*t = ticket{tag: i, to: e.to, answers: answers}
		if err := e.socket.send(t, e.source, e.icmp.Module.ICMP.TTL, e.size); err != nil {
			e.socket.leave(t)
			what := fmt.Sprintf("send an echo of %d bytes to %s", e.size, e.to)
			if errors.Is(err, syscall.EMSGSIZE) {
				e.res.Fail(protocol.TooLarge, protocol.Sent, "%s: the own link takes no packet of that size whole", what)
			} else {
				e.res.FailError(protocol.Sent, what, err)
			}
			break
		}
		defer e.socket.leave(t)
		e.sent++
		open++
		wait := interval
		if i == count-1 {
			wait = math.MaxInt64
		}
		e.collect(answers, rtts, &open, wait, i == count-1)
	}
	for _, rtt := range rtts {
		if rtt > 0 {
			e.rtts = append(e.rtts, rtt)
		}
	}
}

// collect takes answers until wait is over or, after the last echo, all are there:
// of those that are missing none is waited for much longer than the slowest took.
func (e *echoes) collect(answers <-chan answer, rtts []time.Duration, open *int, wait time.Duration, last bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for *open > 0 || !last {
		if last {
			if slowest := slowestOf(rtts); slowest > 0 {
				timer.Reset(max(2*slowest, 500*time.Millisecond))
			}
		}
		select {
		case a := <-answers:
			if rtts[a.tag] != 0 {
				continue // a duplicate
			}
			*open--
			if a.fate != answered {
				rtts[a.tag], e.refused = -1, &a
				continue
			}
			rtts[a.tag] = a.rtt
			if a.hopLimit > 0 {
				e.hopLimit = a.hopLimit
			}
		case <-timer.C:
			return
		case <-e.ctx.Done():
			return
		}
	}
}

func slowestOf(rtts []time.Duration) (most time.Duration) {
	for _, d := range rtts {
		most = max(most, d)
	}
	return most
}

// record adds the samples: first those of blackbox_exporter.
func (e *echoes) record() {
	st := summarize(e.rtts)
	e.res.Phases[protocol.FirstByte] = st.mean
	e.res.Add("probe_icmp_duration_seconds", e.res.Phases[protocol.Resolve].Seconds(), "phase", "resolve")
	e.res.Add("probe_icmp_duration_seconds", e.setup.Seconds(), "phase", "setup")
	e.res.Add("probe_icmp_duration_seconds", st.mean.Seconds(), "phase", "rtt")
	if e.hopLimit > 0 {
		e.res.Add("probe_icmp_reply_hop_limit", float64(e.hopLimit))
	}
	if e.sent == 0 {
		return
	}
	e.res.Add("probe_icmp_packets_sent", float64(e.sent))
	e.res.Add("probe_icmp_packets_received", float64(len(e.rtts)))
	e.res.Add("probe_icmp_loss_ratio", 1-float64(len(e.rtts))/float64(e.sent))
	if len(e.rtts) == 0 {
		return
	}
	e.res.Add("probe_icmp_rtt_seconds", st.min.Seconds(), "stat", "min")
	e.res.Add("probe_icmp_rtt_seconds", st.mean.Seconds(), "stat", "avg")
	e.res.Add("probe_icmp_rtt_seconds", st.max.Seconds(), "stat", "max")
	e.res.Add("probe_icmp_rtt_seconds", st.deviation.Seconds(), "stat", "stddev")
	e.res.Add("probe_icmp_jitter_seconds", st.jitter.Seconds())
}

func (e *echoes) judge() {
	if e.sent == 0 || e.res.Reason.Code != "" {
		return
	}
	m := &e.icmp.Module.Echo
	st := summarize(e.rtts)
	lost := e.sent - len(e.rtts)
	loss := float64(lost) / float64(e.sent)
	switch {
	case len(e.rtts) == 0 && e.refused != nil:
		e.res.Fail(protocol.Unreachable, protocol.FirstByte, "%s", e.refused.words(e.to.Is6()))
	case len(e.rtts) == 0:
		e.res.Fail(protocol.RequestTimeout, protocol.FirstByte, "none of %d echoes came back from %s in time", e.sent, e.to)
	case loss > m.MaxLoss:
		e.res.Fail(protocol.Loss, protocol.FirstByte, "%d of %d echoes were lost (%.0f %%), want at most %.0f %%", lost, e.sent, 100*loss, 100*m.MaxLoss)
	case m.MaxJitter > 0 && st.jitter > time.Duration(m.MaxJitter):
		e.res.Fail(protocol.Slow, protocol.FirstByte, "the jitter is %s, want at most %s", st.jitter.Round(time.Microsecond), m.MaxJitter)
	}
}

// words tell a refusal.
func (a *answer) words(v6 bool) string {
	switch a.fate {
	case expired:
		return fmt.Sprintf("the hop limit was used up at %s", a.from)
	case tooBig:
		return fmt.Sprintf("%s passes on %d bytes at most, and the packet must not be cut", a.from, a.mtu)
	}
	_, words := refusal(v6, a.code)
	return fmt.Sprintf("%s says: %s", a.from, words)
}
