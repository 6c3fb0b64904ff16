package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/trust"
)

// keyNamed is the same key for the same letter.
func keyNamed(t *testing.T, letter byte) trust.Key {
	t.Helper()
	k, err := trust.FromSeed(bytes.Repeat([]byte{letter}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k.Public()
}

// pretend answers on the socket of a data directory as an island would.
func pretend(t *testing.T, answers map[string]string, v control.View, g control.Governance) (dir string) {
	t.Helper()
	dir = t.TempDir()
	l, err := control.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	mux := control.AllRoutes(v, g, slog.New(slog.DiscardHandler))
	for path, answer := range answers {
		mux.HandleFunc("GET "+documentsPath+path, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- control.Serve(ctx, l, dir, mux) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return dir
}

func versionJSON(at int, author trust.Key, value string) string {
	return fmt.Sprintf(`{"key":"rules/x","time":"%d","modified":"2026-11-22T12:00:00Z","author":%q,"bytes":%d,"value":%q}`, at, author, len(value), value)
}

func say(t *testing.T, code int, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if got := execute(args, streams{&out, &errs}); got != code {
		t.Errorf("atoll %s: code %d, want %d; said:\n%s%s", strings.Join(args, " "), got, code, &out, &errs)
	}
	return out.String()
}

// TestVersions shows every version with who wrote it, and their differences.
func TestVersions(t *testing.T) {
	self, peer, signer, root, gone := keyNamed(t, 'a'), keyNamed(t, 'b'), keyNamed(t, 'c'), keyNamed(t, 'd'), keyNamed(t, 'e')
	history := func(current string, older ...string) string {
		return fmt.Sprintf(`{"current":%s,"versions":[%s]}`, current, strings.Join(older, ","))
	}
	dir := pretend(t, map[string]string{
		"":                    `{"documents":[` + versionJSON(5, gone, "five\n") + "," + versionJSON(4, root, "") + `]}`,
		"/rules/one/history":  history(versionJSON(1, self, "one\n")),
		"/rules/many/history": history(versionJSON(3, self, "three\n"), versionJSON(2, peer, "two\n"), versionJSON(1, signer, "one\n")),
		"/rules/many":         versionJSON(3, self, "three\n"),
	}, control.View{
		Network: func() control.NetworkStatus {
			return control.NetworkStatus{
				Joined: true, Island: "here", Key: self.String(), Signers: []control.Signer{{Name: "lisbon", Key: signer.String()}}, RootKeys: []string{root.String()},
			}
		},
		Peers: func() ([]mesh.PeerStatus, error) { return []mesh.PeerStatus{{Key: peer, Name: "porto"}}, nil },
	}, control.Governance{})
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("file"), 0o600); err != nil {
		t.Fatal(err)
	}
	in := []string{"--data-dir", dir}
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"history", "rules/one"}, 0, "VERSION/1 here 4"},
		{[]string{"history", "rules/many"}, 0, "VERSION/3 here 6/2 porto 4/1 lisbon (signer) 4"},
		{[]string{"get"}, 0, "DOCUMENT/rules/x " + gone.Short() + " 5/rules/x root 0"},
		{[]string{"diff", "rules/one"}, 3, "--- rules/one before/+++ rules/one now/@@ -0,0 +1 @@/+one"},
		{[]string{"diff", "rules/many"}, 3, "--- rules/many 2/+++ rules/many now/@@ -1 +1 @@/-two/+three"},
		{[]string{"diff", "rules/many", "--version", "1"}, 3, "--- rules/many 1/+++ rules/many now/@@ -1 +1 @@/-one/+three"},
		{[]string{"diff", "rules/many", "--version", "3"}, 0, ""},
		{[]string{"diff", "rules/many", "--version", "9"}, 1, ""},
		{[]string{"diff", "rules/many", "-f", file}, 3, "--- rules/many now/+++ rules/many " + file + "/@@ -1 +1 @@/-three/+file"},
	} {
		var got []string
		for line := range strings.Lines(say(t, tc.code, append(tc.args, in...)...)) {
			line = strings.ReplaceAll(line, time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).Local().Format(time.DateTime), "")
			line = strings.TrimSuffix(strings.Join(strings.Fields(line), " "), " CHANGED BY BYTES")
			got = append(got, line)
		}
		if text := strings.Join(got, "/"); text != tc.want {
			t.Errorf("atoll %s:\n%s\nwant\n%s", strings.Join(tc.args, " "), text, tc.want)
		}
	}
	if text := say(t, 0, append([]string{"history", "--json", "rules/one"}, in...)...); !strings.Contains(text, `"value": "one\n"`) {
		t.Errorf("history in JSON: %s", text)
	}
}

func TestInvitations(t *testing.T) {
	var withdrawn string
	open := []control.Invitation{{ID: "12D3KooWx", Role: "island", Labels: map[string]string{"region": "eu", "az": "1"}, Left: 2, Uses: 3, By: "lisbon"}}
	dir := pretend(t, nil, control.View{}, control.Governance{
		Invitations: func() ([]control.Invitation, error) { return open, nil },
		Withdraw: func(_ context.Context, r control.WithdrawRequest) (control.WithdrawResult, error) {
			withdrawn = r.Which
			return control.WithdrawResult{ID: "12D3KooWx", Used: 1, Uses: 3}, nil
		},
	})
	if text := say(t, 0, "invite", "--list", "--data-dir", dir); !strings.Contains(text, "az=1,region=eu  2 of 3") || !strings.Contains(text, "lisbon") {
		t.Errorf("listed:\n%s", text)
	}
	if text := say(t, 0, "invite", "--withdraw", "porto", "--data-dir", dir); withdrawn != "porto" || !strings.Contains(text, "1 of 3 had come") {
		t.Errorf("withdrew %q and said:\n%s", withdrawn, text)
	}
	open = []control.Invitation{}
	if text := say(t, 0, "invite", "--list", "--data-dir", dir); !strings.Contains(text, "atoll invite") {
		t.Errorf("without any:\n%s", text)
	}
	if text := say(t, 0, "invite", "--list", "--json", "--data-dir", dir); text != "[]\n" {
		t.Errorf("without any, in JSON: %s", text)
	}
}
