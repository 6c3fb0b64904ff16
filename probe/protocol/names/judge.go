package names

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
	blackbox "github.com/prometheus/blackbox_exporter/config"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// maxServers are asked for the same, and maxShown records are named in a sentence.
const (
	maxServers = 16
	maxShown   = 4
)

// judge tells whether an answer is as the module wants it. answer is nil if none came.
func (p *probe) judge(answer *dns.Msg, s server) {
	if answer == nil || !p.rcode(answer.Rcode) {
		return
	}
	if !p.validate("answer", answer.Answer, &p.want.ValidateAnswer) ||
		!p.validate("authority", answer.Ns, &p.want.ValidateAuthority) ||
		!p.validate("additional", answer.Extra, &p.want.ValidateAdditional) {
		return
	}
	p.answers(answer)
	p.ttls(answer)
	if p.more.DNSSEC {
		p.dnssec(answer)
	}
	if len(p.more.Same) > 0 {
		p.same(answer, s)
	}
}

// rcode is NOERROR unless the module lists others.
func (p *probe) rcode(got int) bool {
	valid := p.want.ValidRcodes
	if valid == nil {
		valid = []string{"NOERROR"}
	}
	for _, name := range valid {
		code, ok := dns.StringToRcode[name]
		if !ok {
			p.r.Fail(protocol.Internal, protocol.Transfer, "rcode %.20q in valid_rcodes is not known", name)
			return false
		}
		if code == got {
			return true
		}
	}
	p.r.Fail(protocol.Status, protocol.Transfer, "rcode %s, want %s", rcodeName(got), strings.Join(valid, " or "))
	return false
}

func rcodeName(code int) string {
	if name, ok := dns.RcodeToString[code]; ok {
		return name
	}
	return fmt.Sprint(code)
}

// validate checks records as blackbox_exporter does.
func (p *probe) validate(section string, rrs []dns.RR, v *blackbox.DNSRRValidator) bool {
	fail := func(format string, args ...any) bool {
		p.r.Fail(protocol.Answer, protocol.Transfer, section+": "+format, args...)
		return false
	}
	if len(rrs) == 0 && (len(v.FailIfNotMatchesRegexp) > 0 || len(v.FailIfNoneMatchesRegexp) > 0) {
		return fail("no records, want some that match")
	}
	never, every := compile(v.FailIfMatchesRegexp), compile(v.FailIfNotMatchesRegexp)
	all, any := compile(v.FailIfAllMatchRegexp), compile(v.FailIfNoneMatchesRegexp)
	for _, list := range [][]*regexp.Regexp{never, every, all, any} {
		if slices.Contains(list, nil) {
			p.r.Fail(protocol.Internal, protocol.Transfer, "%s: a regular expression is not valid", section)
			return false
		}
	}
	allMatch, anyMatch := true, false
	for _, rr := range rrs {
		text := rr.String()
		for _, re := range never {
			if re.MatchString(text) {
				return fail("%.150q matches %.100q", text, re)
			}
		}
		for _, re := range every {
			if !re.MatchString(text) {
				return fail("%.150q does not match %.100q", text, re)
			}
		}
		for _, re := range all {
			allMatch = allMatch && re.MatchString(text)
		}
		for _, re := range any {
			anyMatch = anyMatch || re.MatchString(text)
		}
	}
	// This is what blackbox_exporter does, whatever the key's name says.
	if len(all) > 0 && !allMatch {
		return fail("not all records match %.100q", all[0])
	}
	if len(any) > 0 && !anyMatch {
		return fail("none of %d records matches %.100q", len(rrs), any[0])
	}
	return true
}

func compile(texts []string) []*regexp.Regexp {
	var all []*regexp.Regexp
	for _, t := range texts {
		re, err := regexp.Compile(t)
		if err != nil {
			re = nil
		}
		all = append(all, re)
	}
	return all
}

// value is a record's last column, as a zone file has it.
func value(rr dns.RR) string {
	return strings.TrimPrefix(rr.String(), rr.Header().String())
}

// answers looks for those that must be there.
func (p *probe) answers(m *dns.Msg) {
	for _, want := range p.more.Answers {
		if !slices.ContainsFunc(m.Answer, func(rr dns.RR) bool { return sameValue(value(rr), want) }) {
			p.r.Fail(protocol.Answer, protocol.Transfer, "no record is %.100q: %s", want, shown(m))
			return
		}
	}
}

// sameValue allows for capitals in names, and a last dot that is left out.
func sameValue(got, want string) bool {
	return got == want || strings.EqualFold(strings.TrimSuffix(got, "."), strings.TrimSuffix(want, "."))
}

// shown names some of the records of an answer.
func shown(m *dns.Msg) string {
	values := set(m)
	if len(values) == 0 {
		return "the answer is empty (" + rcodeName(m.Rcode) + ")"
	}
	text := "the answer is "
	if n := len(values); n > maxShown {
		values = append(values[:maxShown:maxShown], fmt.Sprintf("%d more", n-maxShown))
	}
	for i, v := range values {
		if len(v) > 80 {
			values[i] = v[:80] + "…"
		}
	}
	return text + strings.Join(values, ", ")
}

func (p *probe) ttls(m *dns.Msg) {
	for _, rr := range m.Answer {
		switch ttl := rr.Header().Ttl; {
		case ttl < p.more.MinTTL:
			p.r.Fail(protocol.Answer, protocol.Transfer, "%.100q may be kept for %d s, want at least %d s", value(rr), ttl, p.more.MinTTL)
		case p.more.MaxTTL > 0 && ttl > p.more.MaxTTL:
			p.r.Fail(protocol.Answer, protocol.Transfer, "%.100q may be kept for %d s, want at most %d s", value(rr), ttl, p.more.MaxTTL)
		}
	}
}

// dnssec wants the resolver to have checked, and the signatures to be there.
func (p *probe) dnssec(m *dns.Msg) {
	signatures := 0
	for _, rr := range append(slices.Clone(m.Answer), m.Ns...) {
		if _, ok := rr.(*dns.RRSIG); ok {
			signatures++
		}
	}
	p.r.Add("probe_dns_signatures", float64(signatures))
	switch {
	case signatures == 0:
		p.r.Fail(protocol.Answer, protocol.Transfer, "the answer is not signed: no RRSIG in it")
	case !m.AuthenticatedData && !m.Authoritative:
		p.r.Fail(protocol.Answer, protocol.Transfer, "the answer is signed, and the resolver did not validate it: no AD flag")
	}
}

// set is what an answer says, without times and order.
func set(m *dns.Msg) []string {
	var all []string
	for _, rr := range m.Answer {
		if _, ok := rr.(*dns.RRSIG); ok {
			continue // made anew again and again, and by each server
		}
		all = append(all, value(rr))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// same asks the other servers and names those that say something else.
func (p *probe) same(answer *dns.Msg, s server) {
	others := p.more.Same[:min(len(p.more.Same), maxServers)]
	got := make([]*dns.Msg, len(others))
	why := make([]protocol.Reason, len(others))
	var asked sync.WaitGroup
	for i, text := range others {
		asked.Go(func() { got[i], why[i] = p.quiet(text) })
	}
	asked.Wait()
	want := set(answer)
	var differ []string
	for i, text := range others {
		agrees := got[i] != nil && got[i].Rcode == answer.Rcode && slices.Equal(set(got[i]), want)
		p.r.Add("probe_dns_server_agrees", number(agrees), "server", text)
		switch {
		case agrees:
		case got[i] == nil:
			differ = append(differ, fmt.Sprintf("%s gave no answer (%s)", text, why[i].Words))
		default:
			differ = append(differ, fmt.Sprintf("from %s %s", text, shown(got[i])))
		}
	}
	if len(differ) > 0 {
		p.r.Fail(protocol.Answer, protocol.Transfer, "servers differ: from %s %s; %s", s.text, shown(answer), strings.Join(differ, "; "))
	}
}
