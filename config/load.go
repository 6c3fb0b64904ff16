package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	promconfig "github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/decode"
)

// loader gathers what one Load finds. Checks go on after an error, so that the
// operator sees the whole list.
type loader struct {
	errs  Errors
	files []string
	// strict makes missing certificates and secrets errors: Check asks for that. A
	// running island only warns, because such files come and go on their own.
	strict bool
	// experimental follows query.experimental_functions, so that a rule is judged
	// by the parser that will run it.
	experimental bool
}

// source is where a document stands: a file of its own or a part of another.
type source struct {
	file string
	// dir is the absolute directory that relative paths start from.
	dir string
	// prefix is the field path of the document inside the file, "" for all of it.
	prefix string
}

// Load reads atoll.yaml. The error is of type Errors.
func Load(path string) (*Config, error) {
	l := &loader{}
	return l.finish(l.atoll(path))
}

// LoadPrometheus takes an existing prometheus.yml as it is, with defaults for
// everything that Prometheus takes from its command line. External labels stay
// as they are too, without one for the island, so that series sent elsewhere keep
// their identity; a label "island" among them names the island. The error is of
// type Errors.
func LoadPrometheus(path string) (*Config, error) {
	l := &loader{}
	return l.finish(l.prometheusOnly(path))
}

func (l *loader) finish(c *Config) (*Config, error) {
	l.errs = l.errs.tidy(l.files)
	if fatal := l.errs.Fatal(); len(fatal) > 0 {
		return nil, fatal
	}
	c.Warnings = l.errs.Warnings()
	c.files = l.watched()
	return c, nil
}

func (l *loader) watched() []string {
	files := slices.Clone(l.files)
	slices.Sort(files)
	return slices.Compact(files)
}

func (l *loader) add(src source, n *yaml.Node, field, format string, args ...any) {
	l.errs = append(l.errs, Error{File: src.file, Line: n.Line, Column: n.Column, Field: field, Message: fmt.Sprintf(format, args...)})
}

func (l *loader) warn(src source, n *yaml.Node, field, format string, args ...any) {
	l.add(src, n, field, format, args...)
	l.errs[len(l.errs)-1].Warning = true
}

// open reads and parses a file that was named on the command line.
func (l *loader) open(path string) (source, *yaml.Node) {
	src, content := l.read(path)
	if content == nil {
		return src, nil
	}
	return src, l.parse(src, content)
}

// read returns nil, and never an empty file, after an error.
func (l *loader) read(path string) (source, []byte) {
	src := source{file: path, dir: directory(path)}
	l.files = append(l.files, path)
	content, err := os.ReadFile(path)
	if err != nil {
		l.errs = append(l.errs, Error{File: path, Message: "read: " + reason(err)})
		return src, nil
	}
	return src, append([]byte{}, content...)
}

// refer reads and parses a file that field at names.
func (l *loader) refer(from source, at *yaml.Node, field string) (source, *yaml.Node) {
	path := from.join(at.Value)
	src := source{file: path, dir: directory(path)}
	if slices.Contains(l.files, path) {
		l.add(from, at, field, "%s is read already; a file cannot stand in for itself", decode.Quote(at.Value))
		return src, nil
	}
	l.files = append(l.files, path)
	content, err := readRegular(path)
	if err != nil {
		l.add(from, at, field, "read %q: %s; the path is relative to %s", path, reason(err), displayDir(from.file))
		return src, nil
	}
	return src, l.parse(src, content)
}

// maxFile bounds a file that another file names; the largest rule files seen in
// the field have some ten megabytes.
const maxFile = 64 << 20

// readRegular reads a file that another file names. A device or a pipe there
// would keep a reload waiting for ever.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("is a directory")
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	case info.Size() > maxFile:
		return nil, fmt.Errorf("has %d bytes, more than the %d that a configuration file may have", info.Size(), maxFile)
	}
	return os.ReadFile(path)
}

func (l *loader) parse(src source, content []byte) *yaml.Node {
	root, second, problems := decode.Parse(content)
	l.problems(src.file, problems)
	if second > 0 {
		l.errs = append(l.errs, Error{File: src.file, Line: second, Column: 1, Warning: true,
			Message: "a second document begins here and is ignored; only the first one counts"})
	}
	return root
}

// join makes a path as written in the file usable from the working directory,
// keeping it short for messages.
func (s source) join(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(s.file), path)
}

func directory(file string) string {
	abs, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return filepath.Dir(file)
	}
	return abs
}

func displayDir(file string) string {
	if dir := filepath.Dir(file); dir != "." {
		return dir
	}
	return "the working directory"
}

// reason strips the operation and path, which the message gives already.
func reason(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// top only knows the sections; each is checked by itself.
type top struct {
	Island     any `yaml:"island"`
	HTTP       any `yaml:"http"`
	Log        any `yaml:"log"`
	Prometheus any `yaml:"prometheus"`
	Collect    any `yaml:"collect"`
	Store      any `yaml:"store"`
	Query      any `yaml:"query"`
	Send       any `yaml:"send"`
	Alert      any `yaml:"alert"`
	Budget     any `yaml:"budget"`
	Aggregate  any `yaml:"aggregate"`
	Probe      any `yaml:"probe"`
	Mesh       any `yaml:"mesh"`
	Membership any `yaml:"membership"`
	Replica    any `yaml:"replica"`
	Replicate  any `yaml:"replicate"`
	Witness    any `yaml:"witness"`
}

// section is one top-level key that decodes into one struct.
type section struct {
	name     string
	into     any // pointer, holding the defaults
	validate func() error
}

func (c *Config) sections() []section {
	return []section{
		{"island", &c.Island, func() error { return joined(c.Island.validate()) }},
		{"http", &c.HTTP, func() error { return c.HTTP.Validate() }},
		{"log", &c.Log, func() error { return joined(c.Log.validate()) }},
		{"collect", &c.Collect, func() error { return c.Collect.Validate() }},
		{"store", &c.Store, func() error { return c.Store.Validate() }},
		{"query", &c.Query, func() error { return c.Query.Validate() }},
		{"send", &c.Send, func() error { return c.Send.Validate() }},
		{"alert", &c.Alert, func() error { return c.Alert.Validate() }},
		{"budget", &c.Budget, func() error { return c.Budget.Validate() }},
		{"aggregate", &c.Aggregate, func() error { return c.Aggregate.Validate() }},
		{"probe", &c.Probe, func() error { return c.Probe.Validate() }},
		{"mesh", &c.Mesh, func() error { return c.Mesh.Validate() }},
		{"membership", &c.Membership, func() error { return c.Membership.Validate() }},
		{"replica", &c.Replica, func() error { return c.Replica.Validate() }},
		{"replicate", &c.Replicate, func() error { return c.Replicate.Validate() }},
		{"witness", &c.Witness, func() error { return c.Witness.Validate() }},
	}
}

func joined(errs []fieldError) error {
	out := make([]error, len(errs))
	for i, e := range errs {
		out[i] = e
	}
	return errors.Join(out...)
}

// atoll returns a Config even after errors; finish decides.
func (l *loader) atoll(path string) *Config {
	c := defaults()
	c.Path = path
	src, root := l.open(path)
	if root == nil {
		return c
	}
	checker := decode.New(decode.V3)
	checker.Elsewhere = elsewhere(c.sections())
	r := checker.Structure(root, reflect.TypeFor[top](), "")
	l.problems(src.file, checker.Problems())
	if r.Node == nil {
		return c
	}
	_, alertNode := decode.Get(r.Node, "alert")
	_, am := decode.Get(alertNode, "alertmanager")
	_, aggregateNode := decode.Get(r.Node, "aggregate")
	_, aggregateRules := decode.Get(aggregateNode, "rules")
	for _, s := range c.sections() {
		_, n := decode.Get(r.Node, s.name)
		l.section(src, r.Node, n, s)
	}
	l.experimental = c.Query.ExperimentalFunctions
	l.resolve(src, r.Node, c)
	_, prom := decode.Get(r.Node, "prometheus")
	l.prometheusPart(src, prom, r.Node, c)
	if !decode.IsNull(am) {
		l.alertmanagerPart(src, am, c)
	}
	if !decode.IsNull(aggregateRules) {
		l.aggregatePart(src, aggregateRules, c)
	}
	l.probePart(src, r.Node, c)
	l.webConfig(src, r.Node, c)
	if len(l.errs.Fatal()) == 0 {
		l.advise(src, r.Node, c)
	}
	return c
}

// elsewhere says where the top-level keys of the documents that atoll.yaml
// includes belong, and the keys of its own sections.
func elsewhere(sections []section) map[string]string {
	out := map[string]string{}
	for _, s := range sections {
		for f := range reflect.TypeOf(s.into).Elem().Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if out[name] = s.name; slices.Contains(ambiguous, name) {
				delete(out, name)
			}
		}
	}
	for _, k := range keysOfKind(KindAlertmanager) {
		out[k] = "alert.alertmanager"
	}
	for _, k := range keysOfKind(KindPrometheus) {
		out[k] = "prometheus"
	}
	return out
}

// ambiguous are keys that say little without their section.
var ambiguous = []string{"", "name", "labels", "path", "timeout", "retention", "limits", "memory", "level", "format"}

// section checks and decodes one room's part.
func (l *loader) section(src source, root, n *yaml.Node, s section) {
	var r decode.Result
	if !decode.IsNull(n) {
		checker := decode.New(decode.V3)
		checker.Elsewhere = elsewhere(nil)
		r = checker.Check(n, reflect.TypeOf(s.into), s.name)
		l.problems(src.file, checker.Problems())
		if r.Node != nil {
			if err := r.Node.Decode(s.into); err != nil {
				l.add(src, n, s.name, "%s", decode.Message(err))
				return
			}
		}
	}
	for _, err := range flatten(s.validate()) {
		if r.Mentions(err.Error()) {
			continue // what was refused above is at its default here
		}
		at, field, message := belongs(root, s.name, err)
		l.add(src, at, field, "%s", message)
	}
}

// flatten takes joined errors apart.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range many.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	return []error{err}
}

// belongs finds where an error of a room's Validate belongs. Rooms begin it with
// the field, with or without the name of their section.
func belongs(root *yaml.Node, section string, err error) (at *yaml.Node, field, rest string) {
	message := err.Error()
	path, rest, ok := decode.SplitPath(message)
	if own, is := errors.AsType[fieldError](err); is {
		path, rest, ok = own.field, own.message, true
	}
	if !ok {
		_, n := decode.Get(root, section)
		if n == nil {
			return root, section, message
		}
		at, field = decode.Locate(n, section, message)
		return at, field, message
	}
	if path != section && !strings.HasPrefix(path, section+".") {
		path = decode.Join(section, path)
	}
	at, exact := decode.At(root, path)
	if _, n := decode.Get(root, section); !exact && n != nil && n.Kind == yaml.MappingNode {
		// A part of a room may not know the name it has in there.
		for i := 0; i+1 < len(n.Content); i += 2 {
			deeper := section + "." + n.Content[i].Value + strings.TrimPrefix(path, section)
			if there, ok := decode.At(root, deeper); ok {
				at, exact, path = there, true, deeper
			}
		}
	}
	if exact && at.Kind != yaml.ScalarNode {
		// A list of names: the message quotes the one that is meant.
		at, path = decode.Locate(at, path, rest)
	}
	return at, path, rest
}

// resolve makes the paths of our own sections relative to the file.
func (l *loader) resolve(src source, root *yaml.Node, c *Config) {
	if c.Island.Name == "" {
		c.Island.Name = hostname()
	}
	if decode.IsNull(&c.Alert.Alertmanager) {
		c.Alert.Alertmanager = yaml.Node{}
	}
	if decode.IsNull(&c.Aggregate.Rules) {
		c.Aggregate.Rules = yaml.Node{}
	}
	if decode.IsNull(&c.Probe.Definitions) {
		c.Probe.Definitions = yaml.Node{}
	}
	if written(root, "island.data_dir") {
		c.Island.DataDir = src.join(c.Island.DataDir)
	}
	if c.storePath = written(root, "store.path"); c.storePath {
		c.Store.Path = src.join(c.Store.Path)
	} else {
		c.Store.Path = filepath.Join(c.Island.DataDir, "tsdb")
	}
	c.Store.Retention.Size = c.Budget.RetentionSize(c.Store.Retention.Size)
	for _, path := range []*string{
		&c.Store.Bucket.Directory, &c.Store.Bucket.SecretKeyFile,
		&c.Store.Thanos.TLS.CertFile, &c.Store.Thanos.TLS.KeyFile, &c.Store.Thanos.TLS.ClientCAFile,
		&c.Store.Bucket.TLS.CAFile, &c.Store.Bucket.TLS.CertFile, &c.Store.Bucket.TLS.KeyFile,
	} {
		*path = src.join(*path)
	}
	for _, path := range []*string{&c.HTTP.WebConfig, &c.HTTP.TLS.CertFile, &c.HTTP.TLS.KeyFile, &c.HTTP.TLS.ACME.CAFile,
		&c.HTTP.OIDC.ClientSecretFile, &c.HTTP.OIDC.CAFile,
	} {
		*path = src.join(*path)
	}
	c.Probe.Evidence.Dir = src.join(c.Probe.Evidence.Dir)
	c.Query.LogFile = src.join(c.Query.LogFile)
}

// written reports whether a file gives a key a value.
func written(root *yaml.Node, path string) bool {
	n, exact := decode.At(root, path)
	return exact && !decode.IsNull(n)
}

func (l *loader) prometheusOnly(path string) *Config {
	c := defaults()
	c.Path = path
	src, root := l.open(path)
	if root == nil {
		return c
	}
	doc := l.prometheus(src, root)
	if doc == nil {
		return c
	}
	if name := doc.config.GlobalConfig.ExternalLabels.Get(IslandLabel); islandName.MatchString(name) {
		c.Island.Name = name
	}
	l.adopt(src, root, doc, doc.config, c)
	return c
}

// prometheusPart reads the document that "prometheus" names or holds. root is
// the whole of atoll.yaml, for pointing at the island's labels.
func (l *loader) prometheusPart(src source, n, root *yaml.Node, c *Config) {
	doc := &document{src: src, node: &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}}
	switch {
	case decode.IsNull(n):
		cfg, err := promconfig.Load("", quiet())
		if err != nil {
			l.add(src, root, "prometheus", "%v", err)
			return
		}
		doc.config = cfg
	case n.Kind == yaml.MappingNode:
		src.prefix = "prometheus"
		doc = l.prometheus(src, n)
	case n.Kind == yaml.ScalarNode:
		file, inner := l.refer(src, n, "prometheus")
		if inner == nil {
			return
		}
		doc = l.prometheus(file, inner)
	default:
		l.add(src, n, "prometheus", "expected the path of a prometheus.yml or the same document inline, found %s", decode.Describe(n))
		return
	}
	if doc != nil {
		l.merge(src, root, doc, c)
	}
}
