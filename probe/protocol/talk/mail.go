package talk

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// The values of mail.tls; "" is startTLS.
const (
	plainMail = "none"
	startTLS  = "starttls"
	implicit  = "implicit"
)

// mail is what SMTP, IMAP and POP3 have in common: a greeting, capabilities, TLS
// from the start or asked for, capabilities again, and a good-bye.
type mail struct {
	port, securePort string
	// greeting reads the first words of the server.
	greeting func(c *call) bool
	// capable asks what the server can do; starttls tells whether that is TLS.
	capable func(c *call) (starttls, ok bool)
	// upgrade asks for TLS.
	upgrade func(c *call) bool
	bye     string
}

func (m mail) probe(ctx context.Context, r *protocol.Request, name string) *protocol.Result {
	c := begin(ctx, r)
	if m.talk(c, name) {
		// Nobody waits for the answer, which would cost a round trip.
		_, _ = c.conn.Write([]byte(m.bye + "\r\n"))
	}
	return c.finish()
}

func (m mail) talk(c *call, name string) bool {
	mode := c.req.Module.Mail.TLS
	port := m.port
	if mode == implicit {
		port = m.securePort
	}
	if !c.dial("tcp", port) || mode == implicit && !c.secure(&c.req.Module.Mail.TLSConfig) || !m.greeting(c) {
		return false
	}
	offered, ok := m.capable(c)
	if !ok {
		return false
	}
	c.res.Add("probe_"+name+"_starttls", float(offered))
	if mode == plainMail || mode == implicit {
		return true
	}
	if !offered {
		c.res.Fail(protocol.TLSMissing, protocol.TLS, "the server does not offer STARTTLS")
		return false
	}
	if !m.upgrade(c) || !c.secure(&c.req.Module.Mail.TLSConfig) {
		return false
	}
	_, ok = m.capable(c)
	return ok
}

func float(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// SMTP says EHLO to a mail server (RFC 5321), port 25 or, with TLS from the start, 465.
func SMTP(ctx context.Context, r *protocol.Request) *protocol.Result {
	return mail{
		port: "25", securePort: "465", bye: "QUIT",
		greeting: func(c *call) bool { _, ok := c.smtp("the greeting", 220); return ok },
		capable:  smtpHello,
		upgrade: func(c *call) bool {
			if !c.send("STARTTLS", "STARTTLS") {
				return false
			}
			_, ok := c.smtp("STARTTLS", 220)
			return ok
		},
	}.probe(ctx, r, "smtp")
}

func smtpHello(c *call) (starttls, ok bool) {
	name := c.req.Module.Mail.Hello
	if name == "" {
		name = addressLiteral(c.conn.LocalAddr())
	}
	if !c.send("EHLO", "EHLO %s", name) {
		return false, false
	}
	lines, ok := c.smtp("EHLO", 250)
	for _, line := range lines {
		word, rest, _ := strings.Cut(strings.ToUpper(line), " ")
		switch word {
		case "STARTTLS":
			starttls = true
		case "SIZE":
			if n, err := strconv.ParseUint(rest, 10, 63); err == nil && !c.has("probe_smtp_size_limit_bytes") {
				c.res.Add("probe_smtp_size_limit_bytes", float64(n))
			}
		}
	}
	return starttls, ok
}

// has reports whether a sample is there already: what a server says twice, before
// and after TLS, counts once.
func (c *call) has(name string) bool {
	for i := range c.res.Samples {
		if c.res.Samples[i].Name == name {
			return true
		}
	}
	return false
}

// addressLiteral is the name of a host without one (RFC 5321, 4.1.3).
func addressLiteral(a net.Addr) string {
	at, err := netip.ParseAddrPort(a.String())
	switch {
	case err != nil:
		return "localhost"
	case at.Addr().Unmap().Is4():
		return "[" + at.Addr().Unmap().String() + "]"
	}
	return "[IPv6:" + at.Addr().WithZone("").String() + "]"
}

// smtp reads a reply of one or more lines, "250-…" but for the last, "250 …". Its
// text is what is after the code.
func (c *call) smtp(step string, want int) (text []string, ok bool) {
	for range maxLines {
		line, ok := c.line("the answer to " + step)
		if !ok {
			return nil, false
		}
		c.status(line)
		code, more, rest, ok := smtpLine(line)
		if !ok {
			c.malformed("%s: the server answers %s, want a line such as \"%d …\"", step, quote(line), want)
			return nil, false
		}
		text = append(text, rest)
		if more {
			continue
		}
		if code != want {
			c.res.Fail(protocol.Status, protocol.Transfer, "%s: the server answers %s, want %d", step, quote(line), want)
			return nil, false
		}
		return text, true
	}
	c.malformed("%s: an answer of more than %d lines", step, maxLines)
	return nil, false
}

func smtpLine(line string) (code int, more bool, text string, ok bool) {
	if len(line) < 3 || strings.Trim(line[:3], "0123456789") != "" {
		return 0, false, "", false
	}
	code, _ = strconv.Atoi(line[:3])
	switch {
	case len(line) == 3:
		return code, false, "", true
	case line[3] == ' ' || line[3] == '-':
		return code, line[3] == '-', line[4:], true
	}
	return 0, false, "", false
}

// IMAP asks a mail server for its capabilities (RFC 9051), port 143 or 993.
func IMAP(ctx context.Context, r *protocol.Request) *protocol.Result {
	return mail{
		port: "143", securePort: "993", bye: "a9 LOGOUT",
		greeting: imapGreeting,
		capable: func(c *call) (bool, bool) {
			lines, ok := c.imap("CAPABILITY")
			for _, line := range lines {
				if words := strings.Fields(strings.ToUpper(line)); len(words) > 1 && words[1] == "CAPABILITY" {
					return contains(words, "STARTTLS"), ok
				}
			}
			return false, ok
		},
		upgrade: func(c *call) bool { _, ok := c.imap("STARTTLS"); return ok },
	}.probe(ctx, r, "imap")
}

func contains(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}

func imapGreeting(c *call) bool {
	line, ok := c.line("the greeting")
	if !ok {
		return false
	}
	c.status(line)
	words := strings.Fields(strings.ToUpper(line))
	switch {
	case len(words) < 2 || words[0] != "*":
		c.malformed("the greeting is %s, want \"* OK …\"", quote(line))
	case words[1] == "OK" || words[1] == "PREAUTH":
		return true
	default:
		c.res.Fail(protocol.Status, protocol.Transfer, "the greeting is %s, want \"* OK …\"", quote(line))
	}
	return false
}

// imap sends a command and reads what comes before its tagged "OK".
func (c *call) imap(command string) (untagged []string, ok bool) {
	if !c.send(command, "a1 %s", command) {
		return nil, false
	}
	for range maxLines {
		line, ok := c.line("the answer to " + command)
		if !ok {
			return nil, false
		}
		tag, rest, _ := strings.Cut(line, " ")
		if tag != "a1" {
			untagged = append(untagged, line)
			continue
		}
		if word, _, _ := strings.Cut(rest, " "); !strings.EqualFold(word, "OK") {
			c.res.Fail(protocol.Status, protocol.Transfer, "%s: the server answers %s, want OK", command, quote(rest))
			return nil, false
		}
		return untagged, true
	}
	c.malformed("%s: an answer of more than %d lines", command, maxLines)
	return nil, false
}

// POP3 asks a mail server for its capabilities (RFC 1939, RFC 2449), port 110 or 995.
func POP3(ctx context.Context, r *protocol.Request) *protocol.Result {
	return mail{
		port: "110", securePort: "995", bye: "QUIT",
		greeting: func(c *call) bool { good, ok := c.pop3("the greeting"); return ok && c.pop3Good("the greeting", good) },
		capable:  pop3Capable,
		upgrade: func(c *call) bool {
			if !c.send("STLS", "STLS") {
				return false
			}
			answer, ok := c.pop3("STLS")
			return ok && c.pop3Good("STLS", answer)
		},
	}.probe(ctx, r, "pop3")
}

// pop3Capable takes a server without CAPA, which is optional, for one that may still
// know STLS.
func pop3Capable(c *call) (starttls, ok bool) {
	if !c.send("CAPA", "CAPA") {
		return false, false
	}
	answer, ok := c.pop3("CAPA")
	if !ok {
		return false, false
	}
	if !strings.HasPrefix(answer, "+OK") {
		return true, true
	}
	for range maxLines {
		line, ok := c.line("the answer to CAPA")
		if !ok {
			return false, false
		}
		if line == "." {
			return starttls, true
		}
		starttls = starttls || strings.EqualFold(line, "STLS")
	}
	c.malformed("CAPA: an answer of more than %d lines", maxLines)
	return false, false
}

// pop3 reads the first line of an answer, "+OK …" or "-ERR …".
func (c *call) pop3(step string) (answer string, ok bool) {
	line, ok := c.line("the answer to " + step)
	if !ok {
		return "", false
	}
	c.status(line)
	if word, _, _ := strings.Cut(line, " "); word != "+OK" && word != "-ERR" {
		c.malformed("%s: the server answers %s, want \"+OK …\"", step, quote(line))
		return "", false
	}
	return line, true
}

func (c *call) pop3Good(step, answer string) bool {
	if strings.HasPrefix(answer, "+OK") {
		return true
	}
	c.res.Fail(protocol.Status, protocol.Transfer, "%s: the server answers %s, want \"+OK …\"", step, quote(answer))
	return false
}
