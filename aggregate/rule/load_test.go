package rule

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the .txt files of testdata anew")

func environment(name string) (string, bool) {
	if name == "STEP" {
		return "5m", true
	}
	return "", false
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yml")
	if err != nil || len(files) < 8 {
		t.Fatalf("testdata has %d files, error %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			set, err := LoadEnv(filepath.Base(file), text, environment)
			if good := strings.HasSuffix(file, ".good.yml"); good != (err == nil) {
				t.Fatalf("good is %v, error: %v", good, err)
			}
			var got string
			if err == nil {
				got = set.String()
			} else {
				var list Errors
				if !errors.As(err, &list) || len(list) == 0 {
					t.Fatalf("the error is %T, want Errors", err)
				}
				got = err.Error() + "\n"
			}
			golden := strings.TrimSuffix(file, ".yml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestLoadNode(t *testing.T) {
	var doc yaml.Node
	text := "aggregate:\n  rules:\n    - {interval: 1m, outputs: [total]}\n    - {interval: 1m, outputs: [totl]}\n"
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	list := doc.Content[0].Content[1].Content[1]
	_, err := LoadNode("atoll.yml", "aggregate.rules", list)
	if err == nil || !strings.HasPrefix(err.Error(), "atoll.yml:4:32: aggregate.rules[1].outputs[0]: no such output") {
		t.Errorf("error %v", err)
	}
	list.Content = list.Content[:1]
	set, err := LoadNode("atoll.yml", "aggregate.rules", list)
	if err != nil || len(set.Rules) != 1 {
		t.Errorf("set %v, error %v", set, err)
	}
	if set, err := LoadNode("atoll.yml", "aggregate.rules", nil); err != nil || len(set.Rules) != 0 {
		t.Errorf("set %v, error %v", set, err)
	}
}

func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := LoadEnv("f", text, environment)
		if (set == nil) == (err == nil) {
			t.Fatalf("set %v, error %v", set, err)
		}
		if err != nil {
			return
		}
		again, err := LoadEnv("f", text, environment)
		if err != nil || set.String() != again.String() {
			t.Fatalf("the same text gives other rules: %v", err)
		}
		hashes := map[uint64]bool{}
		for i, r := range set.Rules {
			if hashes[r.Hash] || r.Hash != again.Rules[i].Hash || r.Interval <= 0 || len(r.Outputs) == 0 {
				t.Fatalf("rule %s", r)
			}
			hashes[r.Hash] = true
		}
	})
}
