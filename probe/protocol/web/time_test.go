package web

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// slow is a network where everything takes its time, of the bubble's clock.
type slow struct{ names }

func (s slow) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	time.Sleep(7 * time.Millisecond)
	return s.names.LookupNetIP(ctx, network, host)
}

func (slow) Permit(netip.Addr, uint16) error { return nil }

// DialContext reaches a server that redirects from / to /end, and takes 100 ms to
// begin an answer and 300 ms more to end the last one.
func (slow) DialContext(context.Context, string, string, netip.Addr) (net.Conn, error) {
	time.Sleep(40 * time.Millisecond)
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		r, err := http.ReadRequest(bufio.NewReader(there))
		if err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
		if r.URL.Path == "/" {
			_, _ = io.WriteString(there, "HTTP/1.1 302 Found\r\nLocation: http://other.test/end\r\nContent-Length: 0\r\n\r\n")
			return
		}
		_, _ = io.WriteString(there, okay+"Content-Length: 4\r\n\r\nab")
		time.Sleep(300 * time.Millisecond)
		_, _ = io.WriteString(there, "cd")
	}()
	return here, nil
}

func TestPhases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := slow{local}
		probe := func(expect string, limit time.Duration) *protocol.Result {
			req := request(t, "http://web.test/", expect)
			req.Dialer, req.Resolver = network, network
			return runIn(t, limit, HTTP, req)
		}
		r := probe("", time.Second)
		wantUp(t, r)
		want := [protocol.Phases]time.Duration{protocol.Resolve: 14 * time.Millisecond, protocol.Connect: 80 * time.Millisecond, protocol.FirstByte: 200 * time.Millisecond, protocol.Transfer: 300 * time.Millisecond}
		if r.Phases != want || r.Took != 594*time.Millisecond {
			t.Errorf("phases are %v in %s, want %v", r.Phases, r.Took, want)
		}
		wantValue(t, r, 0.2, "probe_http_duration_seconds", "phase", "processing")
		wantReason(t, probe("expect: {within: 500ms}", time.Second), protocol.Slow, "took 594ms, want 500ms: transfer alone 300ms")
		wantReason(t, probe("expect: {phases: {connect: 50ms, transfer: 1s}}", time.Second), protocol.Slow, "connect took 80ms, want 50ms")
		r = probe("", 400*time.Millisecond)
		wantReason(t, r, protocol.TransferTimeout, "2 bytes of 4 bytes came")
		if r.Took != 400*time.Millisecond {
			t.Errorf("took %s of 400ms", r.Took)
		}
		wantReason(t, probe("", 200*time.Millisecond), protocol.RequestTimeout, "no answer came")
		time.Sleep(time.Second) // the servers of those that were cut off end, too
	})
}
