package definition

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Probers are the values of a module's key prober.
func Probers() []string {
	return []string{
		"http", "websocket", "grpc", "dns", "tcp", "unix", "udp", "tls", "smtp", "imap", "pop3", "ssh",
		"ntp", "redis", "mysql", "postgres", "icmp", "trace", "browser",
	}
}

// What probes may ask of a machine.
const (
	longestTimeout = 10 * time.Minute
	mostSteps      = 50
	mostEchoes     = 100
	mostHops       = 64
	mostRounds     = 20
	mostPixels     = 8192
)

func (m *Module) check() (out mistakes) {
	if m.Prober == "" {
		out.add("prober", "is missing; there are %s", strings.Join(Probers(), ", "))
	}
	out.one("prober", m.Prober, Probers()...)
	span(&out, "timeout", m.Timeout, 0, longestTimeout)
	out.under("expect", m.Expect.check())
	out.flow(m.Flow)
	out.under("certificate", m.Certificate.check())
	out.one("resolver.over", m.Resolver.Over, "udp", "tcp", "tls", "https")
	if r := m.Resolver; r.MaxTTL > 0 && r.MinTTL > r.MaxTTL {
		out.add("resolver.min_ttl", "%d: must not be more than max_ttl, %d", r.MinTTL, r.MaxTTL)
	}
	span(&out, "echo.count", m.Echo.Count, 0, mostEchoes)
	span(&out, "echo.interval", time.Duration(m.Echo.Interval), 0, time.Minute)
	span(&out, "echo.max_loss", m.Echo.MaxLoss, 0, 1)
	out.one("mail.tls", m.Mail.TLS, "none", "starttls", "implicit")
	out.login(m.Login)
	out.hexadecimal("udp.send_hex", m.UDP.SendHex)
	out.hexadecimal("udp.expect_hex", m.UDP.ExpectHex)
	if m.UDP.Send != "" && m.UDP.SendHex != "" {
		out.add("udp.send_hex", "says what send says already; leave one")
	}
	const deepest = 15 // 16 is "not synchronised", RFC 5905
	span(&out, "ntp.max_stratum", m.NTP.MaxStratum, 0, deepest)
	out.one("trace.over", m.Trace.Over, "icmp", "udp", "tcp")
	span(&out, "trace.rounds", m.Trace.Rounds, 0, mostRounds)
	span(&out, "trace.max_hops", m.Trace.MaxHops, 0, mostHops)
	span(&out, "browser.width", m.Browser.Width, 0, mostPixels)
	span(&out, "browser.height", m.Browser.Height, 0, mostPixels)
	out.one("browser.screenshot", m.Browser.Screenshot, "failure", "always", "never")
	return out
}

func (e Expect) check() (m mistakes) {
	m.values("json", e.JSON)
	m.hash("sha256", e.SHA256)
	if e.MinSize < 0 {
		m.add("min_size", "%d: must not be negative", e.MinSize)
	}
	if e.MaxSize < 0 || e.MaxSize > 0 && e.MaxSize < e.MinSize {
		m.add("max_size", "%d: must not be less than min_size, %d", e.MaxSize, e.MinSize)
	}
	for name := range e.Phases {
		m.one("phases."+name, name, PhaseNames()...)
	}
	return m
}

// PhaseNames are the keys of Expect.Phases, in the order in which phases happen.
func PhaseNames() []string {
	return []string{"resolve", "connect", "tls", "request", "first_byte", "transfer"}
}

func (m *mistakes) values(field string, values []JSONValue) {
	for i, v := range values {
		at := fmt.Sprintf("%s[%d]", field, i)
		if !strings.HasPrefix(v.Path, "$") {
			m.add(at+".path", "%q: must be a JSONPath, which begins with $, such as $.status", v.Path)
		}
		said := 0
		for _, is := range []bool{v.Equals != nil, v.Matches.Regexp != nil, v.Exists != nil} {
			if is {
				said++
			}
		}
		if said != 1 {
			m.add(at, "has %d of equals, matches and exists; write one", said)
		}
	}
}

func (m *mistakes) hash(field, text string) {
	const bytes = 32
	if raw, err := hex.DecodeString(text); text != "" && (err != nil || len(raw) != bytes) {
		m.add(field, "%q: must be a SHA-256 in hexadecimal, %d digits", text, 2*bytes)
	}
}

func (m *mistakes) hexadecimal(field, text string) {
	if _, err := hex.DecodeString(strings.ReplaceAll(text, " ", "")); err != nil {
		m.add(field, "%q: must be hexadecimal digits, two for each byte", text)
	}
}

func (m *mistakes) login(l Login) {
	if l.Password != "" && l.PasswordFile != "" {
		m.add("login.password_file", "says what password says already; leave one")
	}
	for i, k := range l.HostKeys {
		if !strings.HasPrefix(k, "SHA256:") {
			m.add(fmt.Sprintf("login.host_keys[%d]", i), "%q: must be a fingerprint as ssh-keygen -l prints it, SHA256:…", k)
		}
	}
}

func (c Certificate) check() (m mistakes) {
	m.one("revocation", c.Revocation, "ocsp", "crl", "any")
	m.one("starttls", c.StartTLS, "smtp", "imap", "pop3", "postgres", "mysql")
	for i, f := range c.Fingerprints {
		m.hash(fmt.Sprintf("fingerprints[%d]", i), strings.ReplaceAll(f, ":", ""))
	}
	return m
}

func (m *mistakes) flow(steps []Step) {
	if len(steps) > mostSteps {
		m.add("flow", "%d steps: must be at most %d", len(steps), mostSteps)
	}
	first := map[string]int{}
	for i, s := range steps {
		at := fmt.Sprintf("flow[%d]", i)
		switch before, again := first[s.Name]; {
		case s.Name == "":
			m.add(at, "has no name, by which its failure is reported")
		case again:
			m.add(at+".name", "%q is the name of flow[%d]; each step has its own", s.Name, before)
		}
		first[s.Name] = i
		if s.Form != nil && s.Body != "" {
			m.add(at+".body", "a step has a form or a body, not both")
		}
		for j, status := range s.Status {
			if http.StatusText(status) == "" && (status < 100 || status > 999) {
				m.add(fmt.Sprintf("%s.status[%d]", at, j), "%d: must be a status of HTTP", status)
			}
		}
		m.values(at+".json", s.JSON)
		for name, source := range s.Save {
			m.source(at+".save."+name, source)
		}
	}
}

func (m *mistakes) source(field string, s Source) {
	kinds := slices.DeleteFunc([]string{s.JSON, s.Header, s.Cookie}, func(v string) bool { return v == "" })
	said := len(kinds)
	if s.Regexp.Regexp != nil {
		said++
	}
	if said != 1 {
		m.add(field, "has %d of json, header, regexp and cookie; write one", said)
	}
}
