package control

import "time"

// InitRequest makes a network with this island as its first member.
type InitRequest struct {
	// Network is the name that people call the network by.
	Network string `json:"network"`
}

// InitResult is the new network. Recovery is shown once and kept nowhere.
type InitResult struct {
	Network   string `json:"network"`
	NetworkID string `json:"network_id"`
	Island    string `json:"island"`
	Key       string `json:"key"`
	Recovery  string `json:"recovery"`
	RootFile  string `json:"root_file"`
}

// InviteRequest asks for a token.
type InviteRequest struct {
	Role   string            `json:"role"`
	Name   string            `json:"name,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	Uses   int               `json:"uses"`
	// ExpiresSeconds is how long the token is good for.
	ExpiresSeconds float64 `json:"expires_seconds"`
}

// InviteResult is what `atoll invite` prints.
type InviteResult struct {
	Token   string    `json:"token"`
	ID      string    `json:"id"`
	Expires time.Time `json:"expires"`
}

// Invitation is one by which somebody can still come in.
type Invitation struct {
	ID     string            `json:"id"`
	Name   string            `json:"name,omitempty"`
	Role   string            `json:"role"`
	Labels map[string]string `json:"labels,omitempty"`
	// Left is how many islands may still come by it, of Uses.
	Left    int       `json:"left"`
	Uses    int       `json:"uses"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	// By is the island that made it.
	By string `json:"by"`
}

// WithdrawRequest ends an invitation.
type WithdrawRequest struct {
	// Which is its ID, the end of that, or the name that it gives.
	Which string `json:"which"`
}

// WithdrawResult says which one ended. Who came by it stays.
type WithdrawResult struct {
	ID   string `json:"id"`
	Used int    `json:"used"`
	Uses int    `json:"uses"`
}

// JoinRequest redeems a token for this island.
type JoinRequest struct {
	Token  string            `json:"token"`
	Labels map[string]string `json:"labels,omitempty"`
}

// JoinResult says where the island belongs now.
type JoinResult struct {
	Network   string  `json:"network"`
	NetworkID string  `json:"network_id"`
	Island    string  `json:"island"`
	Role      string  `json:"role"`
	Members   int     `json:"members"`
	Seconds   float64 `json:"seconds"`
}

// RevokeRequest ends somebody else's membership, or an invitation.
type RevokeRequest struct {
	// Name is an island's name or key, or an invitation's ID.
	Name   string `json:"name"`
	Reason string `json:"reason,omitempty"`
	// DropDocuments lets the island's documents fall with it; otherwise they are
	// signed anew.
	DropDocuments bool `json:"drop_documents,omitempty"`
}

// RevokeResult says what was revoked.
type RevokeResult struct {
	Key     string `json:"key"`
	Name    string `json:"name"`
	Adopted int    `json:"adopted"`
	// Told counts islands that were connected when the revocation left.
	Told int `json:"told"`
}

// RotateRequest replaces a key.
type RotateRequest struct {
	// What is node, signer, root or retire: the last ends trust in root keys
	// before the newest.
	What string `json:"what"`
	// Recovery stands in for a lost root key.
	Recovery string `json:"recovery,omitempty"`
}

// RotateResult names the keys before and after.
type RotateResult struct {
	Old string `json:"old"`
	New string `json:"new"`
	// Note says what remains to be done, for people.
	Note string `json:"note,omitempty"`
}

// SignerRequest changes who may admit others.
type SignerRequest struct {
	// Remove withdraws trust; otherwise it is given.
	Remove bool `json:"remove,omitempty"`
	// Name is the island's name, needed to add.
	Name string `json:"name,omitempty"`
	// Key is its signer key, as atoll signer shows it there.
	Key string `json:"key"`
}

// SignerResult says what followed.
type SignerResult struct {
	// Adopted counts documents that were signed anew.
	Adopted int `json:"adopted"`
}

// Signer is an island that may admit others.
type Signer struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// LeaveRequest ends this island's membership.
type LeaveRequest struct {
	// Force leaves though nobody hears of it, or a key goes that the network needs.
	Force bool `json:"force,omitempty"`
}

// LeaveResult says how the farewell went.
type LeaveResult struct {
	Network string `json:"network"`
	// Told counts the islands that were connected when the farewell left.
	Told int `json:"told"`
}

// PingRequest measures the way to another island.
type PingRequest struct {
	Name string `json:"name"`
}

// PingResult is one round trip.
type PingResult struct {
	Name      string  `json:"name"`
	Path      string  `json:"path"`
	Transport string  `json:"transport"`
	RTTMs     float64 `json:"rtt_ms"`
}

// NetworkStatus says to which network this island belongs, if any.
type NetworkStatus struct {
	Joined    bool   `json:"joined"`
	Network   string `json:"network,omitempty"`
	NetworkID string `json:"network_id,omitempty"`
	Island    string `json:"island,omitempty"`
	Key       string `json:"key,omitempty"`
	Role      string `json:"role,omitempty"`
	Primary   bool   `json:"primary,omitempty"`
	Signer    bool   `json:"signer,omitempty"`
	Root      bool   `json:"root,omitempty"`
	// SignerKey is held here, trusted or not; Signers are those trusted.
	SignerKey          string     `json:"signer_key,omitempty"`
	Signers            []Signer   `json:"signers,omitempty"`
	RootKeys           []string   `json:"root_keys,omitempty"`
	CertificateExpires *time.Time `json:"certificate_expires,omitempty"`
	Addresses          []string   `json:"addresses,omitempty"`
	Members            int        `json:"members,omitempty"`
}

// PromoteRequest names islands that are to be primaries.
type PromoteRequest struct {
	// Names are of members; none is this island.
	Names []string `json:"names,omitempty"`
	// Demote makes them primaries no more.
	Demote bool `json:"demote,omitempty"`
}

// PromoteResult is who is a primary afterwards.
type PromoteResult struct {
	Primaries []string `json:"primaries"`
	// Changed are those of the named that were not as asked before.
	Changed []string `json:"changed"`
	// Note is what people must know.
	Note string `json:"note,omitempty"`
}
