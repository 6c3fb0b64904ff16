package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/decode"
)

// Kind is the format of a configuration file.
type Kind string

// The kinds of files that Check knows. KindAuto looks at the top-level keys,
// except in a file called atoll-something.
const (
	KindAuto         Kind = "auto"
	KindAtoll        Kind = "atoll"
	KindPrometheus   Kind = "prometheus"
	KindRules        Kind = "rules"
	KindAlertmanager Kind = "alertmanager"
	KindWeb          Kind = "web"
)

// Kinds lists what can be given instead of KindAuto.
func Kinds() []Kind {
	return []Kind{KindAtoll, KindPrometheus, KindRules, KindAlertmanager, KindWeb}
}

// keysOfKind are the top-level keys that tell a format from the others.
func keysOfKind(k Kind) []string {
	if k == KindAtoll {
		var keys []string
		for f := range reflect.TypeFor[top]().Fields() {
			keys = append(keys, f.Tag.Get("yaml"))
		}
		return keys
	}
	return map[Kind][]string{
		KindPrometheus:   {"global", "scrape_configs", "scrape_config_files", "rule_files", "alerting", "remote_write", "remote_read", "storage", "otlp", "runtime"},
		KindRules:        {"groups"},
		KindAlertmanager: {"global", "route", "receivers", "inhibit_rules", "templates", "time_intervals", "mute_time_intervals"},
		KindWeb:          {"tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"},
	}[k]
}

// Detect guesses the kind of a file from its content. A file that shows nothing
// of its kind is taken for atoll.yaml.
func Detect(content []byte) Kind {
	root, _, _ := decode.Parse(content)
	return detect(root)
}

func detect(root *yaml.Node) Kind {
	best, most := KindAtoll, 0
	if root == nil || root.Kind != yaml.MappingNode {
		return best
	}
	for _, k := range Kinds() {
		n := 0
		for i := 0; i < len(root.Content); i += 2 {
			if slices.Contains(keysOfKind(k), root.Content[i].Value) {
				n++
			}
		}
		if n > most {
			best, most = k, n
		}
	}
	return best
}

// Check reads a file of any kind and everything it refers to, and returns all
// problems, warnings included. Unlike Load it takes a missing certificate or
// secret for an error. It starts nothing and asks nothing of the network.
func Check(path string, kind Kind) Errors {
	if kind == KindAuto || kind == "" {
		content, err := os.ReadFile(path)
		if err != nil {
			return Errors{{File: path, Message: "read: " + reason(err)}}
		}
		if kind = Detect(content); strings.HasPrefix(filepath.Base(path), "atoll") {
			kind = KindAtoll // whatever keys somebody put into it
		}
	}
	l := &loader{strict: true}
	switch kind {
	case KindAtoll:
		l.atoll(path)
	case KindPrometheus:
		l.prometheusOnly(path)
	case KindRules:
		if src, content := l.read(path); content != nil {
			l.rules(src, content)
		}
	case KindAlertmanager:
		if src, root := l.open(path); root != nil {
			l.alertmanager(src, root)
		}
	case KindWeb:
		if src, root := l.open(path); root != nil {
			l.web(src, root)
		}
	default:
		kinds := make([]string, 0, len(Kinds()))
		for _, k := range Kinds() {
			kinds = append(kinds, string(k))
		}
		return Errors{{File: path, Message: fmt.Sprintf("kind %q: must be one of %s", kind, strings.Join(kinds, ", "))}}
	}
	return l.errs.tidy(l.files)
}
