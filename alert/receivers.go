package alert

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"text/template/parse"

	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/template"
)

// checkReceiver finds what Alertmanager finds only when it is to notify:
// secrets that cannot be read and templates that do not exist.
func checkReceiver(rcv amconfig.Receiver, tmpl *template.Template) []error {
	var errs []error
	eachString(reflect.ValueOf(rcv), "", func(path, value string) {
		if err := checkFile(path, value); err != nil {
			errs = append(errs, fmt.Errorf("receiver %q: %w", rcv.Name, err))
		}
		if err := checkTemplate(value, tmpl); err != nil {
			errs = append(errs, fmt.Errorf("receiver %q: %s: %w", rcv.Name, path, err))
		}
	})
	return errs
}

// eachString visits every string of a configuration struct with its YAML path.
func eachString(v reflect.Value, path string, visit func(path, value string)) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			eachString(v.Elem(), path, visit)
		}
	case reflect.String:
		visit(path, v.String())
	case reflect.Slice:
		for i := range v.Len() {
			eachString(v.Index(i), fmt.Sprintf("%s[%d]", path, i), visit)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			eachString(v.MapIndex(key), fmt.Sprintf("%s.%v", path, key), visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if !field.IsExported() {
				continue
			}
			name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			switch {
			case strings.Contains(options, "inline"):
				name = path
			case name == "" || name == "-":
				continue
			case path != "":
				name = path + "." + name
			}
			eachString(v.Field(i), name, visit)
		}
	}
}

func checkFile(path, value string) error {
	if value == "" || !strings.HasSuffix(path, "_file") {
		return nil
	}
	f, err := os.Open(value)
	if err != nil {
		return fmt.Errorf("%s: %w: create the file or make it readable", path, err)
	}
	return f.Close()
}

// checkTemplate parses text as the notifier will and looks up every template
// it names.
func checkTemplate(text string, tmpl *template.Template) error {
	if !strings.Contains(text, "{{") {
		return nil
	}
	funcs := map[string]any(template.DefaultFuncs)
	trees, err := parse.Parse("text", text, "", "", funcs, builtins())
	if err != nil {
		return fmt.Errorf("parsing the template %q: %w", text, err)
	}
	var errs []error
	for _, name := range namedTemplates(trees) {
		if _, own := trees[name]; own {
			continue
		}
		if !defined(tmpl, name) {
			errs = append(errs, fmt.Errorf("template %q is not defined: add the file that defines it to templates, or correct the name", name))
		}
	}
	return errors.Join(errs...)
}

// builtins are the names a text/template knows by itself, plus the one that
// Alertmanager adds while executing. The parser only looks whether they exist.
func builtins() map[string]any {
	names := map[string]any{}
	for _, n := range []string{"and", "break", "call", "continue", "eq", "ge", "gt", "html", "index", "js", "le", "len",
		"lt", "ne", "not", "or", "print", "printf", "println", "routeLabels", "slice", "urlquery"} {
		names[n] = true
	}
	return names
}

func namedTemplates(trees map[string]*parse.Tree) []string {
	var names []string
	var walk func(n parse.Node)
	list := func(l *parse.ListNode) {
		if l != nil {
			for _, n := range l.Nodes {
				walk(n)
			}
		}
	}
	branch := func(b parse.BranchNode) { list(b.List); list(b.ElseList) }
	walk = func(n parse.Node) {
		switch n := n.(type) {
		case *parse.ListNode:
			list(n)
		case *parse.IfNode:
			branch(n.BranchNode)
		case *parse.RangeNode:
			branch(n.BranchNode)
		case *parse.WithNode:
			branch(n.BranchNode)
		case *parse.TemplateNode:
			names = append(names, n.Name)
		}
	}
	for _, t := range trees {
		list(t.Root)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// defined asks html/template, which looks names up before it executes anything;
// what it says about the named template's own HTML is not of interest here.
func defined(tmpl *template.Template, name string) bool {
	_, err := tmpl.ExecuteHTMLString(fmt.Sprintf("{{ if false }}{{ template %q . }}{{ end }}", name), nil)
	return err == nil || !strings.Contains(err.Error(), fmt.Sprintf("no such template %q", name))
}
