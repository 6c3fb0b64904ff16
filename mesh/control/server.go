package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/atoll-mesh/atoll/mesh"
)

// Prefix is where the routes of this package begin.
const Prefix = "/api/atoll/v1/mesh/"

// maxRequest bounds a request's body; the largest holds a token.
const maxRequest = 64 << 10

// ErrNotJoined is returned by functions that need a network.
var ErrNotJoined = errors.New("this island belongs to no network yet: make one with `atoll init`, or join one with `atoll join TOKEN`")

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
func ReadRoutes(v View, log *slog.Logger) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET "+Prefix+"network", ask(log, func() (NetworkStatus, error) { return v.Network(), nil }))
	mux.Handle("GET "+Prefix+"peers", ask(log, v.Peers))
	mux.Handle("POST "+Prefix+"ping", act(log, v.Ping))
	mux.HandleFunc("GET "+Prefix+"audit", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		if err := v.Audit(w); err != nil {
			refuse(w, log, err)
		}
	})
	return mux
}

// AllRoutes answers everything, for the socket of the island's own user.
func AllRoutes(v View, g Governance, log *slog.Logger) *http.ServeMux {
	mux := ReadRoutes(v, log)
	mux.Handle("POST "+Prefix+"init", act(log, g.Init))
	mux.Handle("POST "+Prefix+"invite", act(log, g.Invite))
	mux.Handle("GET "+Prefix+"invitations", ask(log, g.Invitations))
	mux.Handle("POST "+Prefix+"withdraw", act(log, g.Withdraw))
	mux.Handle("POST "+Prefix+"join", act(log, g.Join))
	mux.Handle("POST "+Prefix+"leave", act(log, g.Leave))
	mux.Handle("POST "+Prefix+"revoke", act(log, g.Revoke))
	mux.Handle("POST "+Prefix+"rotate", act(log, g.Rotate))
	mux.Handle("POST "+Prefix+"signer", act(log, g.Signer))
	mux.Handle("POST "+Prefix+"promote", act(log, g.Promote))
	trustRoutes(mux, g, log)
	return mux
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
			respond[A](w, log, *new(A), fmt.Errorf("read the request: %w", err))
			return
		}
		answer, err := f(r.Context(), q)
		respond(w, log, answer, err)
	})
}

// problem is the body of every refusal.
type problem struct {
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}

func respond[T any](w http.ResponseWriter, log *slog.Logger, answer T, err error) {
	if err != nil {
		refuse(w, log, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		log.Debug("write an answer", "error", err) // the client is gone
	}
}

func refuse(w http.ResponseWriter, log *slog.Logger, err error) {
	code := http.StatusUnprocessableEntity
	if errors.Is(err, ErrNotJoined) {
		code = http.StatusConflict
	}
	log.Debug("request refused", "error", err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(problem{Message: err.Error()}) // the client is gone if this errs
}
