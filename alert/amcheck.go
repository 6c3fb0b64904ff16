package alert

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/matcher/compat"
	commoncfg "github.com/prometheus/common/config"
	"go.yaml.in/yaml/v3"
)

// initMatchers chooses the matcher syntax that Alertmanager has by default. The
// choice is global upstream, so it is made once and is the same for everybody.
var initMatchers = sync.OnceFunc(func() {
	compat.InitFromFlags(slog.New(slog.DiscardHandler), featurecontrol.NoopFlags{})
})

const defaultAlertmanager = `route:
  receiver: default
  group_by: [alertname]
receivers:
  - name: default
`

// DefaultAlertmanager is used where no configuration is given: alerts are
// grouped by name and shown, nobody is notified.
func DefaultAlertmanager() *amconfig.Config {
	conf, problems := LoadAlertmanager("", []byte(defaultAlertmanager), ".")
	if len(problems) > 0 {
		panic(fmt.Sprintf("BUG: the default Alertmanager configuration is refused: %v", problems))
	}
	return conf
}

// LoadAlertmanager parses an Alertmanager configuration. Relative paths in it
// are taken from dir, usually that of the file. On any problem the
// configuration is nil; file only names it in them.
func LoadAlertmanager(file string, content []byte, dir string) (*amconfig.Config, []Problem) {
	initMatchers()
	conf, err := amconfig.Load(string(content))
	if err != nil {
		return nil, locate(file, content, err.Error())
	}
	// Integrations share the global client's settings: joined to a relative
	// directory, their paths would be joined once for each.
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, []Problem{{File: file, Message: fmt.Sprintf("finding the directory of the configuration: %v", err)}}
	}
	for i, pattern := range conf.Templates {
		if !filepath.IsAbs(pattern) {
			conf.Templates[i] = filepath.Join(dir, pattern)
		}
	}
	setDirectory(reflect.ValueOf(conf), dir)
	return conf, nil
}

// CheckAlertmanager returns everything wrong with an Alertmanager
// configuration, including what is refused at start only: secret files that
// cannot be read, templates that are broken or not defined.
func CheckAlertmanager(file string, content []byte, dir string) []Problem {
	conf, problems := LoadAlertmanager(file, content, dir)
	if conf == nil {
		return problems
	}
	discard := slog.New(slog.DiscardHandler)
	r, err := prepareRouting(conf, nil, discard, nil)
	if err != nil {
		return locate(file, content, err.Error())
	}
	r.discard()
	return nil
}

// setDirectory resolves the relative paths of every HTTP client in a configuration.
func setDirectory(v reflect.Value, dir string) {
	if v.CanInterface() {
		if c, ok := v.Interface().(*commoncfg.HTTPClientConfig); ok {
			c.SetDirectory(dir) // knows nil
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			setDirectory(v.Elem(), dir)
		}
	case reflect.Slice:
		for i := range v.Len() {
			setDirectory(v.Index(i), dir)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				setDirectory(v.Field(i), dir)
			}
		}
	}
}

var (
	atLine       = regexp.MustCompile(`^\s*(?:yaml: )?line (\d+): (.*)$`)
	unknownField = regexp.MustCompile(`^field (\S+) not found in type \S+$`)
	doubledField = regexp.MustCompile(`^field (\S+) already set in type \S+$`)
	quotedWord   = regexp.MustCompile(`"([^"]+)"|open ([^:]+):`)
)

// locate turns an error text of one or more lines into problems with positions.
// YAML errors name their line; others are looked up by what they quote.
func locate(file string, content []byte, text string) []Problem {
	var out Problems
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line == "yaml: unmarshal errors:" {
			continue
		}
		m := atLine.FindStringSubmatch(line)
		if m == nil {
			row, column := findQuoted(content, line)
			out = append(out, Problem{File: file, Line: row, Column: column, Message: line})
			continue
		}
		row, _ := strconv.Atoi(m[1])
		p := Problem{File: file, Line: row, Column: firstColumn(content, row), Message: m[2]}
		if f := unknownField.FindStringSubmatch(m[2]); f != nil {
			p.Message = fmt.Sprintf("unknown field %q: correct its spelling or its indentation", f[1])
			p.Column = columnOf(content, row, f[1], p.Column)
		} else if f := doubledField.FindStringSubmatch(m[2]); f != nil {
			p.Message = fmt.Sprintf("field %q stands twice: remove one", f[1])
			p.Column = columnOf(content, row, f[1], p.Column)
		}
		out = append(out, p)
	}
	return out.sorted()
}

func columnOf(content []byte, line int, word string, otherwise int) int {
	lines := bytes.Split(content, []byte("\n"))
	if line < 1 || line > len(lines) {
		return otherwise
	}
	if i := bytes.Index(lines[line-1], []byte(word)); i >= 0 {
		return i + 1
	}
	return otherwise
}

// findQuoted returns where the last thing that a message quotes, or a file it
// could not open, stands in the document: messages go from the general to the
// particular.
func findQuoted(content []byte, message string) (line, column int) {
	var doc yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(content)).Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return 0, 0
	}
	words := quotedWord.FindAllStringSubmatch(message, -1)
	for _, word := range slices.Backward(words) {
		text := word[1] + word[2]
		n := findScalar(&doc, func(value string) bool { return value == text })
		if n == nil {
			n = findScalar(&doc, func(value string) bool { return strings.Contains(value, word[0]) })
		}
		if n != nil {
			return n.Line, n.Column
		}
	}
	return 0, 0
}

func findScalar(n *yaml.Node, match func(value string) bool) *yaml.Node {
	if n.Kind == yaml.ScalarNode && match(n.Value) {
		return n
	}
	for _, child := range n.Content {
		if found := findScalar(child, match); found != nil {
			return found
		}
	}
	return nil
}
