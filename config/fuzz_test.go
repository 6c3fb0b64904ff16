package config

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzLoad feeds strange bytes to every kind of file: an answer with positions,
// and no panic, whatever they are.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"*.bad.yml", "*.good.yml"} {
		files, err := filepath.Glob(filepath.Join("testdata", pattern))
		if err != nil || len(files) == 0 {
			f.Fatalf("no seeds: %v", err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			if len(content) < 4<<10 {
				f.Add(content)
			}
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		file := filepath.Join(t.TempDir(), "fuzzed.yml")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, kind := range Kinds() {
			for _, e := range Check(file, kind) {
				if e.Line < 1 || e.Column < 1 || e.File == "" || e.Message == "" {
					t.Errorf("as %s: %#v says not enough", kind, e)
				}
			}
		}
		if c, err := Load(file); (c == nil) == (err == nil) {
			t.Errorf("Load gives %v and %v", c, err)
		}
	})
}
