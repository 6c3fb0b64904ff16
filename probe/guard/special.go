package guard

import "net/netip"

// class says why an address is refused unless it is allowed; "" if it is not.
type class string

// The classes, which are label values of atoll_probe_denied_total.
const (
	public      class = ""
	loopback    class = "loopback"
	linkLocal   class = "link_local"
	private     class = "private"
	metadata    class = "metadata"
	multicast   class = "multicast"
	reserved    class = "reserved"
	unspecified class = "unspecified"
	ownMesh     class = "mesh"
	listed      class = "denied_address"
	name        class = "denied_name"
	socket      class = "unix"
	rate        class = "rate"
)

func classes() []class {
	return []class{loopback, linkLocal, private, metadata, multicast, reserved, unspecified, ownMesh, listed, name, socket, rate}
}

// never are the classes that no list opens.
func (c class) never() bool {
	switch c {
	case metadata, multicast, reserved, unspecified, ownMesh, listed:
		return true
	}
	return false
}

// ranges are the special addresses that net/netip has no method for: the first
// that holds an address is what it is.
// Source: IANA's special-purpose address registries, and the clouds' manuals.
type rangeOf struct {
	prefix netip.Prefix
	class  class
}

func specialRanges() []rangeOf {
	of := func(c class, texts ...string) (out []rangeOf) {
		for _, t := range texts {
			out = append(out, rangeOf{netip.MustParsePrefix(t), c})
		}
		return out
	}
	var all []rangeOf
	all = append(all, of(metadata,
		"169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "169.254.169.250/31", // most clouds, containers on AWS, Windows there
		"100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", // Alibaba, Azure, Oracle
		"fd00:ec2::254/128", "fd00:ec2::23/128", "fd20:ce::254/128")...) // AWS, Google
	all = append(all, of(reserved, "255.255.255.255/32", "240.0.0.0/4", "0.0.0.0/8")...)
	all = append(all, of(private, "100.64.0.0/10", "198.18.0.0/15", "192.0.0.0/24", "fec0::/10", "64:ff9b:1::/48", "5f00::/16")...)
	all = append(all, of(reserved, "100::/64")...)
	return all
}

// classify says what an address is by itself. One of IPv6 is also what it embeds.
func classify(special []rangeOf, a netip.Addr) class {
	a = a.WithZone("").Unmap()
	switch {
	case a.IsUnspecified():
		return unspecified
	case a.IsLoopback():
		return loopback
	case a.IsMulticast():
		return multicast
	}
	for _, r := range special {
		if r.prefix.Contains(a) {
			return r.class
		}
	}
	switch {
	case a.IsLinkLocalUnicast():
		return linkLocal
	case a.IsPrivate():
		return private
	}
	if inner, ok := embedded(a); ok {
		return classify(special, inner)
	}
	return public
}

// embedded returns the address of IPv4 that a gateway, or the kernel, would send
// to for one of IPv6. IPv4-mapped ones are unmapped already.
func embedded(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() {
		return netip.Addr{}, false
	}
	b := a.As16()
	four := func(at int) (netip.Addr, bool) { return netip.AddrFrom4([4]byte(b[at : at+4])), true }
	switch {
	case netip.PrefixFrom(a, 96).Masked().Addr() == netip.IPv6Unspecified(): // IPv4-compatible, RFC 4291
		return four(12)
	case b[0] == 0x00 && b[1] == 0x64 && b[2] == 0xff && b[3] == 0x9b: // NAT64, RFC 6052 and 8215
		return four(12)
	case b[0] == 0x20 && b[1] == 0x02: // 6to4, RFC 3056
		return four(2)
	case b[0] == 0x20 && b[1] == 0x01 && b[2] == 0 && b[3] == 0: // Teredo, RFC 4380: the client's, inverted
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}), true
	case b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP, RFC 5214
		return four(12)
	}
	return netip.Addr{}, false
}
