package talk

import "github.com/atoll-mesh/atoll/probe/protocol"

// Table has the probers of this package by the name that a module gives as prober.
func Table() map[string]protocol.Func {
	return map[string]protocol.Func{
		"tcp":      TCP,
		"unix":     Unix,
		"udp":      UDP,
		"tls":      TLS,
		"smtp":     SMTP,
		"imap":     IMAP,
		"pop3":     POP3,
		"ssh":      SSH,
		"ntp":      NTP,
		"redis":    Redis,
		"mysql":    MySQL,
		"postgres": Postgres,
	}
}
