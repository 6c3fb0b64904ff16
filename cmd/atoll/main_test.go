package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExitCodes holds what scripts rely on.
func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yml")
	if err := os.WriteFile(bad, []byte("stor: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"version"}, 0, "prometheus v"},
		{[]string{"--help"}, 0, "atoll demo"},
		{[]string{"query", "--help"}, 0, "Examples:"},
		{[]string{"check", "--example"}, 0, "scrape_interval"},
		{[]string{"check", "--kind", "atoll", bad}, 1, "bad.yml:1:1"},
		{[]string{"check", filepath.Join(dir, "nowhere.yml")}, 1, "nowhere.yml"},
		{[]string{"run", "--config", bad}, 1, "stor"},
		{[]string{"run", "--bogus"}, 2, "--bogus"},
		{[]string{"query", "up", "-f", "yaml"}, 2, "yaml"},
		{[]string{"query", "up", "--time", "soon"}, 2, "RFC 3339"},
		{[]string{"query", "up", "-u", "http://127.0.0.1:1"}, 1, "127.0.0.1:1"},
		{[]string{"status", "-u", "http://127.0.0.1:1"}, 1, "atoll run"},
		{[]string{"peers", "--data-dir", dir}, 1, "no island is running"},
		{[]string{"invite", "--data-dir", dir}, 1, "atoll run"},
		{[]string{"invite", "--role", "king"}, 2, "island"},
		{[]string{"invite", "--list", "--withdraw", "lisbon"}, 2, "--withdraw"},
		{[]string{"invite", "--help"}, 0, "atoll invite --list"},
		{[]string{"join", "--no-run", "--data-dir", dir, "atoll1nonsense"}, 1, "token"},
		{[]string{"join", "--help"}, 0, "Examples:"},
		{[]string{"init", "--data-dir", filepath.Join(dir, "first"), "acme"}, 0, "Recovery key"},
		{[]string{"init", "--data-dir", filepath.Join(dir, "first"), "acme"}, 1, "already"},
		{[]string{"audit", "--verify", bad}, 1, "bad.yml"},
		{[]string{"set", "rules/x", "--data-dir", dir}, 1, "--file"},
		{[]string{"get", "rules/x", "--data-dir", dir}, 1, "no island is running"},
		{[]string{"signer", "add", "lisbon", "--data-dir", dir}, 1, "--key"},
	} {
		var out, errs bytes.Buffer
		code := execute(tc.args, streams{&out, &errs})
		if said := out.String() + errs.String(); code != tc.code || !strings.Contains(said, tc.says) {
			t.Errorf("atoll %s: code %d, want %d; said:\n%s\nwant %q in it", strings.Join(tc.args, " "), code, tc.code, said, tc.says)
		}
	}
}
