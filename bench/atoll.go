package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/aggregate"
	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/collect/receive"
)

// atollFolder is the receiver of an island before its aggregation, whole but for
// the socket. Nothing is stored, as with streamaggr by default.
type atollFolder struct {
	handler http.Handler
	stop    func()
}

func newAtoll(j job) (folder, error) { return newAtollOver(j, nowhere{}) }

// newAtollOver runs the aggregation too, if windows of the rule end.
func newAtollOver(j job, store storage.AppendableV2) (folder, error) {
	text := append(ruleFile(j), "  keep_input: false\n"...)
	if j.Interval == 0 { // the senders' clock is behind: in a new hour all they send were late
		text = append(text, "  max_lag: 30m\n"...)
	}
	rules, err := rule.Load("bench", text)
	if err != nil {
		return nil, err
	}
	a, err := aggregate.New(aggregate.Options{Config: aggregate.Default(), Rules: rules, Store: store, Logger: quiet(), Registerer: prometheus.NewRegistry()})
	if err != nil {
		return nil, err
	}
	c := receive.Default()
	c.RemoteWrite.Enabled = true
	f := &atollFolder{
		handler: receive.NewRemoteWrite(receive.Options{Config: c, Appendable: a.Appendable(store), Logger: quiet(), Registerer: prometheus.NewRegistry()}),
		stop:    func() {},
	}
	if j.Interval != 0 {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = a.Run(ctx) // nothing that it could say at the end matters here
		}()
		f.stop = func() { cancel(); <-done }
	}
	return f, nil
}

func (f *atollFolder) push(body []byte) error {
	r := &http.Request{
		Method: http.MethodPost, Header: http.Header{}, RemoteAddr: "192.0.2.1:1234",
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}
	w := &answer{header: http.Header{}}
	f.handler.ServeHTTP(w, r)
	if w.status != http.StatusNoContent {
		return fmt.Errorf("receiving: status %d: %s", w.status, w.text.Bytes())
	}
	return nil
}

// answer is what a handler has answered: all of HTTP that streamaggr has not got
// either is left out.
type answer struct {
	header http.Header
	status int
	text   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return a.text.Write(p) }

func (f *atollFolder) close() { f.stop() }

// nowhere takes samples and keeps none.
type nowhere struct{}

func (nowhere) AppenderV2(context.Context) storage.AppenderV2 { return nowhere{} }
func (nowhere) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AOptions) (storage.SeriesRef, error) {
	return 1, nil
}
func (nowhere) Commit() error   { return nil }
func (nowhere) Rollback() error { return nil }
