package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/atoll-mesh/atoll/mesh"
)

// Prefix is where the routes of this package begin.
const Prefix = "/api/atoll/v1/mesh/"

// maxRequest bounds a request's body; the largest holds a token.
const maxRequest = 64 << 10

// ErrNotJoined is returned by functions that need a network.
var ErrNotJoined = errors.New("this island belongs to no network yet: " + joinOne)

const joinOne = "make one with `atoll init`, or join one with `atoll join TOKEN`"

// Governance is what an operator can do, as functions of the island.
type Governance struct {
	Init   func(context.Context, InitRequest) (InitResult, error)
	Invite func(context.Context, InviteRequest) (InviteResult, error)
	// Invitations are those that are open, the oldest first.
	Invitations func() ([]Invitation, error)
	Withdraw    func(context.Context, WithdrawRequest) (WithdrawResult, error)
	Join        func(context.Context, JoinRequest) (JoinResult, error)
	Leave       func(context.Context, LeaveRequest) (LeaveResult, error)
	Revoke      func(context.Context, RevokeRequest) (RevokeResult, error)
	Rotate      func(context.Context, RotateRequest) (RotateResult, error)
	Signer      func(context.Context, SignerRequest) (SignerResult, error)
	Promote     func(context.Context, PromoteRequest) (PromoteResult, error)
	// Export writes all documents of trust as a file, Import takes over such a file.
	Export func(io.Writer) error
	Import func(context.Context, io.Reader) (ImportResult, error)
}

// View is what anybody who may read can ask.
type View struct {
	Network func() NetworkStatus
	Peers   func() ([]mesh.PeerStatus, error)
	Ping    func(context.Context, PingRequest) (PingResult, error)
	// Audit writes the log as JSON lines.
	Audit func(io.Writer) error
}

// ReadRoutes answers what changes nothing.
func ReadRoutes(v View, log *slog.Logger) *http.ServeMux { return routed(reading(v, log)) }

// AllRoutes answers everything, for the socket of the island's own user.
func AllRoutes(v View, g Governance, log *slog.Logger) *http.ServeMux {
	return routed(reading(v, log), governing(g, log))
}

// Patterns are those of http.ServeMux that ReadRoutes answers, and those that only
// AllRoutes does.
func Patterns() (read, govern []string) {
	return slices.Sorted(maps.Keys(reading(View{}, nil))), slices.Sorted(maps.Keys(governing(Governance{}, nil)))
}

func routed(tables ...map[string]http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	for _, routes := range tables {
		for pattern, h := range routes {
			mux.Handle(pattern, h)
		}
	}
	return mux
}

func reading(v View, log *slog.Logger) map[string]http.Handler {
	return map[string]http.Handler{
		"GET " + Prefix + "network": ask(log, func() (NetworkStatus, error) { return v.Network(), nil }),
		"GET " + Prefix + "peers":   ask(log, v.Peers),
		"POST " + Prefix + "ping":   act(log, v.Ping),
		"GET " + Prefix + "audit": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-ndjson")
			if err := v.Audit(w); err != nil {
				Refuse(w, log, err)
			}
		}),
	}
}

func governing(g Governance, log *slog.Logger) map[string]http.Handler {
	return map[string]http.Handler{
		"POST " + Prefix + "init":       act(log, g.Init),
		"POST " + Prefix + "invite":     act(log, g.Invite),
		"GET " + Prefix + "invitations": ask(log, g.Invitations),
		"POST " + Prefix + "withdraw":   act(log, g.Withdraw),
		"POST " + Prefix + "join":       act(log, g.Join),
		"POST " + Prefix + "leave":      act(log, g.Leave),
		"POST " + Prefix + "revoke":     act(log, g.Revoke),
		"POST " + Prefix + "rotate":     act(log, g.Rotate),
		"POST " + Prefix + "signer":     act(log, g.Signer),
		"POST " + Prefix + "promote":    act(log, g.Promote),
		"GET " + Prefix + "trust":       exporting(g, log),
		"POST " + Prefix + "trust":      importing(g, log),
	}
}

func ask[T any](log *slog.Logger, f func() (T, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer, err := f()
		respond(w, log, answer, err)
	})
}

func act[Q, A any](log *slog.Logger, f func(context.Context, Q) (A, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q Q
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&q); err != nil {
			respond[A](w, log, *new(A), malformed{err})
			return
		}
		answer, err := f(r.Context(), q)
		respond(w, log, answer, err)
	})
}

// problem is the body of every refusal.
type problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"` // or the message says it
}

// malformed is a request that could not be read.
type malformed struct{ error }

func (m malformed) Error() string { return "read the request: " + m.error.Error() }

func respond[T any](w http.ResponseWriter, log *slog.Logger, answer T, err error) {
	if err != nil {
		Refuse(w, log, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		log.Debug("write an answer", "error", err) // the client is gone
	}
}

// Refuse answers with why not.
func Refuse(w http.ResponseWriter, log *slog.Logger, err error) {
	status, p := http.StatusUnprocessableEntity, problem{Code: "refused", Message: err.Error()}
	var unread malformed
	switch {
	case errors.Is(err, ErrNotJoined):
		status, p.Code, p.Remedy = http.StatusConflict, "not_joined", joinOne
		p.Message = strings.TrimSuffix(p.Message, ": "+joinOne)
	case errors.As(err, &unread):
		status, p.Code, p.Remedy = http.StatusBadRequest, "invalid", "send one JSON object with the fields that the API's description names"
	}
	log.Debug("request refused", "error", err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone if this errs
}
