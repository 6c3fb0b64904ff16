package rule

import (
	"os"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"go.yaml.in/yaml/v3"
)

// Load reads the rules of one file: a list, as vmagent reads it, or a mapping with
// the list under "rules" and replica_labels, source_labels and defaults beside it.
// %{NAME} is replaced by the environment variable of that name, where there is
// one. The error is Errors with every mistake. name is for messages only.
func Load(name string, text []byte) (*Set, error) {
	return LoadEnv(name, text, os.LookupEnv)
}

// LoadEnv is Load with another environment.
func LoadEnv(name string, text []byte, lookup func(string) (string, bool)) (*Set, error) {
	r := &reader{file: name, left: mostNodes}
	return r.finish(r.set(r.document(expand(text, lookup)), ""))
}

// LoadNode is Load for a document that stands inside of another file: field is
// where, such as aggregate.rules, and begins the fields of all messages. name is
// the file that the node's lines are of. Environment variables are not replaced.
func LoadNode(name, field string, n *yaml.Node) (*Set, error) {
	r := &reader{file: name, left: mostNodes}
	if isNull(n) {
		return r.finish(r.set(nil, field))
	}
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	return r.finish(r.set(r.follow(n, field), field))
}

func (r *reader) finish(set *Set) (*Set, error) {
	if len(r.problems) > 0 {
		return nil, r.problems.Sorted()
	}
	set.Warnings = r.warnings.Sorted()
	return set, nil
}

// expand replaces before YAML is read, as vmagent does: a plain scalar cannot begin with %.
func expand(text []byte, lookup func(string) (string, bool)) []byte {
	const most = 64 << 20 // bytes afterwards
	var out strings.Builder
	rest := string(text)
	for {
		before, after, found := strings.Cut(rest, "%{")
		name, tail, closed := strings.Cut(after, "}")
		if !found || !closed || out.Len() > most {
			out.WriteString(rest)
			return []byte(out.String())
		}
		out.WriteString(before)
		if v, ok := lookup(name); ok {
			out.WriteString(v)
		} else {
			out.WriteString("%{" + name + "}")
		}
		rest = tail
	}
}

// defaultReplicaLabels tell replicas apart where the file does not say.
func defaultReplicaLabels() []string {
	return []string{"replica", "prometheus_replica", "__replica__"}
}

func defaultSourceLabels() []string { return []string{"job", "instance"} }

// set reads a document that stands at a field; root is nil where there is none.
func (r *reader) set(root *yaml.Node, at string) *Set {
	set := &Set{ReplicaLabels: defaultReplicaLabels(), SourceLabels: defaultSourceLabels()}
	if isNull(root) {
		return set
	}
	field, list := at, root
	var defaults map[string]entry
	if root.Kind != yaml.SequenceNode {
		keys := r.mapping(root, at, []string{"rules", "defaults", "replica_labels", "source_labels"})
		r.labelNames(keys, at, "replica_labels", &set.ReplicaLabels)
		r.labelNames(keys, at, "source_labels", &set.SourceLabels)
		if e, ok := keys["defaults"]; ok && !isNull(e.value) {
			defaults = r.mapping(e.value, join(at, "defaults"), defaultable())
		}
		field, list = join(at, "rules"), nil
		if e, ok := keys["rules"]; ok {
			list = e.value
		}
		if isNull(list) {
			return set
		}
	}
	if list.Kind != yaml.SequenceNode {
		r.fail(list, field, "expected a list of rules, found %s", describe(list))
		return set
	}
	seen, called := map[uint64]bool{}, map[string]bool{}
	for i, n := range list.Content {
		rule := r.rule(r.follow(n, field), item(field, i), defaults, set)
		rule.ID, rule.file = uint32(i), r.file
		rule.labelled(called)
		rule.Hash = rule.hash(set, 0)
		for again := uint64(1); seen[rule.Hash]; again++ {
			rule.Hash = rule.hash(set, again)
		}
		seen[rule.Hash] = true
		set.Rules = append(set.Rules, rule)
	}
	r.sameNames(set, list, field)
	return set
}

func (r *reader) labelNames(keys map[string]entry, at, name string, to *[]string) {
	e, ok := keys[name]
	if !ok || isNull(e.value) {
		return
	}
	if list, ok := r.names(e.value, join(at, name)); ok {
		*to = list
	}
}

// names reads a list of label names: sorted, none twice.
func (r *reader) names(n *yaml.Node, field string) ([]string, bool) {
	if isNull(n) {
		return nil, true
	}
	list, ok := r.texts(n, field)
	for i, name := range list {
		if name == "" {
			r.fail(n.Content[i], item(field, i), "a label name must not be empty")
			ok = false
		}
	}
	slices.Sort(list)
	return slices.Compact(list), ok
}

// sameNames warns where two rules write the same series.
func (r *reader) sameNames(set *Set, list *yaml.Node, field string) {
	type sample struct{ match, suffix, relabel, output string }
	seen := map[sample]int{}
	for i, rule := range set.Rules {
		for _, o := range rule.Outputs {
			s := sample{rule.match.String(), rule.suffix, rule.input.String() + rule.output.String(), o.String()}
			if rule.KeepMetricNames {
				s.suffix = labels.MetricName
			}
			if first, ok := seen[s]; ok {
				r.warn(r.follow(list.Content[i], field), item(field, i), "writes the same series %s%s as the rule in line %d: two values at one time; change one of them", rule.suffix, o, set.Rules[first].Line)
				break
			}
			seen[s] = i
		}
	}
}
