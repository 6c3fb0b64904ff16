package receive

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
)

// A Prometheus, that is its TSDB, its log watcher and its queue manager, sends to
// us over HTTP; in the end we must hold what it holds.
func TestPrometheusSends(t *testing.T) {
	for _, message := range []remoteapi.WriteMessageType{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType} {
		t.Run(string(message), func(t *testing.T) {
			source, target := openDB(t, 0), openDB(t, 0)
			h := newReceiver(t, &faulty{next: target}, nil)
			server := httptest.NewServer(h)
			defer server.Close()
			sender := startSender(t, source.Dir(), server.URL, message)
			defer sender.Close()

			kinds := []string{"counter", "int_histogram", "float_histogram"}
			if message == remoteapi.WriteV2MessageType {
				kinds = append(kinds, "custom_histogram") // 1.0 senders leave them out
			}
			t0 := now() + time.Minute.Milliseconds() // the log watcher passes over what was before it
			for i := range int64(3) {
				app := source.AppenderV2(context.Background())
				for j, name := range kinds {
					appendOne(t, app, name, t0+i*1000, int64(j)+i+1)
				}
				if err := app.Commit(); err != nil {
					t.Fatal(err)
				}
				sender.Notify()
			}
			want := dump(t, source)
			if message == remoteapi.WriteV1MessageType {
				want = strings.ReplaceAll(want, "(st 77)", "(st 0)") // 1.0 cannot say it
			}
			var got string
			for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
				sender.Notify()
				if got = dump(t, target); got == want {
					return
				}
			}
			t.Fatalf("we hold\n%s\nPrometheus holds\n%s", got, want)
		})
	}
}

func appendOne(t *testing.T, app storage.AppenderV2, name string, at, n int64) {
	t.Helper()
	lset := labels.FromStrings("__name__", name, "job", "ünïcode")
	opts := storage.AOptions{Exemplars: []exemplar.Exemplar{{Labels: labels.FromStrings("trace_id", "abc"), Value: float64(n), Ts: at, HasTs: true}}}
	var err error
	switch name {
	case "int_histogram":
		_, err = app.Append(0, lset, 77, at, 0, intHistogram(n), nil, opts)
	case "float_histogram":
		_, err = app.Append(0, lset, 77, at, 0, nil, floatHistogram(n), opts)
	case "custom_histogram":
		_, err = app.Append(0, lset, 77, at, 0, customHistogram(n), nil, opts)
	default:
		_, err = app.Append(0, lset, 77, at, float64(n), nil, nil, opts)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func startSender(t *testing.T, dir, to string, message remoteapi.WriteMessageType) *remote.Storage {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	rw := promconfig.DefaultRemoteWriteConfig
	rw.URL = &commonconfig.URL{URL: u}
	rw.ProtobufMessage = message
	rw.SendExemplars, rw.SendNativeHistograms = true, true
	rw.MetadataConfig.Send = false
	rw.QueueConfig.BatchSendDeadline = model.Duration(50 * time.Millisecond)
	rw.QueueConfig.MaxShards = 1
	s := remote.NewStorage(slog.New(slog.DiscardHandler), prometheus.NewRegistry(), func() (int64, error) { return 0, nil }, dir, time.Second, nil, false)
	if err := s.ApplyConfig(&promconfig.Config{GlobalConfig: promconfig.DefaultGlobalConfig, RemoteWriteConfigs: []*promconfig.RemoteWriteConfig{&rw}}); err != nil {
		t.Fatal(err)
	}
	return s
}
