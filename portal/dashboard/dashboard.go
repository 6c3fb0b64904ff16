package dashboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/common/model"
)

// Kind is the kind of documents that hold dashboards.
const Kind = "dashboard"

// Bounds of one dashboard.
const (
	MaxBytes     = 256 << 10
	maxPanels    = 100
	maxQueries   = 20
	maxVariables = 30
	maxOptions   = 500
	maxTitle     = 200
	maxLabel     = 500
	maxExpr      = 8 << 10
	maxText      = 16 << 10
	maxColumns   = 12
	maxRows      = 20
)

// Dashboard is a document of the kind.
type Dashboard struct {
	Title       string     `json:"title"`
	Description string     `json:"description,omitempty"`
	Range       string     `json:"range,omitempty"`
	Refresh     string     `json:"refresh,omitempty"`
	Variables   []Variable `json:"variables,omitempty"`
	Panels      []Panel    `json:"panels"`
}

// Variable is what readers choose, and $name in expressions stands for.
type Variable struct {
	Name  string `json:"name"`
	Label string `json:"label,omitempty"`
	// Type is label (the values of the label ValuesOf, of the series that Match selects), custom
	// (Options) or text.
	Type       string   `json:"type"`
	ValuesOf   string   `json:"values_of,omitempty"`
	Match      string   `json:"match,omitempty"`
	Options    []string `json:"options,omitempty"`
	Default    []string `json:"default,omitempty"`
	Multi      bool     `json:"multi,omitempty"`
	IncludeAll bool     `json:"include_all,omitempty"`
}

// Panel is one rectangle of the grid of twelve columns.
type Panel struct {
	Title       string      `json:"title"`
	Type        string      `json:"type"`
	Description string      `json:"description,omitempty"`
	Width       int         `json:"width"`
	Height      int         `json:"height"`
	Queries     []Query     `json:"queries,omitempty"`
	Unit        string      `json:"unit,omitempty"`
	Stacked     bool        `json:"stacked,omitempty"`
	Min         *float64    `json:"min,omitempty"`
	Max         *float64    `json:"max,omitempty"`
	Thresholds  []Threshold `json:"thresholds,omitempty"`
	Text        string      `json:"text,omitempty"`
}

// Query is an expression and how its series are called.
type Query struct {
	Expr   string `json:"expr"`
	Legend string `json:"legend,omitempty"`
}

// Threshold is the value from which on a state holds.
type Threshold struct {
	Value float64 `json:"value"`
	State string  `json:"state"`
}

var (
	types    = []string{"timeseries", "stat", "table", "bargauge", "heatmap", "text", "row"}
	unitsOf  = []string{"", "number", "bytes", "bytesPerSecond", "seconds", "ratio", "perSecond"}
	states   = []string{"good", "warn", "bad", "info"}
	kinds    = []string{"label", "custom", "text"}
	variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,49}$`)
)

// Check returns every mistake of a document at once, joined.
func Check(value []byte) error {
	if len(value) > MaxBytes {
		return fmt.Errorf("dashboard: %d bytes; must be at most %d: divide it into several", len(value), MaxBytes)
	}
	d, err := decode(value)
	if err != nil {
		return err
	}
	c := &check{}
	c.text("title", d.Title, 1, maxTitle)
	c.text("description", d.Description, 0, maxText)
	c.duration("range", d.Range)
	c.duration("refresh", d.Refresh)
	c.count("variables", len(d.Variables), maxVariables)
	c.count("panels", len(d.Panels), maxPanels)
	seen := map[string]bool{}
	for i, v := range d.Variables {
		c.variable(fmt.Sprintf("variables[%d]", i), v, seen)
	}
	for i, p := range d.Panels {
		c.panel(fmt.Sprintf("panels[%d]", i), p)
	}
	return errors.Join(c.errs...)
}

func decode(value []byte) (*Dashboard, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(value, " \t\r\n"), []byte("{")) {
		return nil, errors.New("dashboard: must be a JSON object with title and panels")
	}
	var d Dashboard
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		if kind := (*json.UnmarshalTypeError)(nil); errors.As(err, &kind) {
			return nil, fmt.Errorf("dashboard: %s: got a JSON %s, must be %s", kind.Field, kind.Value, kind.Type)
		}
		return nil, fmt.Errorf("dashboard: read JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("dashboard: there is more after the object, at byte %d", dec.InputOffset())
	}
	return &d, nil
}

// check collects mistakes.
type check struct{ errs []error }

func (c *check) fail(field, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("dashboard: %s: %s", field, fmt.Sprintf(format, args...)))
}

func (c *check) text(field, s string, least, most int) {
	if n := utf8.RuneCountInString(s); n < least || n > most {
		c.fail(field, "%d characters; must be %d to %d", n, least, most)
	}
}

func (c *check) count(field string, n, most int) {
	if n > most {
		c.fail(field, "%d of them; must be at most %d", n, most)
	}
}

func (c *check) duration(field, s string) {
	if s == "" {
		return
	}
	if d, err := model.ParseDuration(s); err != nil || d <= 0 {
		c.fail(field, "got %.50q, must be a duration longer than 0, such as 1h", s)
	}
}

func (c *check) oneOf(field, got string, all []string) {
	if !slices.Contains(all, got) {
		c.fail(field, "got %.50q, must be one of %s", got, strings.Join(slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == "" }), ", "))
	}
}

func (c *check) between(field string, got, least, most int) {
	if got < least || got > most {
		c.fail(field, "got %d, must be %d to %d", got, least, most)
	}
}

func (c *check) variable(field string, v Variable, seen map[string]bool) {
	if !variable.MatchString(v.Name) {
		c.fail(field+".name", "got %.50q, must be 1 to 50 letters, digits and _, not beginning with a digit", v.Name)
	} else if seen[v.Name] {
		c.fail(field+".name", "%q is there already; each variable needs a name of its own", v.Name)
	}
	seen[v.Name] = true
	c.text(field+".label", v.Label, 0, maxTitle)
	c.oneOf(field+".type", v.Type, kinds)
	if v.Type == "label" {
		c.text(field+".values_of", v.ValuesOf, 1, maxTitle)
	}
	c.text(field+".match", v.Match, 0, maxExpr)
	c.count(field+".options", len(v.Options), maxOptions)
	c.count(field+".default", len(v.Default), maxOptions)
	for i, o := range v.Options {
		c.text(fmt.Sprintf("%s.options[%d]", field, i), o, 0, maxLabel)
	}
	for i, o := range v.Default {
		c.text(fmt.Sprintf("%s.default[%d]", field, i), o, 0, maxLabel)
	}
}

func (c *check) panel(field string, p Panel) {
	c.text(field+".title", p.Title, 0, maxTitle)
	c.oneOf(field+".type", p.Type, types)
	c.text(field+".description", p.Description, 0, maxText)
	c.between(field+".width", p.Width, 1, maxColumns)
	c.between(field+".height", p.Height, 1, maxRows)
	c.oneOf(field+".unit", p.Unit, unitsOf)
	c.text(field+".text", p.Text, 0, maxText)
	c.count(field+".queries", len(p.Queries), maxQueries)
	for i, q := range p.Queries {
		c.text(fmt.Sprintf("%s.queries[%d].expr", field, i), q.Expr, 1, maxExpr)
		c.text(fmt.Sprintf("%s.queries[%d].legend", field, i), q.Legend, 0, maxLabel)
	}
	c.count(field+".thresholds", len(p.Thresholds), maxQueries)
	for i, t := range p.Thresholds {
		c.oneOf(fmt.Sprintf("%s.thresholds[%d].state", field, i), t.State, states)
	}
}
