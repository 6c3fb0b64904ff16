package main

import (
	"bytes"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// guarded is an island that wants a token; it answers everything with an empty
// status, which a command may not understand.
func guarded(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Header.Get("Authorization") != "Bearer atoll_x_y" {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"code":"unauthenticated","message":"this needs somebody who signed in"}`)
		return
	}
	_, _ = io.WriteString(w, `{"ready":true,"worst":"","active":[],"items":[],"status":"success","data":{"resultType":"vector","result":[]}}`)
}

func TestToken(t *testing.T) {
	island := httptest.NewServer(http.HandlerFunc(guarded))
	defer island.Close()
	for _, command := range [][]string{{"status"}, {"query", "up"}, {"search", "x"}, {"top", "series"}, {"probe", "https://x.example/"}} {
		ask := func(more ...string) (int, string) {
			var out bytes.Buffer
			code := execute(append(append(command, "-u", island.URL), more...), streams{&out, &out})
			return code, out.String()
		}
		if code, text := ask(); code == 0 || !strings.Contains(text, "this needs somebody who signed in; show a token by --token or ATOLL_TOKEN") || strings.Contains(text, "is the island running") {
			t.Errorf("%v without a token: %d %s", command, code, text)
		}
		if code, text := ask("--token", "atoll_other"); code == 0 || !strings.Contains(text, "the token was refused: this needs") {
			t.Errorf("%v with another token: %d %s", command, code, text)
		}
		if _, text := ask("--token", "atoll_x_y"); strings.Contains(text, "signed in") {
			t.Errorf("%v with the token: %s", command, text)
		}
		if code, text := ask("--token", "two words"); code == 0 || !strings.Contains(text, "--token: holds a space") || strings.Contains(text, "two words") {
			t.Errorf("%v with no token: %d %s", command, code, text)
		}
		t.Run(command[0], func(t *testing.T) {
			t.Setenv("ATOLL_TOKEN", "atoll_x_y\n")
			if _, text := ask(); strings.Contains(text, "signed in") {
				t.Errorf("%v with ATOLL_TOKEN: %s", command, text)
			}
		})
	}
}

func TestTokenGoesToItsIslandOnly(t *testing.T) {
	var got []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	island := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusFound))
	defer island.Close()
	client, err := credentials{Token: "atoll_x_y"}.client(island.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get(island.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if len(got) != 1 || got[0] != "" {
		t.Errorf("another server was shown %q", got)
	}
}

func TestCAFile(t *testing.T) {
	island := httptest.NewTLSServer(http.HandlerFunc(guarded))
	defer island.Close()
	dir := t.TempDir()
	trusted, empty := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "empty.pem")
	for file, text := range map[string][]byte{
		trusted: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: island.Certificate().Raw}), empty: nil,
	} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		code int
		want string
		args []string
	}{
		{0, "is ready", []string{"-u", island.URL, "--ca-file", trusted, "--token", "atoll_x_y"}},
		{1, "trust it by --ca-file", []string{"-u", island.URL}},
		{1, "holds no certificate", []string{"-u", island.URL, "--ca-file", empty}},
		{1, "no such file", []string{"-u", island.URL, "--ca-file", filepath.Join(dir, "none")}},
		{1, "begin the URL with https://", []string{"-u", strings.Replace(island.URL, "https", "http", 1)}},
	} {
		var out bytes.Buffer
		if code := execute(append([]string{"status"}, tc.args...), streams{&out, &out}); code != tc.code || !strings.Contains(out.String(), tc.want) {
			t.Errorf("%v: %d %s, want %d with %q", tc.args, code, &out, tc.code, tc.want)
		}
	}
}
