package definition

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUnheeded(t *testing.T) {
	for text, want := range map[string][]string{
		"targets: [https://a.example.com/]\nowner: x\nquorum: {page: 3}\nhistory: 1 of 1\n": nil,
		"targets: [https://a.example.com/]\nseverity: x\ncompare: {max_age: 1m}\n":          {"compare"},
	} {
		d, err := Read("a", "a.yml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, d.Unheeded()); diff != "" {
			t.Errorf("%s%s", text, diff)
		}
	}
}
