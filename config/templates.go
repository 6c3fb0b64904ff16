package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/alertmanager/template"
)

// templateFile checks one file of notification templates.
func (l *loader) templateFile(path string) {
	if slices.Contains(l.files, path) {
		return // matched by an earlier pattern: parsed again upstream, to the same effect
	}
	l.files = append(l.files, path)
	content, err := readRegular(path)
	if err != nil {
		l.errs = append(l.errs, Error{File: path, Message: "read: " + reason(err)})
		return
	}
	if err := parseTemplate(string(content)); err != nil {
		line, message := templateError(err)
		l.errs = append(l.errs, Error{File: path, Line: line, Column: 1, Message: "read as a template: " + message})
	}
}

// parseTemplate uses upstream's own functions, so that a template passes here
// exactly if it passes there.
func parseTemplate(body string) error {
	t, err := template.New()
	if err != nil {
		return fmt.Errorf("prepare templates: %w", err)
	}
	return t.Parse(strings.NewReader(body))
}

var templatePosition = regexp.MustCompile(`^(?:html/)?template: ?[^:]*:(\d+)(?::\d+)?: `)

// templateError takes the position off an error of the template packages. line
// counts from 1 in the template.
func templateError(err error) (line int, message string) {
	message = err.Error()
	if m := templatePosition.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	}
	return max(line, 1), message
}
