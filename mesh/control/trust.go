package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/atoll-mesh/atoll/trust"
)

// ImportResult says what became of documents of trust that were carried by hand.
type ImportResult struct {
	// Taken are the keys of those that were news.
	Taken []string `json:"taken"`
	// Known counts those of which this version, or a newer one, is held.
	Known   int `json:"known"`
	Refused int `json:"refused"`
	// Reasons are of the refused, up to a thousand.
	Reasons []string `json:"reasons,omitempty"`
}

// exporting and importing move files, which are larger than any other request.
func exporting(g Governance, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if err := g.Export(w); err != nil {
			Refuse(w, log, err)
		}
	})
}

func importing(g Governance, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		res, err := g.Import(r.Context(), http.MaxBytesReader(w, r.Body, trust.MaxCarried))
		respond(w, log, res, err)
	})
}

// Export writes all documents of trust that the island holds.
func Export(ctx context.Context, c *Client, w io.Writer) error {
	resp, err := c.Do(ctx, http.MethodGet, Prefix+"trust", nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("read the island's answer: %w", err)
	}
	return nil
}

// Import gives the island a file that Export wrote elsewhere.
func Import(ctx context.Context, c *Client, file []byte) (res ImportResult, err error) {
	resp, err := c.Do(ctx, http.MethodPost, Prefix+"trust", nil, file)
	if err != nil {
		return res, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&res); err != nil {
		return res, fmt.Errorf("read the island's answer: %w", err)
	}
	return res, nil
}
