package definition

import (
	"time"

	blackbox "github.com/prometheus/blackbox_exporter/config"
	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
)

// Module says how a target is asked and what it must answer. It is a module of
// blackbox_exporter v0.28, whose keys mean what they mean there, with further keys
// beside them.
type Module struct {
	// Module holds prober (http, tcp, icmp, dns, grpc, unix, or one of those below),
	// timeout, http, tcp, icmp, dns, grpc, unix.
	blackbox.Module `yaml:",inline"`

	// Expect is asked of any protocol that has the thing in question.
	Expect Expect `yaml:"expect,omitempty"`
	// Flow makes prober http a sequence of requests with one cookie jar; the target's
	// URL is what theirs are relative to.
	Flow []Step `yaml:"flow,omitempty"`
	// Certificate is for prober tls, and for https.
	Certificate Certificate `yaml:"certificate,omitempty"`
	// Resolver adds to prober dns.
	Resolver Resolver `yaml:"resolver,omitempty"`
	// Echo adds to prober icmp.
	Echo Echo `yaml:"echo,omitempty"`
	// Mail is for probers smtp, imap and pop3.
	Mail Mail `yaml:"mail,omitempty"`
	// Login is for redis, mysql, postgres, ssh; without a user the handshake is enough.
	Login Login `yaml:"login,omitempty"`
	// WebSocket is for prober websocket; its http keys (headers, tls_config) count too.
	WebSocket WebSocket `yaml:"websocket,omitempty"`
	// UDP is for prober udp, with tcp's query_response.
	UDP UDP `yaml:"udp,omitempty"`
	// NTP is for prober ntp.
	NTP NTP `yaml:"ntp,omitempty"`
	// Trace is for prober trace.
	Trace Trace `yaml:"trace,omitempty"`
	// Browser is for prober browser.
	Browser Browser `yaml:"browser,omitempty"`
}

// Expect is what an answer must be like. Zero values expect nothing.
type Expect struct {
	// JSON are values in the body, by path.
	JSON []JSONValue `yaml:"json,omitempty"`
	// SHA256 of the body, in hexadecimal.
	SHA256 string `yaml:"sha256,omitempty"`
	// MinSize and MaxSize of the body in bytes.
	MinSize int64 `yaml:"min_size,omitempty"`
	MaxSize int64 `yaml:"max_size,omitempty"`
	// Within bounds the whole probe and Phases each phase by its name; what is later
	// fails with the reason slow.
	Within model.Duration            `yaml:"within,omitempty"`
	Phases map[string]model.Duration `yaml:"phases,omitempty"`
}

// JSONValue is one value of a JSON body.
type JSONValue struct {
	// Path is a JSONPath of RFC 9535, such as $.data.items[0].name.
	Path string `yaml:"path"`
	// Equals, Matches (a regular expression) and Exists: one of them.
	Equals  any             `yaml:"equals,omitempty"`
	Matches blackbox.Regexp `yaml:"matches,omitempty"`
	Exists  *bool           `yaml:"exists,omitempty"`
}

// Step is one request of a flow.
type Step struct {
	Name   string `yaml:"name"`
	Method string `yaml:"method,omitempty"`
	// URL is relative to the target. It, Headers, Form and Body may hold ${name}.
	URL     string            `yaml:"url"`
	Headers map[string]string `yaml:"headers,omitempty"`
	// Form is sent as application/x-www-form-urlencoded; hidden inputs of the page before
	// with the same action are added (tokens against forged requests).
	Form map[string]string `yaml:"form,omitempty"`
	Body string            `yaml:"body,omitempty"`
	// Status that are fine; 2xx if none.
	Status []int `yaml:"status,omitempty"`
	// Contains and Absent are regular expressions over the body.
	Contains []blackbox.Regexp `yaml:"contains,omitempty"`
	Absent   []blackbox.Regexp `yaml:"absent,omitempty"`
	JSON     []JSONValue       `yaml:"json,omitempty"`
	// Save keeps values for later steps: name → where it comes from.
	Save map[string]Source `yaml:"save,omitempty"`
}

// Source is where a step's value comes from: one of them.
type Source struct {
	JSON   string          `yaml:"json,omitempty"`
	Header string          `yaml:"header,omitempty"`
	Regexp blackbox.Regexp `yaml:"regexp,omitempty"` // its first group
	Cookie string          `yaml:"cookie,omitempty"`
}

// Certificate is what is asked of a chain beside being valid.
type Certificate struct {
	// ExpiresAfter fails the probe when less is left.
	ExpiresAfter model.Duration `yaml:"expires_after,omitempty"`
	// Revocation asks "ocsp", "crl" or "any"; "" neither. An unknown answer is no failure.
	Revocation string `yaml:"revocation,omitempty"`
	// Fingerprints (SHA-256 of the leaf, hexadecimal) that are fine; any if none.
	Fingerprints []string `yaml:"fingerprints,omitempty"`
	// StartTLS is smtp, imap, pop3, postgres or mysql for prober tls; "" for none.
	StartTLS  string           `yaml:"starttls,omitempty"`
	TLSConfig config.TLSConfig `yaml:"tls_config,omitempty"`
}

// Resolver is what is asked of name servers beside blackbox_exporter's keys.
type Resolver struct {
	// Over is udp (default), tcp, tls or https (RFC 8484, path /dns-query unless the
	// target has one).
	Over string `yaml:"over,omitempty"`
	// DNSSEC wants the AD flag, and signatures.
	DNSSEC bool `yaml:"dnssec,omitempty"`
	// Same asks these servers too and fails if their answers differ.
	Same []string `yaml:"same,omitempty"`
	// Answers that must be there, as in a zone file's last column.
	Answers []string `yaml:"answers,omitempty"`
	// MaxTTL and MinTTL in seconds of every record in the answer.
	MinTTL uint32 `yaml:"min_ttl,omitempty"`
	MaxTTL uint32 `yaml:"max_ttl,omitempty"`
}

// Echo is how prober icmp counts loss.
type Echo struct {
	// Count of requests, 1 if 0, and the time between them, 200ms if 0.
	Count    int            `yaml:"count,omitempty"`
	Interval model.Duration `yaml:"interval,omitempty"`
	// MaxLoss is the part (0 to 1) that may go missing.
	MaxLoss float64 `yaml:"max_loss,omitempty"`
	// MaxJitter between one echo and the next (RFC 3550's, smoothed); 0 for any.
	MaxJitter model.Duration `yaml:"max_jitter,omitempty"`
	// MTU looks for the path's: the largest packet that arrives whole.
	MTU bool `yaml:"mtu,omitempty"`
}

// Mail is how probers smtp, imap and pop3 talk.
type Mail struct {
	// TLS is none, starttls (default) or implicit.
	TLS string `yaml:"tls,omitempty"`
	// Hello is the name told to an SMTP server.
	Hello     string           `yaml:"hello,omitempty"`
	TLSConfig config.TLSConfig `yaml:"tls_config,omitempty"`
}

// Login is who asks a server that wants to know.
type Login struct {
	User         string           `yaml:"user,omitempty"`
	Password     config.Secret    `yaml:"password,omitempty"`
	PasswordFile string           `yaml:"password_file,omitempty"`
	Database     string           `yaml:"database,omitempty"`
	TLS          bool             `yaml:"tls,omitempty"`
	TLSConfig    config.TLSConfig `yaml:"tls_config,omitempty"`
	// HostKeys are the SHA256:… fingerprints that are fine (prober ssh); any if none.
	HostKeys []string `yaml:"host_keys,omitempty"`
}

// WebSocket is what is said once the connection is upgraded.
type WebSocket struct {
	Subprotocols []string `yaml:"subprotocols,omitempty"`
	// Send a text message, then Expect a regular expression in one of the answers.
	Send   string          `yaml:"send,omitempty"`
	Expect blackbox.Regexp `yaml:"expect,omitempty"`
}

// UDP is a query and its answer.
type UDP struct {
	// Send and Expect are text, SendHex and ExpectHex hexadecimal.
	Send      string          `yaml:"send,omitempty"`
	SendHex   string          `yaml:"send_hex,omitempty"`
	Expect    blackbox.Regexp `yaml:"expect,omitempty"`
	ExpectHex string          `yaml:"expect_hex,omitempty"`
}

// NTP is how good a time server must be.
type NTP struct {
	// MaxOffset between its clock and ours, MaxStratum 15 if 0.
	MaxOffset  model.Duration `yaml:"max_offset,omitempty"`
	MaxStratum int            `yaml:"max_stratum,omitempty"`
}

// Trace is how the way to a target is looked for.
type Trace struct {
	// Over is icmp (default), udp or tcp; Port is for the last two (33434 and 443).
	Over string `yaml:"over,omitempty"`
	Port uint16 `yaml:"port,omitempty"`
	// Rounds of packets per hop, 3 if 0; MaxHops 30 if 0.
	Rounds  int `yaml:"rounds,omitempty"`
	MaxHops int `yaml:"max_hops,omitempty"`
	// Wait for each packet's answer, 1s if 0.
	Wait model.Duration `yaml:"wait,omitempty"`
}

// Browser is how a page is loaded.
type Browser struct {
	// Path of Chromium; looked for if "".
	Path string `yaml:"path,omitempty"`
	// Width and Height of the window in pixels, 1280 by 800 if 0.
	Width  int `yaml:"width,omitempty"`
	Height int `yaml:"height,omitempty"`
	// Screenshot is taken on failure, or "always" or "never".
	Screenshot string `yaml:"screenshot,omitempty"`
	// Selector must be on the page.
	Selector string `yaml:"selector,omitempty"`
	// Settle is how long the network must be quiet, 500ms if 0.
	Settle model.Duration `yaml:"settle,omitempty"`
}

// DefaultTimeout is a module's that has none, as blackbox_exporter's under a scrape
// timeout of Prometheus' default, less its offset.
const DefaultTimeout = 9500 * time.Millisecond
