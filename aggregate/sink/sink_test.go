package sink

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"golang.org/x/sys/unix"

	"github.com/atoll-mesh/atoll/aggregate/sink/fleet"
	"github.com/atoll-mesh/atoll/aggregate/sink/remotetest"
	"github.com/atoll-mesh/atoll/flow"
)

func begin() int64 { return time.Now().Add(-time.Hour).Truncate(time.Minute).UnixMilli() }

func TestRealReceiver(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, msg remoteapi.WriteMessageType) {
		recv := remotetest.New(t)
		r := start(t, t.TempDir(), Config{RemoteWrite: []RemoteWrite{to(t, recv.URL(), msg)}})
		want := contents{}
		r.write(want, 12_000, 5, begin())
		same(t, want, recv)
		remotetest.Eventually(t, "the queue to empty", func() bool { return r.Status()[0].Queue.Entries == 0 })
		if n := r.metric("atoll_sink_samples_total"); n != 60_000 {
			t.Errorf("%v samples were counted, want 60000", n)
		}
		if n := r.metric("atoll_sink_dropped_samples_total"); n != 0 || recv.Refused.Load() != 0 {
			t.Errorf("%v dropped, %d requests refused", n, recv.Refused.Load())
		}
	})
}

// TestOutage: nothing is lost while the receiver is away, or takes samples and
// does not say so, and Write does not notice.
func TestOutage(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, msg remoteapi.WriteMessageType) {
		recv, well := remotetest.New(t), remotetest.New(t)
		r := start(t, t.TempDir(), Config{RemoteWrite: []RemoteWrite{to(t, recv.URL(), msg), to(t, well.URL(), msg)}})
		want := contents{}
		from := begin()
		for i, trouble := range []func(){
			func() { recv.Answer(http.StatusInternalServerError) },
			func() { recv.Answer(http.StatusTooManyRequests) },
			recv.Swallow,
			func() { // it never answers
				recv.Spoil(func(_ http.ResponseWriter, req *http.Request) {
					_, _ = io.Copy(io.Discard, req.Body) // until then the server does not see the client go
					<-req.Context().Done()
				})
			},
		} {
			trouble()
			before := recv.Requests.Load()
			r.write(want, 500, 3, from+int64(i)*180_000)
			same(t, want, well) // the other one is not held up
			remotetest.Eventually(t, "requests in the outage", func() bool { return recv.Requests.Load() > before })
			if i == 3 {
				break
			}
			recv.Spoil(nil)
			same(t, want, recv)
		}
		if s := r.metric("atoll_sink_retries_total"); s == 0 {
			t.Error("no retries were counted")
		}
		r.stop() // in the middle of a request
		recv.Spoil(nil)
		again := start(t, r.dir, Config{RemoteWrite: []RemoteWrite{to(t, recv.URL(), msg), to(t, well.URL(), msg)}})
		same(t, want, recv)
		again.stop()
	})
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	recv := remotetest.New(t)
	var first time.Time
	recv.Spoil(func(w http.ResponseWriter, _ *http.Request) {
		if first.IsZero() {
			first = time.Now()
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		if waited := time.Since(first); waited < 900*time.Millisecond {
			t.Errorf("asked again after %s; Retry-After was 1", waited)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	r := start(t, t.TempDir(), Config{RemoteWrite: []RemoteWrite{to(t, recv.URL(), remoteapi.WriteV1MessageType)}})
	r.write(contents{}, 1, 1, begin())
	remotetest.Eventually(t, "the second request", func() bool { return recv.Requests.Load() == 2 })
}

// TestRefusals: what the receiver never takes is counted and shown, and holds up nothing.
func TestRefusals(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, msg remoteapi.WriteMessageType) {
		recv := remotetest.New(t)
		r := start(t, t.TempDir(), Config{RemoteWrite: []RemoteWrite{to(t, recv.URL(), msg)}})
		want := contents{}
		from := begin()
		r.write(want, 100, 2, from)
		same(t, want, recv)
		if err := r.Write(window(100, from-3_600_000)); err != nil { // out of order
			t.Fatal(err)
		}
		remotetest.Eventually(t, "the refusal", func() bool { return r.metric("atoll_sink_dropped_samples_total", "rejected") == 100 })
		remotetest.Eventually(t, "the warning", func() bool {
			w := r.list.Active()
			return len(w) == 1 && w[0].Code == "sink-refuses" && strings.Contains(w[0].Text, "100 samples")
		})
		r.write(want, 100, 1, from+120_000)
		same(t, want, recv)
	})
}

func TestWhatAReceiverIsNotToGet(t *testing.T) {
	t.Parallel()
	drop := &relabel.Config{
		SourceLabels: model.LabelNames{"i"}, Regex: relabel.MustNewRegexp("1.*"), Action: relabel.Drop,
		Separator: ";", NameValidationScheme: model.UTF8Validation,
	}
	nhcb := Sample{Labels: labels.FromStrings(labels.MetricName, "custom"), T: begin(), H: &histogram.FloatHistogram{
		Schema: histogram.CustomBucketsSchema, Count: 3, Sum: 4, CustomValues: []float64{1, 2},
		PositiveSpans: []histogram.Span{{Length: 2}}, PositiveBuckets: []float64{1, 2},
	}}
	protocols(t, func(t *testing.T, msg remoteapi.WriteMessageType) {
		recv := remotetest.New(t)
		r := start(t, t.TempDir(), Config{RemoteWrite: []RemoteWrite{to(t, recv.URL(), msg, func(r *RemoteWrite) {
			r.Name = "x"
			r.SendNativeHistograms = msg == remoteapi.WriteV1MessageType
			r.WriteRelabelConfigs = []*relabel.Config{drop}
			r.QueueConfig.SampleAgeLimit = model.Duration(2 * time.Hour)
			r.QueueConfig.MaxSamplesPerSend = 7
		})}})
		if err := r.Write(window(100, begin()-2*3_600_000)); err != nil {
			t.Fatal(err)
		}
		if err := r.Write(append(window(100, begin()), nhcb)); err != nil {
			t.Fatal(err)
		}
		remotetest.Eventually(t, "everything to be settled", func() bool { return r.Status()[0].Queue.Entries == 0 })
		// 0, 2…9 and 20…99 stay; 9 is a histogram.
		wantStored, custom, native := 89, 1.0, 0.0
		if msg == remoteapi.WriteV2MessageType {
			wantStored, custom, native = 88, 0, 2
		}
		if n := remotetest.Count(recv.Contents()); n != wantStored {
			t.Errorf("%d samples arrived, want %d", n, wantStored)
		}
		for reason, want := range map[string]float64{"too_old": 100, "relabelled": 11, "custom_buckets_in_v1": custom, "native_histogram": native} {
			if got := r.metric("atoll_sink_dropped_samples_total", reason); got != want {
				t.Errorf("%s: %v samples, want %v", reason, got, want)
			}
		}
		if n := recv.Requests.Load(); n < 12 {
			t.Errorf("%d requests, of 7 samples at most", n)
		}
	})
}

// TestReload: unchanged sinks go on, changed ones keep their queue, and that of
// one that is gone is deleted.
func TestReload(t *testing.T) {
	t.Parallel()
	kept, changed, gone := remotetest.New(t), remotetest.New(t), remotetest.New(t)
	for _, r := range []*remotetest.Receiver{changed, gone} {
		r.Answer(http.StatusServiceUnavailable)
	}
	v1, v2 := remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType
	r := start(t, t.TempDir(), Config{RemoteWrite: []RemoteWrite{to(t, kept.URL(), v1), to(t, changed.URL(), v1), to(t, gone.URL(), v1)}})
	want := contents{}
	r.write(want, 100, 3, begin())
	remotetest.Eventually(t, "requests", func() bool { return changed.Requests.Load() > 0 && gone.Requests.Load() > 0 })
	member := func() (m *fleet.Member) {
		r.fleet.View(func(all map[string]*fleet.Member) { m = all[remoteKey(to(t, kept.URL(), v1))] })
		return m
	}
	before := member()
	if _, _, err := r.Prepare(Config{RemoteWrite: []RemoteWrite{{}}}); err == nil || !strings.Contains(err.Error(), "remote_write[0].url: is missing") {
		t.Errorf("a broken configuration: %v", err)
	}
	fresh := remotetest.New(t)
	_, discard, err := r.Prepare(Config{RemoteWrite: []RemoteWrite{to(t, fresh.URL(), v1)}})
	if err != nil {
		t.Fatal(err)
	}
	discard()
	r.reload(Config{RemoteWrite: []RemoteWrite{to(t, fresh.URL(), v2), to(t, kept.URL(), v1), to(t, changed.URL(), v2)}})
	changed.Spoil(nil)
	r.write(want, 100, 1, begin()+180_000)
	same(t, want, kept)
	same(t, want, changed)
	if n := remotetest.Count(fresh.Contents()); n > 100 {
		t.Errorf("the new sink got %d samples; 100 were written since", n)
	}
	if member() != before {
		t.Error("the unchanged sink was made anew")
	}
	remotetest.Eventually(t, "the queue of the sink that is gone to be deleted", func() bool {
		dirs, _ := filepath.Glob(filepath.Join(r.dir, "*"))
		return len(dirs) == 3
	})
	if n := r.metric("atoll_sink_queue_entries", strings.TrimPrefix(gone.URL(), "http://")); n != 0 {
		t.Errorf("the sink that is gone still shows %v entries", n)
	}
	r.stop()
	again := open(t, r.dir, Config{RemoteWrite: []RemoteWrite{to(t, kept.URL(), v1)}})
	if dirs, _ := filepath.Glob(filepath.Join(again.dir, "*")); len(dirs) != 1 {
		t.Errorf("queues of sinks that went while nothing ran stay behind: %v", dirs)
	}
}

// TestDeadSinkDoesNotDelay: with the receiver's address dead, Writes go on to disk
// and the oldest are dropped and counted.
func TestDeadSinkDoesNotDelay(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), Config{RemoteWrite: []RemoteWrite{to(t, "http://127.0.0.1:1/write", remoteapi.WriteV1MessageType, func(r *RemoteWrite) { r.Queue = 256 << 10 })}})
	for w := range 60 {
		if err := r.Write(window(1000, begin()+int64(w)*60_000)); err != nil {
			t.Fatal(err)
		}
	}
	s := r.Status()[0]
	if s.Queue.DroppedEntries == 0 || s.Queue.DroppedEntries+s.Queue.Entries != 60 {
		t.Errorf("60 entries were written: %+v", s.Queue)
	}
	remotetest.Eventually(t, "the failure to show", func() bool { s := r.Status()[0]; return !s.FailingSince.IsZero() && s.LastError != "" })
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a full disk cannot be tried: mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	recv := remotetest.New(t)
	r := open(t, filepath.Join(dir, "q"), Config{RemoteWrite: []RemoteWrite{to(t, recv.URL(), remoteapi.WriteV2MessageType)}})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 900<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	want, n := contents{}, 0
	for ; err == nil && n < 1000; n++ {
		samples := window(1000, begin()+int64(n)*1000)
		if err = r.Write(samples); err == nil {
			add(want, samples)
		}
	}
	if !errors.Is(err, flow.ErrUnavailable) || !strings.Contains(err.Error(), "sink 127.0.0.1") {
		t.Fatalf("after %d writes: %v", n, err)
	}
	if got := r.metric("atoll_sink_dropped_samples_total", "not_queued"); got != 1000 {
		t.Errorf("%v samples were counted as not queued, want 1000", got)
	}
	if w := r.list.Active(); len(w) != 1 || w[0].Code != "sink-queue-disk" {
		t.Errorf("warnings: %+v", w)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	r.write(want, 1000, 1, begin()+int64(n)*1000)
	if w := r.list.Active(); len(w) != 0 {
		t.Errorf("warnings: %+v", w)
	}
	r.run()
	same(t, want, recv)
}

func TestWriteWithoutSinks(t *testing.T) {
	r := start(t, t.TempDir(), Config{})
	if err := r.Write(window(10, 1000)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := open(t, t.TempDir(), Config{}).Run(ctx); err != nil {
		t.Fatal(err)
	}
}
