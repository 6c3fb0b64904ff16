package definition

import (
	_ "embed"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/decode"
)

// Errors are all mistakes of one file, by position.
type Errors struct {
	// File is the name that was given to the reader.
	File     string
	Problems []decode.Problem
}

// Error lists one problem a line, as FILE:LINE:COLUMN: FIELD: MESSAGE.
func (e Errors) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		if p.Path != "" {
			p.Path += ": "
		}
		lines[i] = fmt.Sprintf("%s:%d:%d: %s%s", e.File, p.Line, p.Column, p.Path, p.Message)
	}
	return strings.Join(lines, "\n")
}

// Modules are modules by name. What they point to is shared.
type Modules map[string]*Module

// With returns these modules with more of them, which win over those of the same name.
func (m Modules) With(more Modules) Modules {
	all := maps.Clone(m)
	if all == nil {
		all = Modules{}
	}
	maps.Copy(all, more)
	return all
}

// Names lists them in order.
func (m Modules) Names() []string { return slices.Sorted(maps.Keys(m)) }

//go:embed builtin.yml
var builtin []byte

// Builtin are the modules that every island has.
func Builtin() Modules {
	m, err := ReadModules("builtin.yml", builtin)
	if err != nil {
		panic(fmt.Sprintf("BUG: the built-in modules do not load:\n%v", err))
	}
	return m
}

// reader gathers the mistakes of one file.
type reader struct {
	file     string
	problems []decode.Problem
}

// moduleFile is blackbox_exporter's configuration file.
type moduleFile struct {
	Modules map[string]*Module `yaml:"modules"`
}

// ReadModules reads a module file of blackbox_exporter, in which modules may have
// the further keys of Module. The error is of type Errors.
func ReadModules(file string, text []byte) (Modules, error) {
	r := &reader{file: file}
	f := moduleFile{}
	if clean, ok := r.into(r.parse(text), &f, ""); ok {
		modules, _ := decode.At(clean.Node, "modules")
		for i := 0; modules.Kind == yaml.MappingNode && i+1 < len(modules.Content); i += 2 {
			key := modules.Content[i]
			m := f.Modules[key.Value]
			path := "modules." + key.Value
			if m == nil {
				r.fail(key, path, "is empty; name a prober: %s", strings.Join(Probers(), ", "))
				continue
			}
			r.report(modules.Content[i+1], path, m.check())
		}
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return Modules(f.Modules), nil
}

// Read reads the document of a definition with that name, "" where it has none yet.
// The error is of type Errors.
func Read(name, file string, text []byte) (*Definition, error) {
	r := &reader{file: file}
	root := r.parse(text)
	if root == nil {
		return nil, r.err()
	}
	d := r.definition(root, "")
	if d == nil || r.err() != nil {
		return nil, r.err()
	}
	if d.Name != "" && name != "" && d.Name != name {
		_, at := decode.Get(root, "name")
		r.fail(at, "name", "%q: is called %q by its document; leave the key out", d.Name, name)
		return nil, r.err()
	}
	if name != "" {
		d.Name = name
	}
	return d, nil
}

// ReadList reads a list of definitions that stands in a file at a field, such as
// probe.definitions; each has a name of its own. There is one for each item, nil where
// nothing could be read, also beside an error, which is of type Errors: then they are
// good for looking for further mistakes only.
func ReadList(file, field string, list *yaml.Node) ([]*Definition, error) {
	r := &reader{file: file}
	if list.Kind != yaml.SequenceNode {
		r.fail(list, field, "expected a list (lines that begin with -), found %s", decode.Describe(list))
		return nil, r.err()
	}
	all := make([]*Definition, len(list.Content))
	first := map[string]int{}
	for i, n := range list.Content {
		path := decode.Item(field, n, i)
		d := r.definition(n, path)
		if d == nil {
			continue
		}
		switch line, again := first[d.Name]; {
		case d.Name == "":
			r.fail(n, path, "has no name; write name: and what the targets have in common")
		case again:
			r.fail(n, path+".name", "%q is the name of the definition in line %d; each has its own", d.Name, line)
		}
		first[d.Name] = n.Line
		all[i] = d
	}
	return all, r.err()
}

func (r *reader) parse(text []byte) *yaml.Node {
	root, second, problems := decode.Parse(text)
	r.problems = append(r.problems, problems...)
	if second > 0 {
		r.problems = append(r.problems, decode.Problem{Line: second, Column: 1, Message: "a second document begins; put one into each file"})
	}
	return root
}

// into checks n as what v points to, and decodes what passed. ok is false if
// nothing did.
func (r *reader) into(n *yaml.Node, v any, path string) (clean decode.Result, ok bool) {
	if n == nil {
		return decode.Result{}, false
	}
	c := decode.New(decode.V3)
	clean = c.Check(n, reflect.TypeOf(v), path)
	r.problems = append(r.problems, c.Problems()...)
	if clean.Node == nil {
		return clean, false
	}
	if err := clean.Node.Decode(v); err != nil {
		if len(c.Problems()) == 0 {
			r.fail(n, path, "%s", decode.Message(err))
		}
		return clean, false
	}
	return clean, true
}

func (r *reader) definition(n *yaml.Node, path string) *Definition {
	d := &Definition{}
	clean, ok := r.into(n, d, path)
	if !ok {
		return nil
	}
	r.report(clean.Node, path, d.check())
	d.fill()
	return d
}

// report places mistakes whose fields are relative to n, which is found at path.
func (r *reader) report(n *yaml.Node, path string, mistakes []mistake) {
	known := r.problems
	for _, m := range mistakes {
		at, _ := decode.At(n, m.field)
		where := decode.Join(path, m.field)
		// What was refused already is missing here, which is no mistake of its own.
		refused := func(p decode.Problem) bool {
			rest, within := strings.CutPrefix(p.Path, where)
			return within && (rest == "" || rest[0] == '.' || rest[0] == '[')
		}
		if !slices.ContainsFunc(known, refused) {
			r.fail(at, where, "%s", m.text)
		}
	}
}

func (r *reader) fail(n *yaml.Node, path, format string, args ...any) {
	r.problems = append(r.problems, decode.Problem{Line: n.Line, Column: n.Column, Path: path, Message: fmt.Sprintf(format, args...)})
}

func (r *reader) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b decode.Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return Errors{File: r.file, Problems: r.problems}
}
