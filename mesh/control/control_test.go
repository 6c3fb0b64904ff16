package control

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atoll-mesh/atoll/mesh"
)

// serve runs the routes on the socket of a fresh data directory.
func serve(t *testing.T, dir string, v View, g Governance) *Client {
	t.Helper()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, dir, AllRoutes(v, g, slog.New(slog.DiscardHandler))) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, SocketName)); err == nil {
			t.Error("the socket is left behind")
		}
	})
	return NewClient(dir)
}

func TestSocket(t *testing.T) {
	// Longer than a socket's address can be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 30))
	if _, err := Ask[NetworkStatus](t.Context(), NewClient(dir), "network"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("nobody there: %v, want ErrNotRunning", err)
	}
	c := serve(t, dir, View{
		Network: func() NetworkStatus { return NetworkStatus{Joined: true, Network: "acme"} },
		Peers:   func() ([]mesh.PeerStatus, error) { return nil, ErrNotJoined },
		Audit:   func(w io.Writer) error { _, err := io.WriteString(w, "line\n"); return err },
	}, Governance{
		Invite: func(_ context.Context, r InviteRequest) (InviteResult, error) {
			return InviteResult{Token: "atoll1" + r.Role}, nil
		},
		Invitations: func() ([]Invitation, error) { return []Invitation{{ID: "x", Left: 1}}, nil },
	})
	if s, err := Ask[NetworkStatus](t.Context(), c, "network"); err != nil || s.Network != "acme" {
		t.Errorf("network: %+v, %v", s, err)
	}
	var no *Refusal
	if _, err := Ask[[]mesh.PeerStatus](t.Context(), c, "peers"); !errors.As(err, &no) || no.Status != http.StatusConflict || !strings.Contains(no.Message, "atoll init") {
		t.Errorf("peers without a network: %v", err)
	}
	if got, err := Act[InviteRequest, InviteResult](t.Context(), c, "invite", InviteRequest{Role: "island"}); err != nil || got.Token != "atoll1island" {
		t.Errorf("invite: %+v, %v", got, err)
	}
	if got, err := Ask[[]Invitation](t.Context(), c, "invitations"); err != nil || len(got) != 1 || got[0].Left != 1 {
		t.Errorf("invitations: %+v, %v", got, err)
	}
	if _, err := Act[map[string]int, InviteResult](t.Context(), c, "invite", map[string]int{"rolle": 1}); err == nil || !strings.Contains(err.Error(), "rolle") {
		t.Errorf("an unknown field: %v, want it named", err)
	}
	if _, err := Listen(dir); err == nil || !strings.Contains(err.Error(), "another island") {
		t.Errorf("a second island in one directory: %v", err)
	}
	info, err := os.Stat(filepath.Dir(filepath.Join(dir, SocketName)))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's directory: %v, %v; want it closed to others", info.Mode(), err)
	}
}

// TestSocketOfTheDead is taken over.
func TestSocketOfTheDead(t *testing.T) {
	dir := t.TempDir()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil { // the file stays, as after a kill
		t.Fatal(err)
	}
	c := serve(t, dir, View{Network: func() NetworkStatus { return NetworkStatus{} }}, Governance{})
	if _, err := Ask[NetworkStatus](t.Context(), c, "network"); err != nil {
		t.Error(err)
	}
}

// TestReadRoutes serve nothing that changes.
func TestReadRoutes(t *testing.T) {
	mux := ReadRoutes(View{}, slog.New(slog.DiscardHandler))
	for _, route := range []string{"init", "invite", "withdraw", "join", "leave", "revoke", "rotate", "signer", "trust"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x"+Prefix+route, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, pattern := mux.Handler(req); pattern != "" {
			t.Errorf("%s is served to everybody by %q", route, pattern)
		}
	}
}
