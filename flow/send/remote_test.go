package send

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage/remote"

	"github.com/atoll-mesh/atoll/health"
)

func TestPaceSpreadsSamples(t *testing.T) {
	now := time.Now()
	r := &pace{perSecond: 100}
	for i, want := range []time.Duration{0, 500 * time.Millisecond, time.Second} {
		if got := r.wait(50, now); got != want {
			t.Errorf("wait %d = %s, want %s", i, got, want)
		}
	}
	if got := (&pace{}).wait(1e9, now); got != 0 {
		t.Errorf("without a limit wait = %s", got)
	}
}

func TestPrepareNamesWhatIsWrong(t *testing.T) {
	s, err := New(Options{Dir: t.TempDir(), Store: lateStore{}, Health: health.New(nil), CursorDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func(*promconfig.RemoteWriteConfig)
		want   []string
	}{
		"a CA that is not there": {func(c *promconfig.RemoteWriteConfig) {
			c.HTTPClientConfig.TLSConfig = commonconfig.TLSConfig{CAFile: "/does/not/exist.pem"}
		}, []string{"remote_write[0]", "http://r.example/", "/does/not/exist.pem"}},
		"no URL": {func(c *promconfig.RemoteWriteConfig) { c.URL = nil }, []string{"remote_write[0]", "url is missing"}},
		"unsupported conversion": {func(c *promconfig.RemoteWriteConfig) { c.ConvertNHCBToClassic = true },
			[]string{"remote_write[0]", "convert_nhcb_to_classic: true"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := s.Prepare(remoteConfig(t, "http://r.example/", remoteapi.WriteV1MessageType, tc.change))
			if err == nil || !contains(err.Error(), tc.want...) {
				t.Errorf("err = %v, want all of %q", err, tc.want)
			}
		})
	}
	twice := remoteConfig(t, "http://r.example/", remoteapi.WriteV1MessageType, nil)
	twice.RemoteWriteConfigs = append(twice.RemoteWriteConfigs, twice.RemoteWriteConfigs[0])
	if _, _, err := s.Prepare(twice); err == nil || !contains(err.Error(), "remote_write[1]", "twice") {
		t.Errorf("err = %v", err)
	}
}

func TestReload(t *testing.T) {
	r, i := newReceiver(t, nil), newIsland(t)
	cfg := remoteConfig(t, r.srv.URL, remoteapi.WriteV1MessageType, nil)
	i.start(cfg)
	ts := i.scrapes(40, 20, hoursAgo(4))
	i.same(r)

	// What is in memory and in flight survives a change of the entry.
	r.answer(http.StatusServiceUnavailable)
	ts = i.scrapes(40, 20, ts)
	eventually(t, "samples in memory", func() bool { return pendingOf(i) > 0 })
	renamed := remoteConfig(t, r.srv.URL, remoteapi.WriteV2MessageType, func(c *promconfig.RemoteWriteConfig) {
		c.Name, c.QueueConfig.MinShards = "renamed", 1
	})
	i.reload(renamed)
	ts = i.scrapes(40, 20, ts)
	r.heal()
	i.same(r)
	if n := r.refused.Load(); n > 0 {
		t.Errorf("receiver refused %d requests", n)
	}

	cursors := func() int {
		files, err := filepath.Glob(filepath.Join(i.root, "send", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	if n := cursors(); n != 1 {
		t.Errorf("%d cursors after a change of name, want 1", n)
	}
	none := promconfig.DefaultConfig
	i.reload(&none)
	eventually(t, "the cursor to go", func() bool { return cursors() == 0 })

	// A remote that comes back begins at the present.
	i.scrapes(40, 1, ts)
	ts += 15_000
	had := count(contents(t, r.db))
	i.reload(cfg)
	eventually(t, "a cursor", func() bool { return cursors() == 1 })
	i.scrapes(40, 1, ts)
	eventually(t, "the new samples", func() bool { return count(contents(t, r.db)) >= had+40 })
	if n := count(contents(t, r.db)); n != had+40 {
		t.Errorf("received %d samples after coming back, want 40", n-had)
	}
}

func TestDamagedCursorIsSetAside(t *testing.T) {
	r, i := newReceiver(t, nil), newIsland(t)
	cfg := remoteConfig(t, r.srv.URL, remoteapi.WriteV1MessageType, nil)
	i.start(cfg)
	ts := i.scrapes(10, 5, hoursAgo(4))
	i.same(r)
	i.stop()
	files, err := filepath.Glob(filepath.Join(i.root, "send", "*.cursor"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.WriteFile(files[0], []byte(strings.Repeat("x", 2*slotSize)), 0o600); err != nil {
		t.Fatal(err)
	}
	i.restart(cfg)
	i.scrapes(10, 5, ts)
	i.same(r)
	if _, err := os.Stat(files[0] + ".damaged"); err != nil {
		t.Error(err)
	}
}

func TestMetadataOfRemoteWriteV1(t *testing.T) {
	got := make(chan prompb.WriteRequest, 10)
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, err := remote.DecodeWriteRequest(req.Body)
		if err != nil {
			t.Error(err)
			return
		}
		got <- *body
	}))
	defer srv.Close()
	specs, err := buildSpecs(remoteConfig(t, srv.URL, remoteapi.WriteV1MessageType, func(c *promconfig.RemoteWriteConfig) {
		c.MetadataConfig.MaxSamplesPerSend = 2
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer closeIdle(specs)
	p := &pump{log: slog.New(slog.DiscardHandler)}
	p.spec.Store(specs[0])
	metadataSender{p}.AppendWatcherMetadata(t.Context(), []scrape.MetricMetadata{
		{MetricFamily: "a_total", Type: model.MetricTypeCounter, Help: "A."}, {MetricFamily: "b"}, {MetricFamily: "c", Unit: "s"},
	})
	first, second := <-got, <-got
	if len(first.Metadata) != 2 || len(second.Metadata) != 1 || first.Metadata[0].Help != "A." || second.Metadata[0].Unit != "s" {
		t.Errorf("received %v and %v", first.Metadata, second.Metadata)
	}
}
