package gather

import (
	"context"
	"errors"
	"time"

	blackbox "github.com/prometheus/blackbox_exporter/config"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/evidence/capture"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// farthest is how many hops a trace goes at most. Hosts begin with 64 or more, which tells
// a trace's packets from those of the look.
const farthest = 30

// way looks for the way to the target's port where that is one of TCP, to its host else.
func (g *gathering) way(ctx context.Context) {
	addr, err := g.address(ctx)
	if err != nil {
		g.miss(traceFile, "%v", err)
		return
	}
	over, port := "icmp", uint16(0)
	if p := g.Address.Port(); p != 0 && g.transport() == "tcp" {
		over, port = "tcp", p
	}
	trace := func(over string, port uint16) *protocol.Result {
		m := &definition.Module{Module: blackbox.DefaultModule, Trace: definition.Trace{Over: over, Port: port, MaxHops: farthest}}
		m.Prober = "trace"
		return g.Trace(ctx, &protocol.Request{Target: addr.String(), Module: m, Dialer: g.Dialer, Resolver: g.Resolver})
	}
	r := trace(over, port)
	if r.Reason.Code == protocol.Unsupported && over == "icmp" {
		over = "udp" // which needs no right of its own
		r = trace(over, 0)
	}
	if len(r.Hops) == 0 {
		g.miss(traceFile, "%s", r.Reason)
		return
	}
	g.putJSON(traceFile, wayText(r, over, addr.String(), port))
}

type hopText struct {
	TTL       int      `json:"ttl"`
	Addresses []string `json:"addresses"`
	Sent      int      `json:"sent"`
	Lost      int      `json:"lost"`
	// RTT are milliseconds.
	RTT         []float64 `json:"rttMilliseconds"`
	MTU         int       `json:"mtu,omitempty"`
	Unreachable string    `json:"unreachable,omitempty"`
}

type traceText struct {
	To   string `json:"to"`
	Over string `json:"over"`
	Port uint16 `json:"port,omitempty"`
	// Reached tells that the target itself answered; Words where the way ends if not.
	Reached bool      `json:"reached"`
	Words   string    `json:"words,omitempty"`
	Hops    []hopText `json:"hops"`
}

func wayText(r *protocol.Result, over, to string, port uint16) traceText {
	t := traceText{To: to, Over: over, Port: port, Reached: r.Up, Words: r.Reason.Words}
	for _, h := range r.Hops {
		one := hopText{TTL: h.TTL, Addresses: []string{}, Sent: h.Sent, Lost: h.Lost, RTT: []float64{}, MTU: h.MTU, Unreachable: h.Unreachable}
		for _, a := range h.Addrs {
			one.Addresses = append(one.Addresses, a.String())
		}
		for _, d := range h.RTT {
			one.RTT = append(one.RTT, milliseconds(d))
		}
		t.Hops = append(t.Hops, one)
	}
	return t
}

// Bounds of a capture: of each packet the headers and the beginning of what it carries.
const (
	captureTime  = 15 * time.Second
	captureBytes = 2 << 20
	captureSnap  = 1600
	// captureRest is how long packets are waited for that the end of a connection makes.
	captureRest = 50 * time.Millisecond
)

// record begins to capture the packets of the look, and returns what ends it.
func (g *gathering) record(ctx context.Context) (end func()) {
	if !g.Capture {
		return func() {}
	}
	if !g.Address.IsValid() {
		g.miss(captureFile, "the probe did not come so far as to have an address")
		return func() {}
	}
	addr, err := g.address(ctx)
	if err != nil {
		g.miss(captureFile, "%v", err)
		return func() {}
	}
	flow := capture.Flow{Addr: addr, Protocol: g.transport(), Nearer: farthest, Port: g.Address.Port()}
	if flow.Protocol == "icmp" {
		flow.Port = 0
	}
	c, err := capture.Start(flow, capture.Limits{Time: captureTime, Bytes: captureBytes, Snap: captureSnap}, g.Comment)
	if err != nil {
		g.miss(captureFile, "%v", err)
		return func() {}
	}
	return func() {
		rest := time.NewTimer(captureRest)
		defer rest.Stop()
		select {
		case <-rest.C:
		case <-ctx.Done():
		}
		content, packets, left, err := c.Stop()
		if err = errors.Join(err, missed(packets)); err != nil {
			g.miss(captureFile, "%v", err)
			return
		}
		if left > 0 {
			g.miss(captureFile+" (rest)", "%d packets are in the file, %d did not find room", packets, left)
		}
		g.put(captureFile, content)
	}
}

func missed(packets int) error {
	if packets == 0 {
		return errors.New("there was no packet from or to the target")
	}
	return nil
}
