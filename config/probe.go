package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/decode"
	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/place"
)

// probePart reads the module file that probe.modules names and the definitions that
// stand in probe.definitions.
func (l *loader) probePart(src source, root *yaml.Node, c *Config) {
	c.Probes.Dir = src.dir
	known := true // what modules there are
	if n, exact := decode.At(root, "probe.modules"); exact && n.Kind == yaml.ScalarNode && !decode.IsNull(n) && n.Value != "" {
		path, text, ok := l.text(src, n, "probe.modules")
		if ok {
			modules, err := definition.ReadModules(path, text)
			l.definitionErrors(src, n, "probe.modules", err)
			c.Probes.Modules = modules
			known = err == nil
		}
		known = known && ok
		c.Probe.Modules = path
	}
	if n, exact := decode.At(root, "probe.place.databases"); exact && n.Kind == yaml.SequenceNode {
		l.placeDatabases(src, n, c)
	}
	n, exact := decode.At(root, "probe.definitions")
	if !exact || decode.IsNull(n) {
		return
	}
	definitions, err := definition.ReadList(src.file, "probe.definitions", n)
	l.definitionErrors(src, n, "probe.definitions", err)
	if err == nil {
		c.Probes.Local = definitions
	}
	modules := c.Probes.All()
	for i, d := range definitions {
		if !known || d == nil || d.Module.IsZero() { // said already
			continue
		}
		if _, ok := d.Resolve(modules); !ok {
			field := decode.Item("probe.definitions", n, i)
			at, _ := decode.At(root, field+".module")
			l.add(src, at, field+".module", "%q: there is no such module; there are %s", d.Module.Name, strings.Join(modules.Names(), ", "))
		}
	}
}

// definitionErrors takes over what stands against a file of modules or definitions.
func (l *loader) definitionErrors(src source, n *yaml.Node, field string, err error) {
	var problems definition.Errors
	if errors.As(err, &problems) {
		l.problems(problems.File, problems.Problems)
	} else if err != nil {
		l.add(src, n, field, "%v", err)
	}
}

func (l *loader) probeDocument(src source, root *yaml.Node, name string, text []byte) *definition.Definition {
	d, err := definition.Read(name, src.file, text)
	l.definitionErrors(src, root, "", err)
	return d
}

// joinProbe adds the shared definitions; whether they go together with the others
// is the room's to say.
func (c *Config) joinProbe(files []string) (left []error) {
	for _, file := range files {
		text, err := os.ReadFile(file)
		var d *definition.Definition
		if err == nil {
			d, err = definition.Read(strings.TrimSuffix(filepath.Base(file), ".yml"), file, text)
		}
		if err != nil {
			left = append(left, fmt.Errorf("%s: %w", file, err))
			continue
		}
		c.Probes.Shared = append(c.Probes.Shared, d)
	}
	return left
}

// placeDatabases finds the databases of places beside the file that names them.
func (l *loader) placeDatabases(src source, list *yaml.Node, c *Config) {
	const field = "probe.place.databases"
	for i, n := range list.Content {
		if i >= len(c.Probe.Place.Databases) {
			return // the list is faulty, which is said elsewhere
		}
		path := src.join(n.Value)
		l.files = append(l.files, path)
		c.Probe.Place.Databases[i] = path
		if err := place.Check(path); err != nil {
			l.add(src, n, decode.Item(field, list, i), "open %q: %s; expected a database in MaxMind's form (.mmdb), the path is relative to %s", path, reason(err), displayDir(src.file))
		}
	}
}
