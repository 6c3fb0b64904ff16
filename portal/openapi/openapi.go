package openapi

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Path is where an island serves the document.
const Path = "/api/openapi.json"

// base is the fragment that alone says what is not of one area.
const base = "base.yaml"

//go:embed *.yaml
var fragments embed.FS

// Document is all fragments in one, as JSON.
func Document() ([]byte, error) { return merge(fragments) }

// fragment is the part of an OpenAPI document that one area may define.
type fragment struct {
	Tags       []map[string]any          `yaml:"tags"`
	Paths      map[string]any            `yaml:"paths"`
	Components map[string]map[string]any `yaml:"components"`
}

func merge(files fs.FS) ([]byte, error) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list the fragments: %w", err)
	}
	whole := map[string]any{}
	text, err := fs.ReadFile(files, base)
	if err != nil {
		return nil, fmt.Errorf("read the fragment that the others belong to: %w", err)
	}
	if err := yaml.Unmarshal(text, &whole); err != nil {
		return nil, fmt.Errorf("read fragment %s: %w", base, err)
	}
	all := merged{from: map[string]string{}}
	for _, name := range names {
		if err := all.add(files, name); err != nil {
			return nil, err
		}
	}
	whole["tags"], whole["paths"], whole["components"] = all.tags, all.paths, all.components
	out, err := json.Marshal(whole)
	if err != nil {
		return nil, fmt.Errorf("write the document as JSON: %w", err)
	}
	return out, resolve(out)
}

// merged is what the fragments read so far define.
type merged struct {
	from       map[string]string // by the place of a definition, its fragment
	tags       []map[string]any
	paths      map[string]any
	components map[string]map[string]any
}

func (m *merged) add(files fs.FS, name string) error {
	text, err := fs.ReadFile(files, name)
	if err != nil {
		return fmt.Errorf("read a fragment: %w", err)
	}
	var f fragment
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	dec.KnownFields(name != base) // a misspelt section would be lost
	if err := dec.Decode(&f); err != nil {
		return fmt.Errorf("read fragment %s: %w", name, err)
	}
	var errs []error
	define := func(place string) {
		if other, taken := m.from[place]; taken {
			errs = append(errs, fmt.Errorf("fragment %s: %s is defined in %s already: remove one of them", name, place, other))
		}
		m.from[place] = name
	}
	for _, tag := range f.Tags {
		define(fmt.Sprintf("tag %v", tag["name"]))
		m.tags = append(m.tags, tag)
	}
	for path, item := range f.Paths {
		define("path " + path)
		for _, id := range operationIDs(item) {
			define("operationId " + id)
		}
		if m.paths == nil {
			m.paths = map[string]any{}
		}
		m.paths[path] = item
	}
	for kind, named := range f.Components {
		for component, value := range named {
			define("components/" + kind + "/" + component)
			if m.components == nil {
				m.components = map[string]map[string]any{}
			}
			if m.components[kind] == nil {
				m.components[kind] = map[string]any{}
			}
			m.components[kind][component] = value
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// operationIDs are those of a path's methods. They name types and functions of
// clients, so that two of one name would be lost there.
func operationIDs(item any) (ids []string) {
	methods, _ := item.(map[string]any)
	for _, method := range methods {
		if op, ok := method.(map[string]any); ok && op["operationId"] != nil {
			ids = append(ids, fmt.Sprint(op["operationId"]))
		}
	}
	return ids
}

// resolve reports references to what is not in the document.
func resolve(document []byte) error {
	var whole any
	if err := json.Unmarshal(document, &whole); err != nil {
		return fmt.Errorf("read the document back: %w", err)
	}
	missing := map[string]bool{}
	eachRef(whole, func(ref string) {
		if !found(whole, ref) {
			missing[ref] = true
		}
	})
	var errs []error
	for ref := range missing {
		errs = append(errs, fmt.Errorf("$ref %q leads nowhere: define it in one of the fragments", ref))
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

func eachRef(node any, visit func(string)) {
	switch node := node.(type) {
	case map[string]any:
		if ref, ok := node["$ref"].(string); ok {
			visit(ref)
		}
		for _, child := range node {
			eachRef(child, visit)
		}
	case []any:
		for _, child := range node {
			eachRef(child, visit)
		}
	}
}

// found follows a JSON pointer; names of components have nothing to unescape.
func found(node any, ref string) bool {
	pointer, local := strings.CutPrefix(ref, "#/")
	if !local {
		return false
	}
	for part := range strings.SplitSeq(pointer, "/") {
		object, ok := node.(map[string]any)
		if !ok {
			return false
		}
		if node, ok = object[part]; !ok {
			return false
		}
	}
	return true
}
