package rpc

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"

	"github.com/atoll-mesh/atoll/trust"
)

// Caller is the island at the other end of a call.
type Caller struct {
	Key    trust.Key
	Name   string
	Role   string
	Labels map[string]string
	// Quarantined callers' certificates have expired.
	Quarantined bool
	// Version of the protocol the caller speaks, 0 where it did not say.
	Version uint32
}

func (c Caller) label() string {
	if c.Name != "" {
		return c.Name
	}
	return c.Key.Short()
}

type callerKey struct{}

// CallerFrom returns who made the call that a handler's context belongs to.
func CallerFrom(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(*call)
	if !ok {
		return Caller{}, false
	}
	return c.caller, true
}

// AuthInfo carries the proven identity of a connection's far end.
type AuthInfo struct {
	credentials.CommonAuthInfo
	Caller Caller

	conn net.Conn // as the listener gave it
	peer *peerState
}

// AuthType names the scheme.
func (AuthInfo) AuthType() string { return "atoll" }

// proven takes the identity from the connection instead of shaking hands again.
type proven struct{ s *Server }

func (p proven) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return p.s.welcome(conn)
}

func (proven) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("BUG: server credentials on a client's connection")
}

func (proven) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "atoll"}
}
func (p proven) Clone() credentials.TransportCredentials { return p }

// OverrideServerName does nothing: names are not part of the proof.
func (proven) OverrideServerName(string) error { return nil }

func secured() credentials.CommonAuthInfo {
	return credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}
}

// dialled trusts the dialler, which proved the peer's key.
type dialled struct{ proven }

func (dialled) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return conn, AuthInfo{CommonAuthInfo: secured()}, nil
}

func (dialled) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("BUG: client credentials on a server's connection")
}

func (d dialled) Clone() credentials.TransportCredentials { return d }
