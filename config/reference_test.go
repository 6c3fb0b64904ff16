package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/decode"
)

// TestReferenceIsComplete fails when a room gets a key that the reference does
// not show, or loses one.
func TestReferenceIsComplete(t *testing.T) {
	root, _, problems := decode.Parse([]byte(Reference()))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	keys := 0
	for _, s := range defaults().sections() {
		for _, path := range yamlKeys(reflect.TypeOf(s.into).Elem(), s.name) {
			keys++
			if _, exact := decode.At(root, path); !exact {
				t.Errorf("testdata/full.good.yml lacks %s", path)
			}
		}
	}
	if keys < 100 {
		t.Errorf("found %d keys: the test looks at too little", keys)
	}
	for i, line := range strings.Split(Reference(), "\n") {
		if strings.TrimRight(line, " ") != line || len(line) > 125 {
			t.Errorf("line %d is too long or ends in spaces: %q", i+1, line)
		}
	}
}

// yamlKeys lists the paths of a type's keys, containers included.
func yamlKeys(t reflect.Type, prefix string) (out []string) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case strings.Contains(options, "inline"):
			out = append(out, yamlKeys(f.Type, prefix)...)
		default:
			path := prefix + "." + name
			out = append(out, path)
			if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[yaml.Node]() && !hasText(f.Type) {
				out = append(out, yamlKeys(f.Type, path)...)
			}
		}
	}
	return out
}

func hasText(t reflect.Type) bool {
	_, ok := reflect.PointerTo(t).MethodByName("UnmarshalText")
	return ok
}

// TestReferenceMeansDefault holds the values in the reference to the defaults.
func TestReferenceMeansDefault(t *testing.T) {
	file := filepath.Join(t.TempDir(), "atoll.yaml")
	if err := os.WriteFile(file, []byte(Reference()), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Warnings) > 0 {
		t.Errorf("warnings: %v", got.Warnings)
	}
	want := Default()
	for i, s := range got.sections() {
		before, err := yaml.Marshal(want.sections()[i].into)
		if err != nil {
			t.Fatal(err)
		}
		after, err := yaml.Marshal(s.into)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(before), string(after)); diff != "" {
			t.Errorf("%s (-Default +reference):\n%s", s.name, diff)
		}
	}
	if diff := cmp.Diff(want.Prometheus.String(), got.Prometheus.String()); diff != "" {
		t.Errorf("prometheus (-Default +reference):\n%s", diff)
	}
}
