package bucket

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file that is sent in parts is sent on where it was cut off, and what was sent
// of another content is sent anew.
func TestPartsAreResumed(t *testing.T) {
	server, s := newServer(t), newSite(t)
	c := server.config(t)
	c.UploadRate = 1 << 30
	b := s.open(c)
	p := b.cur.Load()
	path := filepath.Join(t.TempDir(), "large")
	content := make([]byte, 2*partSize+partSize/2)
	for i := range content {
		content[i] = byte(i >> 10)
	}
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := digest("index", path)
	if err != nil {
		t.Fatal(err)
	}
	if f.size <= singlePut {
		t.Fatal("the file is too small for parts")
	}
	server.set(func(_ int, r *http.Request) fault {
		if r.URL.Query().Get("partNumber") == "3" {
			return refused
		}
		return sound
	})
	if err := p.put(t.Context(), "x/index", f); err == nil {
		t.Fatal("went through without its last part")
	}
	list, err := p.list(t.Context(), "x/", true)
	if err != nil || len(list) != 1 || list[0] != (object{"x/index", -1}) {
		t.Fatalf("an unfinished upload is listed as %v: %v", list, err)
	}
	server.set(nil)
	before := len(server.requests())
	if err := p.put(t.Context(), "x/index", f); err != nil {
		t.Fatal(err)
	}
	puts := 0
	for _, r := range server.requests()[before:] {
		if strings.HasPrefix(r, http.MethodPut) {
			puts++
		}
	}
	if puts != 1 {
		t.Errorf("%d parts were sent, want the one that was missing", puts)
	}
	if same, err := sameContent(t.Context(), p, "x/index", f); err != nil || !same {
		t.Errorf("the content is another: %v", err)
	}
}
