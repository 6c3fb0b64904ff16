package web

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/theory/jsonpath"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// values checks those that the module wants in a JSON body.
func (p *probe) values(v any, want []definition.JSONValue) bool {
	for i := range want {
		if words := checkValue(v, &want[i]); words != "" {
			p.r.Fail(protocol.Body, protocol.Transfer, "%s", words)
			return false
		}
	}
	return true
}

// checkValue says what is wrong with one value, "" if nothing is.
func checkValue(v any, want *definition.JSONValue) string {
	path, err := jsonpath.Parse(want.Path)
	if err != nil {
		return fmt.Sprintf("read the path %.100q: %.150v", want.Path, err)
	}
	nodes := path.Select(v)
	switch {
	case want.Exists != nil && !*want.Exists:
		if len(nodes) > 0 {
			return fmt.Sprintf("%s is %.100s, and must not exist", want.Path, text(nodes[0]))
		}
		return ""
	case len(nodes) == 0:
		return fmt.Sprintf("%s does not exist", want.Path)
	case want.Equals != nil:
		for _, n := range nodes {
			if equal(n, want.Equals) {
				return ""
			}
		}
		return fmt.Sprintf("%s is %.100s, want %.100s", want.Path, text(nodes[0]), text(want.Equals))
	case want.Matches.Regexp != nil:
		for _, n := range nodes {
			if want.Matches.MatchString(plain(n)) {
				return ""
			}
		}
		return fmt.Sprintf("%s is %.100s, which does not match %.100q", want.Path, text(nodes[0]), want.Matches.String())
	}
	return ""
}

// equal compares a value of JSON with one of YAML: numbers by value.
func equal(got, want any) bool {
	if g, ok := got.(string); ok {
		w, ok := want.(string)
		return ok && g == w
	}
	b, err := json.Marshal(want)
	if err != nil {
		return false
	}
	var same any
	if err := json.Unmarshal(b, &same); err != nil {
		return false
	}
	return reflect.DeepEqual(got, same)
}

// plain is a string without quotes, anything else as JSON.
func plain(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return text(v)
}

// text is a value as JSON, cut to what a sentence can bear.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%v", v)
	}
	return string(b)
}
