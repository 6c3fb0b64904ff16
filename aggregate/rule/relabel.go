package rule

import (
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/grafana/regexp"
	"github.com/prometheus/prometheus/model/labels"
)

// relabelling is a list of steps, done in order. It follows VictoriaMetrics where
// it and Prometheus differ, for its files are what is read here.
type relabelling []*step

func (r relabelling) apply(b *labels.Builder) (kept bool) {
	for _, s := range r {
		if !s.apply(b) || isEmpty(b) { // no step brings back what has lost all labels
			return false
		}
	}
	return true
}

func isEmpty(b *labels.Builder) bool {
	empty := true
	b.Range(func(labels.Label) { empty = false })
	return empty
}

func (r relabelling) String() string {
	texts := make([]string, len(r))
	for i, s := range r {
		texts[i] = s.text
	}
	return strings.Join(texts, "; ")
}

// step is one relabel config, compiled.
type step struct {
	text        string // canonical, for printing and hashing
	action      string
	condition   Selectors
	source      []string
	separator   string
	target      string
	replacement string
	plain       bool           // there is no regex to speak of
	full        *regexp.Regexp // anchored
	part        *regexp.Regexp // as written
	modulus     uint64
	graphite    *graphite
}

// apply returns false where the series is dropped.
func (s *step) apply(b *labels.Builder) bool {
	if !matches(s.condition, b) {
		return s.action != "keep" // vmagent drops what the condition of a keep does not match
	}
	switch s.action {
	case "keep":
		return s.plain || s.full.MatchString(s.joined(b))
	case "drop":
		return !s.plain && !s.full.MatchString(s.joined(b))
	case "keep_if_equal":
		return s.allEqual(b)
	case "drop_if_equal":
		return !s.allEqual(b)
	case "keep_if_contains":
		return s.contained(b)
	case "drop_if_contains":
		return !s.contained(b)
	case "keepequal":
		return s.joined(b) == b.Get(s.target)
	case "dropequal":
		return s.joined(b) != b.Get(s.target)
	}
	s.change(b)
	return true
}

// change does the actions that set or remove labels.
func (s *step) change(b *labels.Builder) {
	switch s.action {
	case "replace":
		s.replace(b)
	case "replace_all":
		from := s.joined(b)
		if to := s.part.ReplaceAllString(from, s.replacement); to != from {
			b.Set(s.target, to)
		}
	case "hashmod":
		b.Set(s.target, strconv.FormatUint(xxhash.Sum64String(s.joined(b))%s.modulus, 10))
	case "uppercase":
		b.Set(s.target, strings.ToUpper(s.joined(b)))
	case "lowercase":
		b.Set(s.target, strings.ToLower(s.joined(b)))
	case "labeldrop", "labelkeep":
		for _, l := range all(b) {
			if s.full.MatchString(l.Name) == (s.action == "labeldrop") {
				b.Del(l.Name)
			}
		}
	case "labelmap":
		for _, l := range all(b) {
			if m := s.full.FindStringSubmatchIndex(l.Name); m != nil {
				setNamed(b, string(s.full.ExpandString(nil, s.replacement, l.Name, m)), l.Value)
			}
		}
	case "labelmap_all":
		s.rename(b)
	case "graphite":
		s.graphite.apply(b)
	}
}

func (s *step) rename(b *labels.Builder) {
	var renamed []labels.Label
	for _, l := range all(b) {
		if name := s.part.ReplaceAllString(l.Name, s.replacement); name != l.Name {
			b.Del(l.Name)
			renamed = append(renamed, labels.Label{Name: name, Value: l.Value})
		}
	}
	for _, l := range renamed {
		setNamed(b, l.Name, l.Value)
	}
}

// setNamed drops a label whose name came out empty.
func setNamed(b *labels.Builder, name, value string) {
	if name != "" {
		b.Set(name, value)
	}
}

func (s *step) replace(b *labels.Builder) {
	from := s.joined(b)
	replacement := fillReferences(s.replacement, b)
	m := s.full.FindStringSubmatchIndex(from)
	if m == nil {
		return
	}
	target, value := s.target, replacement
	if strings.Contains(target, "$") {
		target = string(s.full.ExpandString(nil, target, from, m))
	}
	if strings.Contains(value, "$") {
		value = string(s.full.ExpandString(nil, value, from, m))
	}
	setNamed(b, target, value)
}

// fillReferences replaces {{label}} by the label's value.
func fillReferences(text string, b *labels.Builder) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{{")
		name, after, closed := strings.Cut(rest, "}}")
		if !found || !closed {
			out.WriteString(text)
			return out.String()
		}
		out.WriteString(before)
		out.WriteString(b.Get(name))
		text = after
	}
}

func (s *step) joined(b *labels.Builder) string {
	if len(s.source) == 1 {
		return b.Get(s.source[0])
	}
	values := make([]string, len(s.source))
	for i, name := range s.source {
		values[i] = b.Get(name)
	}
	return strings.Join(values, s.separator)
}

func (s *step) allEqual(b *labels.Builder) bool {
	for _, name := range s.source[1:] {
		if b.Get(name) != b.Get(s.source[0]) {
			return false
		}
	}
	return true
}

func (s *step) contained(b *labels.Builder) bool {
	in := b.Get(s.target)
	for _, name := range s.source {
		if !strings.Contains(in, b.Get(name)) {
			return false
		}
	}
	return true
}

// all are the labels at this moment: a builder must not change while it is ranged over.
func all(b *labels.Builder) []labels.Label {
	var ls []labels.Label
	b.Range(func(l labels.Label) { ls = append(ls, l) })
	return ls
}

// graphite takes a dotted metric name apart.
type graphite struct {
	name   *regexp.Regexp
	labels []graphiteLabel // sorted by name
}

type graphiteLabel struct{ name, template string }

// graphitePattern makes each * a run without dots.
func graphitePattern(match string) (*regexp.Regexp, error) {
	parts := strings.Split(match, "*")
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	return regexp.Compile(`^` + strings.Join(parts, `([^.]*)`) + `$`)
}

func (g *graphite) apply(b *labels.Builder) {
	found := g.name.FindStringSubmatch(b.Get(labels.MetricName))
	if found == nil {
		return
	}
	for _, l := range g.labels {
		b.Set(l.name, expandNumbers(l.template, found))
	}
}

// expandNumbers replaces $1 and ${1}; what is no number of a wildcard stays.
func expandNumbers(template string, found []string) string {
	var out strings.Builder
	for {
		before, rest, dollar := strings.Cut(template, "$")
		out.WriteString(before)
		if !dollar {
			return out.String()
		}
		var digits, after string
		shown := "$"
		if braced, ok := strings.CutPrefix(rest, "{"); ok && strings.Contains(braced, "}") {
			digits, after, _ = strings.Cut(braced, "}")
			shown = "${" + digits + "}"
		} else {
			n := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
			digits, after = rest[:n], rest[n:]
			shown += digits
		}
		if i, err := strconv.Atoi(digits); err == nil && i >= 0 && i < len(found) {
			shown = found[i]
		}
		out.WriteString(shown)
		template = after
	}
}
