package web

import (
	"bytes"
	"net/url"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// Bounds of what is looked for in a page.
const (
	maxFields = 100
	maxTokens = 100_000
)

// hiddenFields are the names and values of the hidden inputs of those forms on a page
// from the URL from that go to the URL to.
func hiddenFields(page []byte, from, to *url.URL) [][2]string {
	if len(page) == 0 || from == nil {
		return nil
	}
	var fields [][2]string
	t := html.NewTokenizer(bytes.NewReader(page))
	t.SetMaxBuf(maxKept)
	inside := false
	for n := 0; n < maxTokens && len(fields) < maxFields; n++ {
		kind := t.Next()
		if kind == html.ErrorToken {
			return fields
		}
		if kind != html.StartTagToken && kind != html.SelfClosingTagToken && kind != html.EndTagToken {
			continue
		}
		name, hasAttr := t.TagName()
		switch tag := atom.Lookup(name); {
		case tag == atom.Form && kind == html.EndTagToken:
			inside = false
		case tag == atom.Form:
			inside = sameForm(attributes(t, hasAttr)["action"], from, to)
		case tag == atom.Input && inside:
			a := attributes(t, hasAttr)
			if a["type"] == "hidden" && a["name"] != "" {
				fields = append(fields, [2]string{a["name"], a["value"]})
			}
		}
	}
	return fields
}

// attributes of the tag at which t is; the first of a name counts.
func attributes(t *html.Tokenizer, more bool) map[string]string {
	all := map[string]string{}
	for n := 0; more && n < maxFields; n++ {
		var k, v []byte
		k, v, more = t.TagAttr()
		if _, ok := all[string(k)]; !ok {
			all[string(k)] = string(v)
		}
	}
	return all
}

// sameForm tells that a form's action on the page from leads to to; a form without an
// action goes to the page it is on.
func sameForm(action string, from, to *url.URL) bool {
	u, err := from.Parse(action)
	return err == nil && u.Scheme == to.Scheme && u.Host == to.Host && u.EscapedPath() == to.EscapedPath()
}
