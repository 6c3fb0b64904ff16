package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what is found as what is expected")

func testdata(t *testing.T, pattern string, least int) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) < least {
		t.Fatalf("testdata/%s: %d files (%v), want %d or more", pattern, len(files), err, least)
	}
	return files
}

// TestBad compares the whole text an operator sees. Every refusal has a file here.
func TestBad(t *testing.T) {
	for _, file := range testdata(t, "*.bad.yml", 60) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".bad.yml"), func(t *testing.T) {
			errs := Check(file, KindAuto)
			if len(errs.Fatal()) == 0 {
				t.Errorf("nothing is refused:\n%v", errs)
			}
			for _, e := range errs {
				if e.Line < 1 || e.Column < 1 {
					t.Errorf("no position: %v", e)
				}
			}
			golden(t, strings.TrimSuffix(file, ".yml")+".txt", errs.Error()+"\n")
			if content, err := os.ReadFile(file); err == nil && Detect(content) == KindAtoll {
				if c, err := Load(file); err == nil || c != nil {
					t.Errorf("Load gives %v, %v where Check finds\n%v", c, err, errs)
				}
			}
		})
	}
}

// TestGood loads every good file; what is worth a warning is in the .txt beside it.
func TestGood(t *testing.T) {
	for _, file := range testdata(t, "*.good.yml", 5) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".good.yml"), func(t *testing.T) {
			errs := Check(file, KindAuto)
			if fatal := errs.Fatal(); len(fatal) > 0 {
				t.Errorf("refused:\n%v", fatal)
			}
			want := strings.TrimSuffix(file, ".yml") + ".txt"
			if _, err := os.Stat(want); err == nil || len(errs) > 0 {
				golden(t, want, errs.Error()+"\n")
			}
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test ./config -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
