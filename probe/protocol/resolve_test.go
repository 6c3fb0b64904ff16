package protocol

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

type zone map[string][]string

func (z zone) LookupNetIP(_ context.Context, network, host string) (addrs []netip.Addr, err error) {
	switch host {
	case "slow.test":
		return nil, &net.DNSError{Err: "i/o timeout", Name: host, IsTimeout: true}
	case "broken.test":
		return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
	}
	for _, s := range z[host] {
		if a := netip.MustParseAddr(s); network == "ip" || (network == "ip4") == a.Unmap().Is4() {
			addrs = append(addrs, a)
		}
	}
	if addrs == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return addrs, nil
}

func TestAddress(t *testing.T) {
	z := zone{"both.test": {"192.0.2.1", "2001:db8::1"}, "four.test": {"192.0.2.1", "192.0.2.2"}, "six.test": {"2001:db8::1"}, "mapped.test": {"::ffff:192.0.2.9"}}
	for _, c := range []struct {
		host, preferred string
		fallback        bool
		want            string
		code            Code
		words           string
	}{
		{"both.test", "", true, "2001:db8::1", "", ""},
		{"both.test", "ip4", true, "192.0.2.1", "", ""},
		{"both.test", "ip6", false, "2001:db8::1", "", ""},
		{"four.test", "", true, "192.0.2.1", "", ""},
		{"four.test", "ip6", false, "", NoAddress, "has no IPv6 address, only 192.0.2.1"},
		{"six.test", "ip4", false, "", NoAddress, "has no IPv4 address, only 2001:db8::1"},
		{"six.test", "ip4", true, "2001:db8::1", "", ""},
		{"mapped.test", "ip4", false, "192.0.2.9", "", ""},
		{"none.test", "ip4", true, "", ResolveFailed, `the name "none.test" does not exist`},
		{"none.test", "ip4", false, "", ResolveFailed, `does not exist`},
		{"slow.test", "", true, "", ResolveTimeout, "in time"},
		{"broken.test", "", true, "", ResolveFailed, "server misbehaving"},
		{"192.0.2.7", "", true, "192.0.2.7", "", ""},
		{"192.0.2.7", "", false, "", NoAddress, "is no IPv6 address"},
		{"fe80::1%eth0", "", false, "fe80::1%eth0", "", ""},
		{"", "", true, "", BadTarget, "no host"},
	} {
		r := &Result{}
		got, ok := Address(t.Context(), &Request{Resolver: z}, c.host, c.preferred, c.fallback, r)
		if ok != (c.code == "") || ok && got.String() != c.want {
			t.Errorf("%+v: got %v %v", c, got, ok)
		}
		if r.Reason.Code != c.code || !strings.Contains(r.Reason.Words, c.words) {
			t.Errorf("%+v: reason is %v", c, r.Reason)
		}
		if len(r.Samples) != 3 || ok && r.Samples[2].Value == 0 {
			t.Errorf("%+v: samples are %v", c, r.Samples)
		}
	}
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
