package compare

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// Prober is the one whose answers are compared.
const Prober = "http"

// Answer is what one vantage got.
type Answer struct {
	Vantage string
	// Edge is the address that answered it.
	Edge   string
	Status int
	// Size and SHA256 of the body after decompression; a zero SHA256 is not known.
	Size   int64
	SHA256 [sha256.Size]byte
	// Header holds the chosen headers, by their canonical names.
	Header map[string]string
	// Age is over how long the answer was in a cache, if that is longer than is allowed:
	// what is allowed, doubled some times. 0 if it is not.
	Age time.Duration
}

// Keep is what a probe must keep for its answer to be compared.
func Keep(rules *definition.Compare) protocol.Keep {
	return protocol.Keep{Header: true, Hash: !rules.IgnoreBody}
}

// AnswerOf is what a probe got, nil if that cannot be compared: no answer of HTTP came,
// or its body did not come to its end.
func AnswerOf(rules *definition.Compare, r *protocol.Result) *Answer {
	if r.Response == nil {
		return nil
	}
	line := strings.Fields(r.Response.Status)
	if len(line) < 2 || !strings.HasPrefix(line[0], "HTTP/") || !r.Response.Whole && !rules.IgnoreBody {
		return nil
	}
	status, err := strconv.Atoi(line[1])
	if err != nil || !plainStatus(status) {
		return nil
	}
	a := &Answer{Status: status}
	if r.Address.IsValid() {
		a.Edge = r.Address.Addr().Unmap().WithZone("").String()
	}
	if !rules.IgnoreBody {
		a.Size, a.SHA256 = r.Response.Size, r.Response.SHA256
	}
	sent := map[string][]string{}
	for _, h := range r.Response.Header {
		name := textproto.CanonicalMIMEHeaderKey(h[0])
		sent[name] = append(sent[name], strings.TrimSpace(h[1]))
	}
	for _, name := range rules.Headers {
		name = textproto.CanonicalMIMEHeaderKey(name)
		if values, ok := sent[name]; ok {
			if a.Header == nil {
				a.Header = map[string]string{}
			}
			a.Header[name] = short(strings.Join(values, ", "))
		}
	}
	if ages := sent["Age"]; len(ages) > 0 {
		a.Age = over(time.Duration(rules.MaxAge), ages[0])
	}
	return a
}

// over is more than what age an answer's header Age (RFC 9111, in seconds) says, in
// doublings of what is allowed, so that it does not change with each answer.
func over(most time.Duration, header string) time.Duration {
	seconds, err := strconv.ParseUint(header, 10, 31)
	age := time.Duration(seconds) * time.Second
	if err != nil || most <= 0 || age <= most {
		return 0
	}
	for 2*most < age {
		most *= 2
	}
	return most
}

const (
	// mostValue is how much of a header's value is repeated, in bytes.
	mostValue = 60
	// longestValue is what short makes at most: the beginning, an ellipsis and a hash.
	longestValue = mostValue + 40
)

// short is a header's value: its beginning and its hash where it is long or is no text.
func short(s string) string {
	strange := func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
	if len(s) <= mostValue && !strings.ContainsFunc(s, strange) {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	begin := strings.Map(func(r rune) rune {
		if strange(r) {
			return -1
		}
		return r
	}, s[:min(len(s), mostValue)])
	return fmt.Sprintf("%s… (sha256 %s…)", begin, hex.EncodeToString(sum[:6]))
}

// Equal reports whether the same is compared of both.
func (a *Answer) Equal(b *Answer) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Vantage == b.Vantage && a.Edge == b.Edge && a.Status == b.Status && a.Size == b.Size && a.SHA256 == b.SHA256 && a.Age == b.Age && maps.Equal(a.Header, b.Header)
}

func plainStatus(n int) bool { return n >= 100 && n <= 999 }

// Plain reports whether AnswerOf can have made the answer.
func (a *Answer) Plain() bool {
	const oldest = time.Duration(1<<31) * time.Second
	if edge, err := netip.ParseAddr(a.Edge); a.Edge != "" && (err != nil || edge.Zone() != "") {
		return false
	}
	if !plainStatus(a.Status) || a.Size < 0 || a.Age < 0 || a.Age > oldest || len(a.Header) > definition.MostCompared {
		return false
	}
	for name, value := range a.Header {
		if name == "" || len(name) > definition.LongestHeader || len(value) > longestValue || strings.ContainsFunc(name+value, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }) {
			return false
		}
	}
	return true
}

// Chosen leaves the headers that rules name.
func (a *Answer) Chosen(rules *definition.Compare) {
	chosen := map[string]bool{}
	for _, name := range rules.Headers {
		chosen[textproto.CanonicalMIMEHeaderKey(name)] = true
	}
	maps.DeleteFunc(a.Header, func(name, _ string) bool { return !chosen[name] })
}

// Behind is what the origin of a target is asked: an origin without a path for the
// target's path, and one that is an address for the name of the target's host, or for
// server where that is set. host is "" where it is the URL's own.
func Behind(origin, target, server string) (text, host string) {
	u, err := url.Parse(origin)
	if err != nil {
		return origin, ""
	}
	if !strings.Contains(target, "://") {
		target = "http://" + target
	}
	t, err := url.Parse(target)
	if err != nil {
		return origin, server
	}
	if u.Path == "" && u.RawQuery == "" {
		u.Path, u.RawPath, u.RawQuery = t.Path, t.RawPath, t.RawQuery
	}
	if net.ParseIP(u.Hostname()) != nil {
		if host = cmp.Or(server, t.Hostname()); net.ParseIP(host) != nil {
			host = ""
		}
	}
	return u.String(), host
}
