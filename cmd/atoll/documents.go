package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/trust"
)

// documentsPath is where the replica's API begins.
const documentsPath = "/api/atoll/v1/documents"

// document is one version as the API shows it.
type document struct {
	Key      string    `json:"key"`
	Value    string    `json:"value"`
	Deleted  bool      `json:"deleted"`
	Time     uint64    `json:"time,string"`
	Modified time.Time `json:"modified"`
	Author   string    `json:"author"`
	Bytes    int       `json:"bytes"`
}

// shelf reads and writes documents of the island at hand.
type shelf struct{ client *control.Client }

func (h here) shelf() (shelf, error) {
	client, err := h.client()
	return shelf{client}, err
}

func (s shelf) path(key string) (string, error) {
	kind, name, ok := strings.Cut(key, "/")
	if !ok || kind == "" || name == "" {
		return "", fmt.Errorf("document %q: write it as KIND/NAME, as in rules/cpu", key)
	}
	return documentsPath + "/" + url.PathEscape(kind) + "/" + url.PathEscape(name), nil
}

// get returns the newest version; ok is false where there is none.
func (s shelf) get(ctx context.Context, key string) (d document, ok bool, err error) {
	path, err := s.path(key)
	if err != nil {
		return d, false, err
	}
	err = s.read(ctx, path, &d)
	var no *control.Refusal
	if errors.As(err, &no) && no.Status == http.StatusNotFound {
		return d, false, nil
	}
	return d, err == nil && !d.Deleted, err
}

func (s shelf) list(ctx context.Context, prefix string) ([]document, error) {
	var answer struct {
		Documents []document `json:"documents"`
	}
	err := s.read(ctx, documentsPath+"?prefix="+url.QueryEscape(prefix), &answer)
	return answer.Documents, err
}

// history returns every version that the island knows, the one in force first.
func (s shelf) history(ctx context.Context, key string) ([]document, error) {
	path, err := s.path(key)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Current  *document  `json:"current"`
		Versions []document `json:"versions"`
	}
	err = s.read(ctx, path+"/history", &answer)
	if answer.Current != nil {
		answer.Versions = append([]document{*answer.Current}, answer.Versions...)
	}
	return answer.Versions, err
}

// put writes value; expect is the time of the version it replaces, 0 for any.
func (s shelf) put(ctx context.Context, key string, value []byte, expect uint64) (d document, err error) {
	path, err := s.path(key)
	if err != nil {
		return d, err
	}
	err = s.change(ctx, http.MethodPut, path, value, expect, &d)
	return d, err
}

func (s shelf) remove(ctx context.Context, key string) error {
	path, err := s.path(key)
	if err != nil {
		return err
	}
	return s.change(ctx, http.MethodDelete, path, nil, 0, nil)
}

func (s shelf) change(ctx context.Context, method, path string, value []byte, expect uint64, into any) error {
	header := http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	if expect != 0 {
		header.Set("If-Match", fmt.Sprintf("%q", fmt.Sprint(expect)))
	}
	resp, err := s.client.Do(ctx, method, path, header, value)
	if err != nil {
		return err
	}
	return finish(resp, into)
}

func (s shelf) read(ctx context.Context, path string, into any) error {
	resp, err := s.client.Do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	return finish(resp, into)
}

func finish(resp *http.Response, into any) error {
	defer resp.Body.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read the island's answer: %w", err)
	}
	return nil
}

// printDocuments prints a line for each; name is the first column.
func (s shelf) printDocuments(ctx context.Context, w io.Writer, head string, docs []document, name func(document) string) error {
	who := s.authors(ctx)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, head+"\tCHANGED\tBY\tBYTES")
	for _, d := range docs {
		size := fmt.Sprint(d.Bytes)
		if d.Deleted {
			size = "deleted"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", name(d), d.Modified.Local().Format(time.DateTime), cmp.Or(who[d.Author], shortKey(d.Author)), size)
	}
	return t.Flush()
}

// authors says whose the keys are that sign documents, as far as the island can
// tell now: documents are read while its mesh is still starting, too.
func (s shelf) authors(ctx context.Context) map[string]string {
	network, _ := control.Ask[control.NetworkStatus](ctx, s.client, "network")
	peers, _ := control.Ask[[]mesh.PeerStatus](ctx, s.client, "peers")
	who := map[string]string{network.Key: network.Island}
	for _, p := range peers {
		who[p.Key.String()] = p.Name
	}
	for _, signer := range network.Signers {
		who[signer.Key] = signer.Name + " (signer)"
	}
	for _, k := range network.RootKeys {
		who[k] = "root"
	}
	return who
}

// shortKey is the end of a key's text; names pass as they are.
func shortKey(text string) string {
	if k, err := trust.ParseKey(text); err == nil {
		return k.Short()
	}
	return text
}

// printJSON is for scripts: one value, indented.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// content reads a file, or standard input for "-".
func content(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(io.LimitReader(os.Stdin, 2<<20))
	}
	return os.ReadFile(file)
}
