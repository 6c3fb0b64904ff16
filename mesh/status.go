package mesh

import (
	"time"

	"github.com/atoll-mesh/atoll/trust"
)

// PeerState is what a member is to this island now.
type PeerState string

// The states.
const (
	// StateConnected: calls go through.
	StateConnected PeerState = "connected"
	// StateConnecting: a connection is open, the hello is not over yet.
	StateConnecting PeerState = "connecting"
	// StateIdle: not connected, for there was nothing to say.
	StateIdle PeerState = "idle"
	// StateSuspect: connected, but the last probe was not answered.
	StateSuspect PeerState = "suspect"
	// StateUnreachable: the last try to connect did not work.
	StateUnreachable PeerState = "unreachable"
	// StateQuarantined: its certificate has expired; it may renew it.
	StateQuarantined PeerState = "quarantined"
	// StateRefused: one side refuses the other; LastError says which and why.
	StateRefused PeerState = "refused"
)

// PeerStatus is what is known of one member.
type PeerStatus struct {
	Key  trust.Key `json:"key"`
	Name string    `json:"name"`
	Role string    `json:"role"`
	// Primary says that it acts for the whole network; who makes a status of more
	// than the mesh knows fills it in.
	Primary bool              `json:"primary,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	// Region is the label of that name.
	Region string    `json:"region,omitempty"`
	State  PeerState `json:"state"`
	// Path is "direct" or "relayed", Via the name of who relays.
	Path string `json:"path,omitempty"`
	Via  string `json:"via,omitempty"`
	// Transport is "quic" or "tcp", Security "noise" or "tls" (QUIC has tls).
	Transport string `json:"transport,omitempty"`
	Security  string `json:"security,omitempty"`
	// Congestion is TCP's congestion control on this side, as "bbr" or "cubic".
	Congestion string `json:"congestion_control,omitempty"`
	// RTT is smoothed, Jitter its mean deviation, both in seconds; 0 is unknown.
	RTT    float64 `json:"rtt_seconds,omitempty"`
	Jitter float64 `json:"jitter_seconds,omitempty"`
	// Loss is the share, 0 to 1, of packets (QUIC) or segments (TCP) that had to be
	// sent again, over the life of the connection.
	Loss float64 `json:"loss"`
	// BytesIn and BytesOut are of streams since this island started.
	BytesIn  int64 `json:"bytes_in"`
	BytesOut int64 `json:"bytes_out"`
	// Since is when the connection was opened.
	Since *time.Time `json:"since,omitempty"`
	// LastSeen is when the peer was last connected.
	LastSeen *time.Time `json:"last_seen,omitempty"`
	// Version is the protocol spoken with it, Software what it runs.
	Version  uint32 `json:"version,omitempty"`
	Software string `json:"software,omitempty"`
	// ClockSkew is its clock minus ours in seconds.
	ClockSkew float64 `json:"clock_skew_seconds"`
	// Breaker is "closed", "open" or "half-open".
	Breaker            string     `json:"breaker,omitempty"`
	CertificateExpires *time.Time `json:"certificate_expires,omitempty"`
	// WhyNotDirect says so in words; empty where the path is direct.
	WhyNotDirect string `json:"why_not_direct,omitempty"`
	// Verdict is what this island and its witnesses make of a member that is in
	// trouble, in words; empty for all others.
	Verdict string `json:"verdict,omitempty"`
	// LastError is why it is not connected, or what went wrong last.
	LastError string `json:"last_error,omitempty"`
	// Addresses are those known, the one in use first.
	Addresses []string `json:"addresses,omitempty"`
}

// Pong is the answer to one ping.
type Pong struct {
	RTT time.Duration
	// Path and Transport are of the connection that carried it, as in PeerStatus.
	Path, Transport string
	Err             error
}
