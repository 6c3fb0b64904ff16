package trust

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

func TestCarried(t *testing.T) {
	w := newWorld(t)
	docs := append(w.reef(), w.deleted("root", SignerDocument(pub("s2")), 9))
	var file bytes.Buffer
	if err := WriteCarried(&file, w.network, docs); err != nil {
		t.Fatal(err)
	}
	text := file.String()
	for name, text := range map[string]string{"as written": text, "as mailed": strings.ReplaceAll(text, "\n", "\r\n")} {
		network, got, err := ReadCarried(strings.NewReader(text))
		if err != nil || network != w.network || len(got) != len(docs) {
			t.Fatalf("%s: %s, %d documents, %v", name, network, len(got), err)
		}
		for i, d := range got {
			if !proto.Equal(d, docs[i]) || VerifyDocument(network, d) != nil {
				t.Errorf("%s: %s is another document", name, d.GetKey())
			}
		}
	}
	lines := strings.SplitAfter(text, "\n")
	for name, tc := range map[string]struct{ text, want string }{
		"empty":            {"", "cut short"},
		"something else":   {"hello\n", "does not begin"},
		"of a newer one":   {strings.Replace(text, "trust 1", "trust 2", 1), "newer"},
		"no network":       {"atoll trust 1 x\n", "network ID"},
		"cut short":        {text[:len(text)/2], "read documents of trust"},
		"without its end":  {strings.Join(lines[:4], ""), "cut short"},
		"a line taken out": {strings.Join(append([]string{lines[0]}, lines[2:]...), ""), "carry it again"},
		"mistyped":         {strings.Replace(text, lines[2], "!"+lines[2], 1), "line 3"},
		"no document":      {lines[0] + "aGVsbG8=\n", "line 2"},
		"endless":          {lines[0] + strings.Repeat("A", 4<<20), "longer than any"},
	} {
		_, _, err := ReadCarried(strings.NewReader(tc.text))
		wantError(t, err, nil, tc.want)
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func FuzzReadCarried(f *testing.F) {
	w := newWorld(f)
	var file bytes.Buffer
	if err := WriteCarried(&file, w.network, w.reef()[:2]); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Add([]byte(carriedHeader + w.network.String() + "\nend 0\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		network, docs, err := ReadCarried(bytes.NewReader(text))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := WriteCarried(&again, network, docs); err != nil {
			t.Fatal(err)
		}
		network2, docs2, err := ReadCarried(&again)
		if err != nil || network2 != network || len(docs2) != len(docs) {
			t.Errorf("written and read again: %d of %d documents, %v", len(docs2), len(docs), err)
		}
	})
}
