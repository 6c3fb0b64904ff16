package talk

import (
	"context"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// TLS shakes hands and judges the certificate chain, by module key certificate. With
// certificate.starttls it first asks in the protocol named there.
func TLS(ctx context.Context, r *protocol.Request) *protocol.Result {
	c := begin(ctx, r)
	m := &r.Module.Certificate
	if !c.dial("tcp", startTLSPort(m.StartTLS)) || !c.upgrade(m.StartTLS) || !c.secure(&m.TLSConfig) {
		return c.finish()
	}
	protocol.Certify(ctx, r, m, c.chain, c.res)
	return c.finish()
}

func startTLSPort(by string) string {
	switch by {
	case "smtp":
		return "25"
	case "imap":
		return "143"
	case "pop3":
		return "110"
	case "postgres":
		return "5432"
	case "mysql":
		return "3306"
	}
	return "443"
}

// upgrade asks the server to go on in TLS.
func (c *call) upgrade(by string) bool {
	switch by {
	case "":
		return true
	case "smtp":
		if _, ok := c.smtp("the greeting", 220); !ok {
			return false
		}
		offered, ok := smtpHello(c)
		if !ok || !c.offered(offered) || !c.send("STARTTLS", "STARTTLS") {
			return false
		}
		_, ok = c.smtp("STARTTLS", 220)
		return ok
	case "imap":
		if !imapGreeting(c) {
			return false
		}
		_, ok := c.imap("STARTTLS")
		return ok
	case "pop3":
		greeting, ok := c.pop3("the greeting")
		if !ok || !c.pop3Good("the greeting", greeting) || !c.send("STLS", "STLS") {
			return false
		}
		answer, ok := c.pop3("STLS")
		return ok && c.pop3Good("STLS", answer)
	case "postgres":
		yes, ok := c.postgresTLS()
		return ok && c.offered(yes)
	case "mysql":
		hello, ok := c.mysqlHello()
		return ok && c.offered(hello.capabilities&mysqlTLS != 0) && c.mysqlAskTLS()
	}
	c.res.Fail(protocol.BadTarget, protocol.TLS, "certificate.starttls is %s: use smtp, imap, pop3, postgres or mysql", quote(by))
	return false
}

func (c *call) offered(yes bool) bool {
	if !yes {
		c.res.Fail(protocol.TLSMissing, protocol.TLS, "the server does not offer TLS")
	}
	return yes
}
