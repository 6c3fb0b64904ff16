package island

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/probe"
	"github.com/atoll-mesh/atoll/trust"
)

// near keeps the mesh of a test on this machine.
const near = "mesh: {port: 0, addresses: [127.0.0.1], mdns: false}"

func (s *specimen) eventually(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited for: %s", what)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (s *specimen) sees(name string) bool {
	peers, err := s.peers()
	if err != nil {
		return false
	}
	for _, p := range peers {
		if p.Name == name {
			return p.State == mesh.StateConnected
		}
	}
	return false
}

// TestNetwork takes two islands through the life of a membership: init, join,
// shared rules, a new node key, leaving, and joining again.
func TestNetwork(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	defer http.DefaultClient.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	a, b := newSpecimen(t, lone("a", near)).run(), newSpecimen(t, lone("b", near)).run()

	if _, err := a.invite(ctx, control.InviteRequest{}); err == nil || !strings.Contains(err.Error(), "atoll init") {
		t.Errorf("an invitation without a network: %v", err)
	}
	made, err := a.initNetwork(ctx, control.InitRequest{Network: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	if made.Recovery == "" || made.Network != "acme" {
		t.Errorf("made %+v", made)
	}
	join := func() {
		t.Helper()
		invited, err := a.invite(ctx, control.InviteRequest{Role: "island", Labels: map[string]string{"region": "eu"}, Uses: 1, ExpiresSeconds: 3600})
		if err != nil {
			t.Fatal(err)
		}
		joined, err := b.joinNetwork(ctx, control.JoinRequest{Token: invited.Token})
		if err != nil {
			t.Fatal(err)
		}
		if joined.Network != "acme" || joined.Island != "b" || joined.Members != 2 {
			t.Errorf("joined %+v", joined)
		}
		a.eventually("both are connected", func() bool { return a.sees("b") && b.sees("a") })
		if again, err := b.joinNetwork(ctx, control.JoinRequest{Token: invited.Token}); err != nil || again.Members != 2 {
			t.Errorf("the same token again: %+v, %v; want what holds already", again, err)
		}
	}
	join()

	a.eventually("a search on a finds what b scrapes, and either island once", func() bool {
		targets, islands := a.search("kind:target job:atoll", "scope=all"), a.search("kind:island", "scope=all")
		return len(targets.Items) == 2 && targets.Counts["target"] == 2 && targets.Items[1].Island == "b" &&
			len(islands.Items) == 2 && islands.Counts["island"] == 2 && len(islands.Items[0].Islands) == 2 && len(islands.Islands) == 2 && islands.Islands[1].Answered
	})

	for s, action := range map[*specimen]string{a: "init", b: "join"} {
		var log bytes.Buffer
		if err := s.writeAudit(&log); err != nil || !strings.Contains(log.String(), fmt.Sprintf("%q", action)) {
			t.Errorf("the log of %s does not say how it came in by %s: %v\n%s", s.Config().Island.Name, action, err, &log)
		}
	}

	rules := fmt.Sprintf("islands: '{region=\"eu\"}'\ngroups: [{name: shared, rules: [{record: one, expr: %q}]}]\n", "vector(1)")
	if _, err := a.membership.Load().documents.Set(ctx, "rules/shared", []byte(rules), 0); err != nil {
		t.Fatal(err)
	}
	has := func(s *specimen) bool { return strings.Contains(s.ask("/api/v1/rules"), `"shared"`) }
	b.eventually("the rule is in force in eu", func() bool { return has(b) })
	if has(a) {
		t.Error("the rule is in force where it is not meant to be")
	}
	if _, err := a.membership.Load().documents.Set(ctx, "rules/bad", []byte("groups: [{name: x, rules: [{record: y, expr: '1 +'}]}]\n"), 0); err == nil {
		t.Error("a rule that cannot be parsed is shared")
	}

	if _, err := a.promote(ctx, control.PromoteRequest{Names: []string{"b", "nobody"}}); err == nil || len(a.membership.Load().primaries()) != 0 {
		t.Errorf("with a wrong name among others: %v, primaries are %v", err, a.membership.Load().primaries())
	}
	if res, err := a.promote(ctx, control.PromoteRequest{Names: []string{"b"}}); err != nil || !slices.Equal(res.Primaries, []string{"b"}) {
		t.Errorf("promote b: %+v, %v", res, err)
	}

	if _, err := a.membership.Load().documents.Set(ctx, "globalrules/up", []byte("groups: [{name: g, interval: 1s, rules: [{record: 'all:up', expr: count(up)}]}]\n"), 0); err != nil {
		t.Error(err)
	}
	a.eventually("a says who evaluates the network's rules", func() bool {
		body := a.ask("/api/v1/rules")
		return strings.Contains(body, `"global":[{"document":"up"`) && strings.Contains(body, `"owner":"b"`)
	})

	// A step of the old membership that ends badly must not leave the island outside.
	b.steps.start("shared", func(ctx context.Context) error { <-ctx.Done(); return errors.New("boom") })
	before := b.networkStatus().Key
	if res, err := b.rotate(ctx, control.RotateRequest{What: "node"}); err != nil || res.Old != before || res.New != b.networkStatus().Key {
		t.Fatalf("rotate: %+v, %v; the key was %s", res, err, before)
	}
	a.eventually("b is back under its new key", func() bool { return a.sees("b") && b.sees("a") })

	if body := b.ask(control.Prefix + "peers"); !strings.Contains(body, `"connected"`) {
		t.Errorf("peers over HTTP: %s", body)
	}
	a.eventually("b says itself where it stands", func() bool {
		var list struct{ Data []probe.VantageInfo }
		if err := json.Unmarshal([]byte(a.ask(probe.VantagesPath)), &list); err != nil || len(list.Data) != 2 {
			return false
		}
		one, other := list.Data[0], list.Data[1]
		return one.Here && one.Name == "a" && other.Name == "b" && other.Connected && other.Told != nil && other.Problem == "" && other.Region == "eu" &&
			other.ID == b.networkStatus().Key && other.Role == "island"
	})
	if body := a.ask(probe.MatrixPath); !strings.Contains(body, `"targets":[]`) {
		t.Errorf("a matrix of nothing: %s", body)
	}
	if body := b.ask("/metrics"); !strings.Contains(body, "atoll_mesh_") || !strings.Contains(body, "atoll_replica_") {
		t.Error("the metrics of the mesh are missing")
	}

	if _, err := b.leaveNetwork(ctx, control.LeaveRequest{}); err != nil {
		t.Fatal(err)
	}
	b.eventually("the shared rule is gone", func() bool { return !has(b) })
	a.eventually("a has heard", func() bool { return a.networkStatus().Members == 1 })
	if s := b.networkStatus(); s.Joined {
		t.Errorf("b still belongs to %s", s.Network)
	}
	join()
	for _, s := range []*specimen{b, a} {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}
}

// TestLeaveCutShort kills an island between the end of its keys and the end of
// its documents: it runs on without them, and enters another network.
func TestLeaveCutShort(t *testing.T) {
	for name, next := range map[string]func(t *testing.T, s *specimen){
		"then it runs": func(t *testing.T, s *specimen) {
			s.run()
			if body := s.ask("/api/v1/rules"); strings.Contains(body, `"shared"`) {
				t.Errorf("a rule of the network that was left is in force: %s", body)
			}
			if _, err := os.Stat(filepath.Dir(replicaFile(s.Config().Island.DataDir))); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the documents of the network that was left are still there: %v", err)
			}
			// And from one network into the next, with a log of each.
			if _, err := s.initNetwork(t.Context(), control.InitRequest{Network: "between"}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.leaveNetwork(t.Context(), control.LeaveRequest{}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.initNetwork(t.Context(), control.InitRequest{Network: "second"}); err != nil {
				t.Error(err)
			}
		},
		"then it makes another network without running": func(t *testing.T, s *specimen) {
			if _, err := Init(t.Context(), s.Config(), control.InitRequest{Network: "second"}); err != nil {
				t.Fatal(err)
			}
			s.run()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSpecimen(t, lone("a", near))
			if _, err := Init(t.Context(), s.Config(), control.InitRequest{Network: "first"}); err != nil {
				t.Fatal(err)
			}
			rules := filepath.Join(sharedDir(s.Config().Island.DataDir, config.SharedRules), "x.yml")
			content := "groups: [{name: shared, rules: [{record: one, expr: vector(1)}]}]\n"
			if err := errors.Join(os.MkdirAll(filepath.Dir(rules), 0o755), os.WriteFile(rules, []byte(content), 0o600)); err != nil {
				t.Fatal(err)
			}
			home, err := trust.OpenHome(meshDir(s.Config().Island.DataDir))
			if err == nil {
				err = home.Forget()
			}
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := s.load() // as at the next start
			if err != nil {
				t.Fatal(err)
			}
			s.adopt(cfg)
			next(t, s)
			if status := s.networkStatus(); status.Network != "second" {
				t.Errorf("in network %q", status.Network)
			}
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}
