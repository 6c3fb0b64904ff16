package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/atoll-mesh/atoll"

// storeys lists the house from the roof down. A package may import packages of
// its own folder and of folders on lower storeys, never up and never sideways.
var storeys = [][]string{
	{"cmd"},
	{"demo"},
	{"island"},
	{"config"},
	{"mesh", "replica", "replicate", "collect", "probe", "edge", "aggregate", "store", "query", "alert", "asset", "distribute", "portal"},
	{"ui"},
	{"trust"},
	{"flow", "wire", "budget", "policy", "decode"},
	{"health"},
}

// underRooms are the folders below the rooms that may import each other's
// leaves: budget wraps the errors that flow declares.
var sidewaysAllowed = map[string][]string{
	"budget": {"flow"},
}

// tests stand outside the house and may look into every room.
var outside = []string{"test", "lab"}

// homes says which folder alone may import a third-party heavyweight.
var homes = map[string]string{
	"github.com/cilium/ebpf":       "edge",
	"github.com/libp2p/":           "mesh",
	"github.com/anacrolix/torrent": "distribute",
}

type goPackage struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	Imports      []string
}

func (p goPackage) folder() string {
	rel := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
	folder, _, _ := strings.Cut(rel, "/")
	return folder
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles,Imports", module+"/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("decode go list: %v", err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) < 5 {
		t.Fatalf("go list found %d packages: the rules below would hold for nothing", len(pkgs))
	}
	return pkgs
}

func storey(folder string) int {
	return slices.IndexFunc(storeys, func(s []string) bool { return slices.Contains(s, folder) })
}

func TestImportsRunDown(t *testing.T) {
	for _, p := range packages(t) {
		from := p.folder()
		if slices.Contains(outside, from) {
			continue
		}
		if storey(from) < 0 {
			t.Errorf("folder %q stands on no storey: add it to storeys in this file, or move it", from)
			continue
		}
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, module+"/") {
				continue
			}
			if why := forbidden(from, goPackage{ImportPath: imp}.folder()); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, imp, why)
			}
		}
	}
}

// forbidden says why a package in folder from may not import one in folder to,
// or "" where it may.
func forbidden(from, to string) string {
	switch {
	case from == to, slices.Contains(sidewaysAllowed[from], to):
		return ""
	case slices.Contains(outside, to):
		return "tests are not imported"
	case storey(to) < storey(from):
		return "imports run down only"
	case storey(to) == storey(from):
		return "a room never imports another room; declare the methods you need and let island hand them over"
	case to == "ui" && from != "portal":
		return "only portal shows the UI"
	}
	return ""
}

func TestHeavyweightsHaveOneHome(t *testing.T) {
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			for prefix, home := range homes {
				if strings.HasPrefix(imp, prefix) && p.folder() != home {
					t.Errorf("%s imports %s: only %s/ may", p.ImportPath, imp, home)
				}
			}
		}
	}
}

func TestForbidden(t *testing.T) {
	for _, tc := range []struct {
		from, to string
		ok       bool
	}{
		{"cmd", "island", true},
		{"island", "store", true},
		{"store", "flow", true},
		{"budget", "flow", true},
		{"flow", "budget", false},
		{"store", "query", false},
		{"store", "island", false},
		{"query", "ui", false},
		{"portal", "ui", true},
		{"config", "island", false},
	} {
		if got := forbidden(tc.from, tc.to) == ""; got != tc.ok {
			t.Errorf("%s may import %s: %v, want %v", tc.from, tc.to, got, tc.ok)
		}
	}
}

// TestSource reads every file once: package docs, file length, init functions,
// sleeps in tests.
func TestSource(t *testing.T) {
	for _, p := range packages(t) {
		documented := len(p.GoFiles) == 0
		virtual := usesSynctest(t, p)
		for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			path := filepath.Join(p.Dir, name)
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			isTest := strings.HasSuffix(name, "_test.go")
			if !isTest && file.Doc != nil && len(strings.Fields(file.Doc.Text())) >= 8 {
				documented = true
			}
			if ast.IsGenerated(file) {
				continue
			}
			rel := strings.TrimPrefix(p.ImportPath, module+"/") + "/" + name
			if n := countLines(src); n > 600 {
				t.Errorf("%s has %d lines: split it by what it is about (limit 600)", rel, n)
			}
			for _, problem := range habits(file, isTest, virtual) {
				t.Errorf("%s: %s", rel, problem)
			}
		}
		if !documented {
			t.Errorf("%s has no package doc: say what comes in, what goes out, what is guaranteed", p.ImportPath)
		}
	}
}

func countLines(src []byte) int {
	n := 0
	for s := bufio.NewScanner(bytes.NewReader(src)); s.Scan(); {
		n++
	}
	return n
}

// habits finds init functions outside tests and sleeps inside them, unless their
// package has virtual time.
func habits(file *ast.File, isTest, virtual bool) []string {
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" && !isTest {
				found = append(found, "func init: do the work in New, visibly")
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && isTest && x.Name == "time" && n.Sel.Name == "Sleep" && !virtual {
				found = append(found, "time.Sleep in a test: use testing/synctest, or poll with a deadline")
			}
		}
		return true
	})
	return found
}

// usesSynctest reports whether the package's tests run under virtual time, where
// a sleep costs nothing and is exact. Harness and tests may be in two files.
func usesSynctest(t *testing.T, p goPackage) bool {
	t.Helper()
	return slices.ContainsFunc(slices.Concat(p.TestGoFiles, p.XTestGoFiles), func(name string) bool {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool {
			return i.Path.Value == fmt.Sprintf("%q", "testing/synctest")
		})
	})
}
