package main

import (
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

	"github.com/atoll-mesh/atoll/mesh/control"
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

func (s shelf) history(ctx context.Context, key string) ([]document, error) {
	path, err := s.path(key)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Versions []document `json:"versions"`
	}
	err = s.read(ctx, path+"/history", &answer)
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

func printDocuments(w io.Writer, docs []document) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "DOCUMENT\tCHANGED\tBY\tBYTES")
	for _, d := range docs {
		size := fmt.Sprint(d.Bytes)
		if d.Deleted {
			size = "deleted"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", d.Key, d.Modified.Local().Format(time.DateTime), d.Author, size)
	}
	return t.Flush()
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
