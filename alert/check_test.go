package alert

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/promql/parser"
)

var update = flag.Bool("update", false, "write the .want files anew")

// golden compares the problems of each testdata/<dir>/*.yml with its .want
// file; a *.good.yml has none.
func golden(t *testing.T, dir string, check func(file string, content []byte) []Problem) {
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.yml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("files in testdata/%s: %v, %v", dir, files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, p := range check(filepath.Base(file), content) {
				kind := ""
				if p.Warning {
					kind = "warning: "
				}
				fmt.Fprintf(&got, "%s%s\n", kind, p.Error())
			}
			if strings.HasSuffix(file, ".good.yml") {
				if got.Len() > 0 {
					t.Errorf("refused: %s", got.String())
				}
				return
			}
			wantFile := strings.TrimSuffix(file, ".yml") + ".want"
			if *update {
				if err := os.WriteFile(wantFile, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			if len(want) == 0 {
				t.Error("a .bad.yml without a problem")
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckRules(t *testing.T) {
	p := parser.NewParser(parser.Options{})
	golden(t, "rules", func(file string, content []byte) []Problem { return CheckRules(file, content, p) })
}

func TestCheckAlertmanager(t *testing.T) {
	golden(t, "alertmanager", func(file string, content []byte) []Problem {
		return CheckAlertmanager(file, content, "testdata/alertmanager")
	})
}

// Whatever stands in a rule file, checking it ends, and accepts nothing that
// Prometheus' own parser refuses.
func FuzzCheckRules(f *testing.F) {
	files, err := filepath.Glob("testdata/rules/*.yml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	p := parser.NewParser(parser.Options{})
	f.Fuzz(func(t *testing.T, content []byte) {
		groups, problems := checkRules("rules.yml", content, p, 0)
		errs, _ := problems.split()
		if (groups == nil) != (len(errs) > 0) {
			t.Errorf("groups %v beside problems %v", groups, errs)
		}
		lines := 1
		for _, r := range string(content) {
			if strings.ContainsRune("\n\r\u0085\u2028\u2029", r) { // YAML's ends of line
				lines++
			}
		}
		for _, problem := range problems {
			if problem.Line < 0 || problem.Column < 0 || problem.Line > lines+1 || problem.Message == "" {
				t.Errorf("problem %#v in a file of %d lines", problem, lines)
			}
		}
	})
}
