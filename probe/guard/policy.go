package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// Rules are what an operator allows and denies. An entry is an address, a prefix
// (10.0.0.0/8), a host name, which stands for those below it too, or the path of
// a unix socket or of a directory of them.
type Rules struct {
	// Allow opens addresses that are refused by default to definitions. A name opens
	// the private addresses that it has, and no others.
	Allow []string
	// AllowAdHoc does the same for probes that somebody asks for at this moment.
	AllowAdHoc []string
	// Deny goes before both.
	Deny []string
}

// list is a compiled list.
type list struct {
	prefixes []netip.Prefix
	names    []string
	sockets  []string
}

// policy is what Rules mean. It is not changed once made.
type policy struct {
	allow   [levels]list
	deny    list
	special []rangeOf
}

func compile(r Rules) (*policy, error) {
	p := &policy{special: specialRanges()}
	var errs []error
	for _, l := range []struct {
		field string
		texts []string
		into  *list
	}{{"allow", r.Allow, &p.allow[Defined]}, {"allow_ad_hoc", r.AllowAdHoc, &p.allow[AdHoc]}, {"deny", r.Deny, &p.deny}} {
		for i, text := range l.texts {
			if err := l.into.add(text); err != nil {
				errs = append(errs, fmt.Errorf("%s[%d]: %w", l.field, i, err))
			}
		}
	}
	return p, errors.Join(errs...)
}

// Validate reports every entry that cannot be used, each as FIELD[INDEX]: REASON.
func (r Rules) Validate() error {
	_, err := compile(r)
	return err
}

func (l *list) add(text string) error {
	switch {
	case strings.HasPrefix(text, "/"):
		l.sockets = append(l.sockets, path.Clean(text))
		return nil
	case strings.Contains(text, "/"):
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("%q: must be a prefix such as 10.0.0.0/8", text)
		}
		if prefix.Addr().Is4In6() {
			return fmt.Errorf("%q: must be written as a prefix of IPv4", text)
		}
		l.prefixes = append(l.prefixes, prefix.Masked())
		return nil
	case isAddress(text):
		a := netip.MustParseAddr(text).WithZone("").Unmap()
		l.prefixes = append(l.prefixes, netip.PrefixFrom(a, a.BitLen()))
		return nil
	}
	host := canonical(strings.TrimPrefix(text, "*."))
	if host == "" || strings.ContainsAny(host, "*:/ ") || len(host) > longestName {
		return fmt.Errorf("%q: must be an address, a prefix such as 10.0.0.0/8, a host name such as example.com or the path of a unix socket", text)
	}
	l.names = append(l.names, host)
	return nil
}

// longestName is of a host name, RFC 1035.
const longestName = 253

func isAddress(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}

func canonical(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// holds reports whether an address is in the list, itself or by what it embeds.
func (l *list) holds(a netip.Addr) bool {
	a = a.WithZone("").Unmap()
	if slices.ContainsFunc(l.prefixes, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return true
	}
	inner, ok := embedded(a)
	return ok && l.holds(inner)
}

func (l *list) named(host string) bool {
	host = canonical(host)
	return slices.ContainsFunc(l.names, func(n string) bool {
		rest, below := strings.CutSuffix(host, n)
		return below && (rest == "" || strings.HasSuffix(rest, "."))
	})
}

func (l *list) socket(file string) bool {
	file = path.Clean(file)
	return slices.ContainsFunc(l.sockets, func(s string) bool {
		rest, below := strings.CutPrefix(file, s)
		return below && (rest == "" || rest[0] == '/' || s == "/")
	})
}

// judge says why an address is refused to a level, public if it is not. vouched
// is of an address that belongs to a name on the level's list.
func (p *policy) judge(level Level, a netip.Addr, vouched bool) class {
	if p.deny.holds(a) {
		return listed
	}
	c := classify(p.special, a)
	switch {
	case c == public, c.never():
		return c
	case vouched && c == private, p.allow[level].holds(a):
		return public
	}
	return c
}
