package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestSearchCommand(t *testing.T) {
	var asked string
	island := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query().Encode()
		if strings.Contains(asked, "nothing") {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"code":"bad_request","message":"search: too long","remedy":"Search for less."}`)
			return
		}
		fmt.Fprint(w, `{"items":[{"kind":"host","name":"web\u001b[2J-1","island":"paris","state":"up","summary":"Debian"}],"counts":{"host":3},"islands":[{"name":"paris","answered":true},{"name":"rome","answered":false,"error":"deadline exceeded"}]}`)
	}))
	defer island.Close()
	var out, errs bytes.Buffer
	if code := execute([]string{"search", "-u", island.URL, "web", "owner:team web", "no room", "-n", "5"}, streams{&out, &errs}); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	if want := `limit=5&q=web+owner%3A%22team+web%22+%22no+room%22&scope=all`; asked != want {
		t.Errorf("asked %s, want %s", asked, want)
	}
	want := "KIND  NAME       STATE  ISLAND  SUMMARY\nhost  web[2J-1  up     paris   Debian\nand 2 more\nrome did not answer: deadline exceeded\n"
	if got := strings.Join(strings.Fields(out.String()), " "); got != strings.Join(strings.Fields(want), " ") {
		t.Errorf("printed\n%s", &out)
	}
	if code := execute([]string{"search", "-u", island.URL, "nothing", "--here"}, streams{&out, &errs}); code != 1 || !strings.Contains(errs.String(), "search: too long; Search for less.") || strings.Contains(asked, "scope") {
		t.Errorf("exit code %d after asking %s: %s", code, asked, &errs)
	}
}
