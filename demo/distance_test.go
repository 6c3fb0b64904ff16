package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// echo answers what it hears, TCP and UDP, on one port.
func echo(t *testing.T) string {
	t.Helper()
	ports, err := freePorts(loopback, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	p, err := hold(loopback, ports[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.close() })
	go func() {
		for {
			c, err := p.tcp.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	go func() {
		data := make([]byte, datagram)
		for {
			n, from, err := p.udp.ReadFrom(data)
			if err != nil {
				return
			}
			_, _ = p.udp.WriteTo(data[:n], from)
		}
	}()
	return p.tcp.Addr().String()
}

// TestStraitTakesTheCablesTime sends through a strait from a known and an unknown
// place: nothing comes back sooner than light would, and all of it comes whole.
func TestStraitTakesTheCablesTime(t *testing.T) {
	const near, far = 30 * time.Millisecond, 90 * time.Millisecond
	inside := echo(t)
	outside := mustFree(t)
	var known atomic.Uint32
	s, err := openStrait(0, outside, inside, roundTrips{{0, near, far}, {near, 0, 0}, {far, 0, 0}}, func(a netip.AddrPort) int {
		if uint32(a.Port()) == known.Load() {
			return 1
		}
		return anywhere
	}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, network := range []string{"tcp", "udp"} {
		for _, trip := range []time.Duration{near, far} {
			from := mustFree(t)
			if trip == near {
				known.Store(uint32(netip.MustParseAddrPort(from).Port()))
			}
			c := dialFrom(t, network, from, outside)
			for _, size := range []int{1, 1300} {
				sent, got := make([]byte, size), make([]byte, size)
				_, _ = rand.Read(sent)
				start := time.Now()
				if _, err := c.Write(sent); err != nil {
					t.Fatal(err)
				}
				_ = c.SetReadDeadline(start.Add(20 * time.Second))
				if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
					t.Fatalf("%s: got %d other bytes, %v", network, len(got), err)
				}
				if took := time.Since(start); took < trip {
					t.Errorf("%s: an answer after %s, over a cable of %s", network, took, trip)
				}
			}
			_ = c.Close()
		}
	}
}

// dialFrom connects from one port; what else there was on it does not count.
func dialFrom(t *testing.T, network, from, to string) net.Conn {
	t.Helper()
	a := netip.MustParseAddrPort(from)
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(a)}
	if network == "udp" {
		d.LocalAddr = net.UDPAddrFromAddrPort(a)
	}
	c, err := d.DialContext(t.Context(), network, to)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustFree(t *testing.T) string {
	t.Helper()
	addrs, err := freeAddrs(anyPort, 1)
	if err != nil {
		t.Fatal(err)
	}
	return addrs[0]
}

// TestStraitCarriesMuch sends more than is in transit at once, both ways.
func TestStraitCarriesMuch(t *testing.T) {
	outside := mustFree(t)
	s, err := openStrait(0, outside, echo(t), roundTrips{{0, 10 * time.Millisecond}}, func(netip.AddrPort) int { return anywhere }, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	c, err := net.Dial("tcp", outside)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent := make([]byte, 3*inTransit*chunk)
	_, _ = rand.Read(sent)
	go func() { _, _ = c.Write(sent) }()
	got := make([]byte, len(sent))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d of %d bytes came, or others: %v", n, len(sent), err)
	}
}

// TestStraitEnds cuts what is under way: neither end waits for ever.
func TestStraitEnds(t *testing.T) {
	outside := mustFree(t)
	s, err := openStrait(0, outside, echo(t), roundTrips{{0, time.Millisecond}}, func(netip.AddrPort) int { return anywhere }, quiet())
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", outside)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	one := make([]byte, 1)
	if _, err := c.Write(one); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, one); err != nil {
		t.Fatal(err)
	}
	s.close()
	if _, err := c.Read(one); err == nil {
		t.Error("the connection goes on without its strait")
	}
	if _, err := net.Dial("tcp", outside); err == nil {
		t.Error("a closed strait still takes connections")
	}
}

// TestOneCityDoesNotReachTheSite asks a site through the ways out of two places while
// the fault is due and afterwards, in clear and through a tunnel.
func TestOneCityDoesNotReachTheSite(t *testing.T) {
	w := newWorld(roundTrips{{0, 0, 20 * time.Millisecond}, {0, 0, 0}, {20 * time.Millisecond, 0, 0}}, quiet())
	sites, err := openSites(quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer sites.close()
	shop, err := openShop(w, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer shop.close()
	w.put(sites.secure.Addr(), 0)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(sites.authority)
	ask := func(from int, target string) error {
		e, err := openEgress(w, from)
		if err != nil {
			t.Fatal(err)
		}
		defer e.close()
		proxy, err := url.Parse(e.url())
		if err != nil {
			t.Fatal(err)
		}
		tr := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("from %d, %s: %s", from, target, resp.Status)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	due := schedule{every: 24 * time.Hour, length: time.Hour, began: time.Now()}
	over := due
	over.began = over.began.Add(-2 * time.Hour)
	for _, target := range []string{shop.entrance().url() + "/", "https://" + sites.secure.Addr() + "/"} {
		site := mustHost(t, target)
		w.setFault(fault{site: site, from: 2, schedule: due})
		if err := ask(2, target); !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s from where it is not reached: %v, want no answer in time", target, err)
		}
		if err := ask(0, target); err != nil {
			t.Errorf("%s from where it is reached: %v", target, err)
		}
		w.setFault(fault{site: site, from: 2, schedule: over})
		start := time.Now()
		if err := ask(2, target); err != nil {
			t.Errorf("%s after the fault: %v", target, err)
		}
		if took := time.Since(start); took < 40*time.Millisecond {
			t.Errorf("%s: there, back and a handshake in %s over a cable of 20 ms", target, took)
		}
	}
}

func mustHost(t *testing.T, text string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func TestDistances(t *testing.T) {
	r := cables()
	for from := range r {
		for to := range r[from] {
			if r.between(from, to) != r.between(to, from) || (r.between(from, to) == 0) != (from == to) {
				t.Errorf("from %d to %d %s, back %s", from, to, r.between(from, to), r.between(to, from))
			}
		}
	}
	if got := r.between(anywhere, 1); got != 160*time.Millisecond {
		t.Errorf("from anywhere to Singapore: %s", got)
	}
	if got := roundTrips(nil).between(0, 2); got != 0 {
		t.Errorf("without distance: %s", got)
	}
}
