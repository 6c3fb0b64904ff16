package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/atoll-mesh/atoll/query/global"
)

// scopedTransport says with each request whose data it is about, and keeps the
// receipt of the answer.
type scopedTransport struct {
	scope, partial string
	next           http.RoundTripper
	receipt        *global.Receipt
}

// RoundTrip implements http.RoundTripper.
func (t *scopedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for header, value := range map[string]string{"X-Atoll-Scope": t.scope, "X-Atoll-Partial": t.partial} {
		if value != "" {
			r.Header.Set(header, value)
		}
	}
	res, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if err := res.Body.Close(); err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	var envelope struct{ Receipt *global.Receipt }
	if json.Unmarshal(body, &envelope) == nil && envelope.Receipt != nil {
		t.receipt = envelope.Receipt
	}
	return res, nil
}

// writeReceipt says how an answer came about.
func writeReceipt(out io.Writer, r *global.Receipt) {
	if r == nil {
		fmt.Fprintln(out, "receipt: this island alone answered")
		return
	}
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ISLAND\tSTATE\tNEWEST\tSERIES\tBYTES\tTOOK\tWHY")
	for _, i := range r.Islands {
		newest := "-"
		if i.Newest > 0 {
			newest = time.Since(time.UnixMilli(i.Newest)).Round(time.Second).String() + " ago"
		}
		if i.From != "" {
			i.Why = "from the copy at " + i.From + ": " + i.Why
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%d\t%s\t%s\n", i.Name, i.State, newest, i.Series, i.Bytes, i.Took.Round(time.Millisecond), i.Why)
	}
	_ = tw.Flush() // standard error
	for _, e := range r.Pushed {
		fmt.Fprintln(out, "evaluated there: ", e)
	}
	for _, e := range r.Fetched {
		fmt.Fprintln(out, "fetched:         ", e)
	}
	if r.Rest != "" {
		fmt.Fprintln(out, "evaluated here:  ", r.Rest)
	}
}
