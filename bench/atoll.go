package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

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
	a       *aggregate.Aggregator
	handler http.Handler
}

func newAtoll(j job) (folder, error) {
	text := append(ruleFile(j), "  keep_input: false\n"...)
	rules, err := rule.Load("bench", text)
	if err != nil {
		return nil, err
	}
	a, err := aggregate.New(aggregate.Options{Config: aggregate.Default(), Rules: rules, Store: nowhere{}, Logger: quiet(), Registerer: prometheus.NewRegistry()})
	if err != nil {
		return nil, err
	}
	c := receive.Default()
	c.RemoteWrite.Enabled = true
	return &atollFolder{a, receive.NewRemoteWrite(receive.Options{Config: c, Appendable: a.Appendable(nowhere{}), Logger: quiet(), Registerer: prometheus.NewRegistry()})}, nil
}

func (f *atollFolder) push(body []byte) error {
	r := httptest.NewRequest(http.MethodPost, "/api/v1/write", bytes.NewReader(body))
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	if w.Code != http.StatusNoContent {
		return fmt.Errorf("receiving: status %d: %s", w.Code, w.Body)
	}
	return nil
}

func (f *atollFolder) close() {}

// nowhere takes samples and keeps none.
type nowhere struct{}

func (nowhere) AppenderV2(context.Context) storage.AppenderV2 { return nowhere{} }
func (nowhere) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AOptions) (storage.SeriesRef, error) {
	return 1, nil
}
func (nowhere) Commit() error   { return nil }
func (nowhere) Rollback() error { return nil }
