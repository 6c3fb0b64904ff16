package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

var (
	_ protocol.Dialer   = (*Session)(nil)
	_ protocol.Resolver = (*Session)(nil)
)

func newGuard(t *testing.T, o Options) *Guard {
	t.Helper()
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestClasses(t *testing.T) {
	special := specialRanges()
	for text, want := range map[string]class{
		"1.1.1.1": public, "203.0.113.9": public, "2606:4700::1111": public, "100.63.255.255": public, "172.32.0.1": public, "192.0.1.1": public,
		"127.0.0.1": loopback, "127.8.8.8": loopback, "::1": loopback, "::ffff:127.0.0.1": loopback, "::127.0.0.1": loopback,
		"64:ff9b::7f00:1": loopback, "2002:7f00:1::": loopback, "2001:0:1::80ff:fffe": loopback, "2001:db8::5efe:7f00:1": loopback,
		"2001:db8::200:5efe:a00:1": private,
		"169.254.1.1":              linkLocal, "fe80::1": linkLocal, "fe80::1%eth0": linkLocal,
		"169.254.169.254": metadata, "::ffff:169.254.169.254": metadata, "64:ff9b::a9fe:a9fe": metadata, "fd00:ec2::254": metadata,
		"100.100.100.200": metadata, "2002:a9fe:a9fe::": metadata,
		"10.1.2.3": private, "172.16.0.1": private, "192.168.1.1": private, "100.64.0.1": private, "fd12::1": private, "fec0::1": private,
		"64:ff9b:1::1": private, "64:ff9b::a01:203": private, "198.19.0.1": private,
		"224.0.0.1": multicast, "ff02::1": multicast, "239.1.1.1": multicast,
		"255.255.255.255": reserved, "240.0.0.1": reserved, "0.1.2.3": reserved, "100::1": reserved,
		"0.0.0.0": unspecified, "::": unspecified,
	} {
		if got := classify(special, netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is %q, want %q", text, got, want)
		}
	}
}

func TestLists(t *testing.T) {
	g := newGuard(t, Options{Rules: Rules{
		Allow:      []string{"10.0.0.0/8", "127.0.0.1", "fd00::/8", "169.254.0.0/16", "0.0.0.0/0"},
		AllowAdHoc: []string{"10.1.0.0/16"},
		Deny:       []string{"10.66.0.0/16", "192.0.2.1"},
	}})
	for _, tc := range []struct {
		addr           string
		defined, adHoc bool
	}{
		{"8.8.8.8", true, true},
		{"10.2.0.1", true, false},
		{"10.1.0.1", true, true},
		{"::ffff:10.1.0.1", true, true},
		{"64:ff9b::a01:1", true, true},
		{"10.66.0.1", false, false},
		{"::ffff:10.66.0.1", false, false},
		{"2002:a42:1::", false, false},
		{"192.0.2.1", false, false},
		{"127.0.0.1", true, false},
		{"169.254.7.7", true, false},
		{"169.254.169.254", false, false},
		{"fd00:ec2::254", false, false},
		{"224.0.0.1", false, false},
		{"0.0.0.0", false, false},
		{"255.255.255.255", false, false},
	} {
		for l, want := range map[Level]bool{Defined: tc.defined, AdHoc: tc.adHoc} {
			err := g.For(l).Permit(netip.MustParseAddr(tc.addr), 80)
			if (err == nil) != want || err != nil && !errors.Is(err, protocol.ErrDenied) {
				t.Errorf("%s to %s: %v, want permitted %v", l, tc.addr, err, want)
			}
		}
	}
	if err := g.For(Defined).Permit(netip.Addr{}, 80); !errors.Is(err, protocol.ErrDenied) {
		t.Errorf("no address: %v", err)
	}
}

func TestRulesAreJudged(t *testing.T) {
	err := Rules{Allow: []string{"10.0.0.0/8", "10.0.0.0/40"}, Deny: []string{"", "a b", "x.*.y", "::ffff:10.0.0.0/104"}}.Validate()
	if err == nil {
		t.Fatal("nothing is refused")
	}
	for _, want := range []string{"allow[1]: ", "deny[0]: ", "deny[1]: ", "deny[2]: ", "deny[3]: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s in\n%v", want, err)
		}
	}
}

// names resolves as a table says, each time the next of its answers.
type names map[string][][]string

func (n names) LookupNetIP(_ context.Context, _, host string) (out []netip.Addr, err error) {
	answers := n[host]
	if len(answers) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	for _, a := range answers[0] {
		out = append(out, netip.MustParseAddr(a))
	}
	if len(answers) > 1 {
		n[host] = answers[1:]
	}
	return out, nil
}

func TestNames(t *testing.T) {
	g := newGuard(t, Options{
		Rules:    Rules{Allow: []string{"intra.example"}, Deny: []string{"*.secret.intra.example"}},
		Resolver: names{"db.intra.example": {{"10.9.8.7", "169.254.169.254"}}, "a.secret.intra.example": {{"10.9.8.7"}}, "evil-intra.example": {{"10.9.8.7"}}},
	})
	s := g.For(Defined)
	at := netip.MustParseAddr("10.9.8.7")
	if err := s.Permit(at, 80); err == nil {
		t.Error("nobody vouched for the address yet")
	}
	if _, err := s.LookupNetIP(t.Context(), "ip", "evil-intra.example"); err != nil || s.Permit(at, 80) == nil {
		t.Errorf("a name that ends alike vouches for its address; lookup: %v", err)
	}
	if _, err := s.LookupNetIP(t.Context(), "ip", "DB.intra.example."); err == nil {
		t.Error("the table is of lower case")
	}
	if _, err := s.LookupNetIP(t.Context(), "ip", "db.intra.example"); err != nil {
		t.Fatal(err)
	}
	if err := s.Permit(at, 80); err != nil {
		t.Errorf("the name is allowed: %v", err)
	}
	if err := s.Permit(netip.MustParseAddr("169.254.169.254"), 80); err == nil {
		t.Error("a name opens the metadata service")
	}
	if err := g.For(Defined).Permit(at, 80); err == nil {
		t.Error("another probe has what this one was told")
	}
	if err := g.For(AdHoc).Permit(at, 80); err == nil {
		t.Error("the list is not for those who ask at this moment")
	}
	if _, err := s.LookupNetIP(t.Context(), "ip", "a.secret.intra.example"); !errors.Is(err, protocol.ErrDenied) {
		t.Errorf("a denied name: %v", err)
	}
}

func listen(t *testing.T) (net.Listener, netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, netip.MustParseAddrPort(l.Addr().String())
}

// TestDialledAddressIsJudged dials names of this machine: whatever they were when
// somebody looked, what counts is where the connection goes.
func TestDialledAddressIsJudged(t *testing.T) {
	_, at := listen(t)
	reg := prometheus.NewRegistry()
	g := newGuard(t, Options{Registerer: reg})
	for _, network := range []string{"tcp", "udp"} {
		for _, host := range []string{"localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0"} {
			conn, err := g.For(Defined).DialContext(t.Context(), network, fmt.Sprintf("%s:%d", host, at.Port()), netip.Addr{})
			if !errors.Is(err, protocol.ErrDenied) {
				t.Errorf("%s to %s: %v", network, host, err)
			}
			if err == nil {
				_ = conn.Close()
			}
		}
	}
	if n := testutil.ToFloat64(g.denied.WithLabelValues("defined", "loopback")); n < 4 {
		t.Errorf("%v denials are counted", n)
	}
	commit, err := g.Prepare(Rules{Allow: []string{"127.0.0.0/8"}})
	if err != nil {
		t.Fatal(err)
	}
	commit()
	conn, err := g.For(Defined).DialContext(t.Context(), "tcp", at.String(), netip.MustParseAddr("127.0.0.9"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.LocalAddr().String(); !strings.HasPrefix(got, "127.0.0.9:") {
		t.Errorf("dialled from %s", got)
	}
}

func TestOwnMesh(t *testing.T) {
	_, at := listen(t)
	own := []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port())}
	g := newGuard(t, Options{Rules: Rules{Allow: []string{"127.0.0.0/8", "10.0.0.0/8"}}, Own: func() []netip.AddrPort { return own }})
	if _, err := g.For(Defined).DialContext(t.Context(), "tcp", at.String(), netip.Addr{}); !errors.Is(err, protocol.ErrDenied) {
		t.Errorf("the own mesh: %v", err)
	}
	if err := g.For(Defined).Permit(netip.MustParseAddr("10.255.255.254"), at.Port()); err != nil {
		t.Errorf("the same port elsewhere: %v", err)
	}
	own[0] = netip.AddrPortFrom(own[0].Addr(), at.Port()+1)
	if err := g.For(Defined).Permit(at.Addr(), at.Port()); err != nil {
		t.Errorf("another port: %v", err)
	}
}

func TestUnix(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "s.sock")
	l, err := net.Listen("unix", file)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial := func(r Rules, level Level, path string) error {
		conn, err := newGuard(t, Options{Rules: r}).For(level).DialContext(t.Context(), "unix", path, netip.Addr{})
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	if err := dial(Rules{}, Defined, file); !errors.Is(err, protocol.ErrDenied) {
		t.Errorf("without a list: %v", err)
	}
	if err := dial(Rules{Allow: []string{dir}}, Defined, file); err != nil {
		t.Errorf("allowed: %v", err)
	}
	if err := dial(Rules{Allow: []string{dir}}, AdHoc, file); !errors.Is(err, protocol.ErrDenied) {
		t.Errorf("ad hoc: %v", err)
	}
	if err := dial(Rules{Allow: []string{dir + "/sub"}}, Defined, dir+"/sub/../s.sock"); !errors.Is(err, protocol.ErrDenied) {
		t.Errorf("out of the directory: %v", err)
	}
}

// TestClose looks from the server's side at how connections end.
func TestClose(t *testing.T) {
	l, at := listen(t)
	s := newGuard(t, Options{Rules: Rules{Allow: []string{"127.0.0.0/8"}}}).For(Defined)
	for _, serverFirst := range []bool{true, false} {
		conn, err := s.DialContext(t.Context(), "tcp", at.String(), netip.Addr{})
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if serverFirst {
			if err := server.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(conn); err != nil {
				t.Fatal(err)
			}
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		if err := server.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err = server.Read(make([]byte, 1))
		if want := map[bool]error{true: io.EOF, false: syscall.ECONNRESET}[serverFirst]; !errors.Is(err, want) {
			t.Errorf("server closes first: %v; it sees %v, want %v", serverFirst, err, want)
		}
		_ = server.Close()
	}
}

func TestLimiter(t *testing.T) {
	g := newGuard(t, Options{})
	l := g.Limit(1, "probe.rate")
	now := time.Unix(1e9, 0)
	l.now = func() time.Time { return now }
	count := func(caller string) (n int) {
		for range 100 {
			if err := l.Admit(caller); err == nil {
				n++
			} else if !errors.Is(err, protocol.ErrDenied) {
				t.Fatal(err)
			}
		}
		return n
	}
	if n := count("a"); n != burstSeconds {
		t.Errorf("%d at once", n)
	}
	if n := count("b"); n != burstSeconds {
		t.Errorf("%d of another caller at once", n)
	}
	now = now.Add(3 * time.Second)
	if n := count("a"); n != 3 {
		t.Errorf("%d after three seconds", n)
	}
	for i := range 3 * mostCallers {
		_ = l.Admit(fmt.Sprint(i))
	}
	if len(l.callers) > mostCallers {
		t.Errorf("%d callers are remembered", len(l.callers))
	}
	l.Set(0)
	if n := count("a"); n != 0 {
		t.Errorf("%d of a rate of nothing", n)
	}
}

func FuzzEmbedded(f *testing.F) {
	f.Add([]byte("\x00\x64\xff\x9b\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) != 16 {
			return
		}
		a := netip.AddrFrom16([16]byte(raw))
		if inner, ok := embedded(a.Unmap()); ok && classify(specialRanges(), inner) != public && classify(specialRanges(), a) == public {
			t.Errorf("%s embeds %s and is public", a, inner)
		}
	})
}
