package demo

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/atoll-mesh/atoll/mesh/control"
)

// document is what all islands of the network are told.
type document struct{ key, text string }

// documents are written on the first island: what is probed, alerted on, aggregated
// and shown.
func documents(values scene) ([]document, error) {
	keys := []string{
		"aggregate/shop", "dashboard/shop", "globalrules/shop", "rules/host",
		"probe/shop", "probe/orders", "probe/islands", "probe/queue", "probe/names",
	}
	if values.Ping {
		keys = append(keys, "probe/ping")
	}
	var out []document
	for _, key := range keys {
		text, err := render("documents/"+strings.ReplaceAll(key, "/", "-")+".tmpl", values)
		if err != nil {
			return nil, err
		}
		out = append(out, document{key, string(text)})
	}
	return out, nil
}

// publish writes documents as `atoll set` does.
func publish(ctx context.Context, client *control.Client, documents []document) error {
	for d := range slices.Values(documents) {
		kind, name, _ := strings.Cut(d.key, "/")
		path := "/api/atoll/v1/documents/" + url.PathEscape(kind) + "/" + url.PathEscape(name)
		resp, err := client.Do(ctx, http.MethodPut, path, http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, []byte(d.text))
		if err != nil {
			return fmt.Errorf("write the document %s: %w", d.key, err)
		}
		_ = resp.Body.Close()
	}
	return nil
}
