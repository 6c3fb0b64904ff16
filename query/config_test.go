package query

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v3"
)

func TestDefaultIsValidAndRoundTrips(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(Default())
	if err != nil {
		t.Fatal(err)
	}
	var got Config
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	dec.KnownFields(true)
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Default(), got); d != "" {
		t.Error(d)
	}
}

func TestValidateNamesEveryField(t *testing.T) {
	bad := Config{
		MaxQueue: -1, SlowQuery: -1, CORSOrigin: "(",
		RemoteRead: RemoteReadConfig{SampleLimit: -1, Concurrency: -1}, Search: SearchConfig{MaxLimit: -1},
	}
	err := bad.Validate()
	for _, want := range []string{
		"timeout: got 0s", "lookback_delta: got 0s", "max_samples: got 0, must be at least 1", "max_concurrency: got 0",
		"max_queue: got -1", "slow_query: got -1", "remote_read.sample_limit", "remote_read.concurrency",
		"remote_read.max_bytes_in_frame", "search.max_limit", `cors_origin: got "("`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestFromGlobal(t *testing.T) {
	g := promconfig.GlobalConfig{QueryLogFile: "q.log", QueryMaxSeries: 5, QueryMaxSamplesRead: 6, QueryMaxDuration: model.Duration(time.Minute)}
	want := Default()
	want.LogFile, want.MaxSeries, want.MaxSamplesRead, want.Timeout = "q.log", 5, 6, model.Duration(time.Minute)
	if d := cmp.Diff(want, Default().FromGlobal(g)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want, want.FromGlobal(promconfig.GlobalConfig{QueryLogFile: "x", QueryMaxSeries: 1, QueryMaxSamplesRead: 1, QueryMaxDuration: 1})); d != "" {
		t.Errorf("what is set was overwritten:\n%s", d)
	}
}

func TestNewReportsWhatIsMissing(t *testing.T) {
	_, err := New(Options{})
	for _, want := range []string{"query.Options.Store", "query.Options.Health", "timeout: got 0s"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}
