package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	amconfig "github.com/prometheus/alertmanager/config"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/alert"
	"github.com/atoll-mesh/atoll/decode"
)

// alertmanagerPart reads the document that alert.alertmanager names or holds.
func (l *loader) alertmanagerPart(src source, n *yaml.Node, c *Config) {
	const field = "alert.alertmanager"
	switch n.Kind {
	case yaml.MappingNode:
		src.prefix = field
		c.Alertmanager = l.alertmanager(src, n)
	case yaml.ScalarNode:
		if file, inner := l.refer(src, n, field); inner != nil {
			c.Alertmanager = l.alertmanager(file, inner)
		}
	default:
		l.add(src, n, field, "expected the path of an alertmanager.yml or the same document inline, found %s", decode.Describe(n))
	}
}

// alertmanager checks a whole Alertmanager document and its templates. It
// returns nil after errors.
func (l *loader) alertmanager(src source, n *yaml.Node) *amconfig.Config {
	// Upstream's matcher syntax is a process-wide choice, which the room makes.
	alert.DefaultAlertmanager()
	before := len(l.errs.Fatal())
	checker := decode.New(decode.V2)
	r := checker.Structure(n, reflect.TypeFor[amconfig.Config](), src.prefix)
	l.problems(src.file, checker.Problems())
	if r.Node == nil {
		return nil
	}
	if l.strict {
		l.leaves(src, checker.Scalars())
	}
	a := amParts{l: l, src: src, r: r, written: n}
	a.names()
	a.routes()
	a.sections()
	l.templates(src, r.Node, checker.Scalars())
	if len(l.errs.Fatal()) > before {
		return nil
	}
	resolveFiles(r.Node, checker.Scalars(), src.dir)
	cfg, err := loadAlertmanager(r.Node)
	if err != nil {
		l.located(src, r.Node, decode.Message(err))
		return nil
	}
	// What only shows when the receivers are built: undefined templates and
	// secrets that cannot be read.
	for _, p := range alert.CheckAlertmanager(src.file, decode.Text(r.Node), src.dir) {
		l.located(src, r.Node, p.Message)
	}
	return cfg
}

// inReceiver is how the room says where in a receiver the trouble is.
var inReceiver = regexp.MustCompile(`^receiver "([^"]+)": ([a-z0-9_]+\[\d+\][^:]*): (.*)$`)

func (l *loader) located(src source, root *yaml.Node, message string) {
	if m := inReceiver.FindStringSubmatch(message); m != nil {
		for i, rcv := range listOf(root, "receivers") {
			if _, name := decode.Get(rcv, "name"); name != nil && name.Value == m[1] {
				at, _ := decode.At(rcv, m[2])
				l.add(src, at, src.at(decode.Item("receivers", rcv, i)+"."+m[2]), "%s", m[3])
				return
			}
		}
	}
	at, where := decode.Locate(root, src.prefix, message)
	l.add(src, at, where, "%s", message)
}

func loadAlertmanager(n *yaml.Node) (cfg *amconfig.Config, err error) {
	defer func() {
		if r := recover(); r != nil {
			cfg, err = nil, fmt.Errorf("cannot be read: %v", r)
		}
	}()
	return amconfig.Load(string(decode.Text(n)))
}

// amParts checks a document whose own check stops at the first error.
type amParts struct {
	l   *loader
	src source
	r   decode.Result
	// written is the document with what was refused still in it: a receiver with
	// a mistake in it exists all the same.
	written *yaml.Node

	receivers, intervals map[string]*yaml.Node
	// misled is set once a route names a receiver that does not exist: the one it
	// means is not unused.
	misled bool
}

func (a *amParts) add(n *yaml.Node, path, format string, args ...any) {
	a.l.add(a.src, n, a.src.at(path), format, args...)
}

// names collects receivers and time intervals, which must be unique.
func (a *amParts) names() {
	a.receivers, a.intervals = map[string]*yaml.Node{}, map[string]*yaml.Node{}
	for _, list := range []struct {
		key, what string
		into      map[string]*yaml.Node
	}{
		{"receivers", "receiver", a.receivers},
		{"mute_time_intervals", "time interval", a.intervals},
		{"time_intervals", "time interval", a.intervals},
	} {
		for i, item := range listOf(a.written, list.key) {
			_, name := decode.Get(item, "name")
			if name == nil || name.Kind != yaml.ScalarNode || name.Value == "" {
				continue
			}
			if was := list.into[name.Value]; was != nil {
				a.add(name, fmt.Sprintf("%s[%d].name", list.key, i), "%s is taken by the %s in line %d; every %s needs a name of its own",
					decode.Quote(name.Value), list.what, was.Line, list.what)
				continue
			}
			list.into[name.Value] = name
		}
	}
}

func listOf(n *yaml.Node, key string) []*yaml.Node {
	if _, v := decode.Get(n, key); v != nil && v.Kind == yaml.SequenceNode {
		return v.Content
	}
	return nil
}

func (a *amParts) routes() {
	_, root := decode.Get(a.written, "route")
	if decode.IsNull(root) || root.Kind != yaml.MappingNode {
		if !a.r.Mentions("route") || decode.IsNull(root) {
			a.add(a.written, "route", "is missing; the root route names the receiver of whatever no other route takes")
		}
		return
	}
	if _, v := decode.Get(root, "receiver"); decode.IsNull(v) || v.Value == "" {
		a.add(root, "route", "names no receiver; the root route takes whatever no other route does, so it needs one")
	}
	for _, k := range []string{"match", "match_re", "matchers", "mute_time_intervals", "active_time_intervals"} {
		if at, v := decode.Get(root, k); v != nil && len(v.Content) > 0 {
			a.add(at, "route."+k, "is not allowed in the root route, which takes everything; move it to an entry of route.routes")
		}
	}
	if at, v := decode.Get(root, "continue"); v != nil && v.Value == "true" {
		a.add(at, "route.continue", "is not allowed in the root route, which has no sibling to go on with")
	}
	used := map[string]bool{}
	a.route(root, "route", used)
	for name, at := range a.receivers {
		if !used[name] && !a.misled {
			a.l.warn(a.src, at, a.src.at("receivers"), "receiver %s is not used by any route", decode.Quote(name))
		}
	}
}

func (a *amParts) route(n *yaml.Node, path string, used map[string]bool) {
	if _, v := decode.Get(n, "receiver"); v != nil && v.Kind == yaml.ScalarNode && v.Value != "" {
		used[v.Value] = true
		if a.receivers[v.Value] == nil {
			a.misled = true
			a.add(v, path+".receiver", "%s is not a receiver%s", decode.Quote(v.Value), hint(v.Value, a.receivers))
		}
	}
	for _, k := range []string{"mute_time_intervals", "active_time_intervals"} {
		for i, v := range listOf(n, k) {
			if a.intervals[v.Value] == nil {
				a.add(v, fmt.Sprintf("%s.%s[%d]", path, k, i), "%s is not a time interval%s", decode.Quote(v.Value), hint(v.Value, a.intervals))
			}
		}
	}
	for i, sub := range listOf(n, "routes") {
		a.route(sub, fmt.Sprintf("%s.routes[%d]", path, i), used)
	}
}

// hint completes "x is not a receiver" with what there is.
func hint(name string, known map[string]*yaml.Node) string {
	names := slices.Sorted(maps.Keys(known))
	const shown = 12
	switch meant := decode.Nearest(name, names); {
	case meant != "":
		return fmt.Sprintf("; did you mean %q?", meant)
	case len(names) == 0:
		return "; none is defined"
	case len(names) > shown:
		return fmt.Sprintf("; %d are defined, the first are %s", len(names), strings.Join(names[:shown], ", "))
	}
	return "; defined are " + strings.Join(names, ", ")
}

// sections loads global, each receiver and the rest alone, beside the smallest
// route that makes a document.
func (a *amParts) sections() {
	_, global := decode.Get(a.r.Node, "global")
	const stub = "atoll-stub"
	plain := mapping(key("name"), text(stub))
	if !decode.IsNull(global) {
		if !a.alone("global", global, nil, stub, plain) {
			return // every receiver would repeat the error
		}
	}
	for i, rcv := range listOf(a.r.Node, "receivers") {
		_, name := decode.Get(rcv, "name")
		if name == nil {
			continue // refused already
		}
		a.alone(decode.Item("receivers", rcv, i), rcv, global, name.Value, rcv)
	}
	for i := 0; i+1 < len(a.r.Node.Content); i += 2 {
		switch k := a.r.Node.Content[i].Value; k {
		case "tracing", "event_recorder", "templates", "inhibit_rules":
			a.alone(k, a.r.Node.Content[i+1], nil, stub, plain)
		}
	}
}

// alone loads one part; part is the section called like path or a receiver.
func (a *amParts) alone(path string, part, global *yaml.Node, receiver string, rcv *yaml.Node) bool {
	doc := mapping(key("route"), mapping(key("receiver"), text(receiver)),
		key("receivers"), &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{rcv}})
	if global != nil {
		doc.Content = append(doc.Content, key("global"), global)
	}
	if part != rcv {
		doc.Content = append(doc.Content, key(path), part)
	}
	_, err := loadAlertmanager(doc)
	if err == nil {
		return true
	}
	message := decode.Message(err)
	if !a.r.Mentions(message) {
		at, where := decode.Locate(part, path, message)
		a.add(at, where, "%s", message)
	}
	return false
}

// templates parses every template file, and every value with a template in it.
func (l *loader) templates(src source, n *yaml.Node, scalars []decode.Scalar) {
	for i, item := range listOf(n, "templates") {
		where := decode.Item(src.at("templates"), item, i)
		for _, m := range l.matches(src, item, where, "templates") {
			l.templateFile(m)
		}
	}
	for _, s := range scalars {
		if strings.Contains(s.Node.Value, "{{") && (strings.Contains(s.Path, "receivers[") || strings.Contains(s.Path, ".labels.")) {
			if err := parseTemplate(s.Node.Value); err != nil {
				_, message := templateError(err)
				l.add(src, s.Node, s.Path, "read as a template: %s", message)
			}
		}
	}
}

// resolveFiles makes every path in a document absolute. Upstream does so for
// some of them, and leaves the others to the working directory.
func resolveFiles(doc *yaml.Node, scalars []decode.Scalar, dir string) {
	for _, s := range scalars {
		if s.Field && (strings.HasSuffix(s.Key, "_file") || s.Key == "path" && strings.Contains(s.Path, "event_recorder.file_outputs[")) {
			s.Node.Value = absolute(dir, s.Node.Value)
		}
	}
	for _, item := range listOf(doc, "templates") {
		item.Value = absolute(dir, item.Value)
	}
}

func absolute(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
