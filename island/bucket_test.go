package island

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"go.uber.org/goleak"
)

type oldSample struct {
	t int64
	v float64
}

func (s oldSample) ST() int64                     { return 0 }
func (s oldSample) T() int64                      { return s.t }
func (s oldSample) F() float64                    { return s.v }
func (s oldSample) H() *histogram.Histogram       { return nil }
func (s oldSample) FH() *histogram.FloatHistogram { return nil }
func (s oldSample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s oldSample) Copy() chunks.Sample           { return s }

// TestBucket: a reload sends the blocks to a directory, and after they are gone
// here, questions about their time are answered from there.
func TestBucket(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	defer http.DefaultClient.CloseIdleConnections()
	s := newSpecimen(t, lone("one"))
	there := t.TempDir()
	at := time.Now().Add(-30*time.Hour).UnixMilli() / 7200_000 * 7200_000
	series := storage.NewListSeries(labels.FromStrings("__name__", "old"), []chunks.Sample{oldSample{at, 1}, oldSample{at + 60_000, 42}})
	block, err := tsdb.CreateBlock([]storage.Series{series}, s.Config().Store.Path, 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	id := filepath.Base(block)
	s.run()
	with := lone("one", fmt.Sprintf("store: {bucket: {type: filesystem, directory: %q, interval: 1s}}", there))
	s.write(with)
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "the upload", func() bool {
		return strings.Contains(s.ask("/metrics"), `atoll_bucket_uploads_total{outcome="ok"} 1`)
	})
	text, err := os.ReadFile(filepath.Join(there, id, "meta.json"))
	if err != nil || !strings.Contains(string(text), `"island": "one"`) {
		t.Errorf("meta.json is %s: %v", text, err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(block); err != nil {
		t.Fatal(err)
	}
	again := newSpecimen(t, strings.Replace(with, "data_dir: data", fmt.Sprintf("data_dir: %q", s.Config().Island.DataDir), 1))
	again.run()
	await(t, "the answer from the bucket", func() bool {
		body := again.ask(fmt.Sprintf("/api/v1/query?query=old&time=%d", at/1000+90))
		return strings.Contains(body, `"42"`) && !strings.Contains(body, "warnings")
	})
	if err := again.stop(); err != nil {
		t.Error(err)
	}
}

func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within 30 s", what)
		case <-tick.C:
		}
	}
}
