package query

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/common/promslog"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/atoll-mesh/atoll/health"
)

// far is another island with its own store and upstream's read handler, seen
// from the wire.
type far struct {
	*rig
	url   string
	conns atomic.Int64 // open connections

	mu       sync.Mutex
	requests []*http.Request
	asked    []*prompb.Query
}

// newFar serves a store in which shop_orders_total has instances a and c. If
// samples is set, it does not know the streamed form.
func newFar(t *testing.T, samples bool) *far {
	t.Helper()
	f := &far{rig: newRig(t)}
	orders(t, f.db, "a", 0, 4)
	orders(t, f.db, "c", 0, 10)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := remote.DecodeReadRequest(r)
		if err != nil {
			t.Error(err)
			return
		}
		f.mu.Lock()
		f.requests = append(f.requests, r)
		f.asked = append(f.asked, req.Queries...)
		f.mu.Unlock()
		if samples {
			req.AcceptedResponseTypes = []prompb.ReadRequest_ResponseType{prompb.ReadRequest_SAMPLES}
		}
		b, err := req.Marshal()
		if err != nil {
			t.Error(err)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(snappy.Encode(nil, b)))
		f.Handler().ServeHTTP(w, r)
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			f.conns.Add(1)
		case http.StateClosed:
			f.conns.Add(-1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	f.url = srv.URL + "/api/v1/read"
	return f
}

// seen returns the questions since the last call.
func (f *far) seen() (asked []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, q := range f.asked {
		var ms []string
		for _, m := range q.Matchers {
			ms = append(ms, m.Name+m.Type.String()+m.Value)
		}
		slices.Sort(ms)
		asked = append(asked, strings.Join(ms, " "))
	}
	f.asked = nil
	return asked
}

// orders writes minutes [from, to) of one series of a counter.
func orders(t *testing.T, d db, instance string, from, to int) {
	t.Helper()
	var points []promql.FPoint
	for m := from; m < to; m++ {
		points = append(points, promql.FPoint{T: t0.Add(time.Duration(m) * time.Minute).UnixMilli(), F: float64(m)})
	}
	d.put(t, labels.FromStrings("__name__", "shop_orders_total", "instance", instance), points...)
}

// document parses a prometheus.yml.
func document(t *testing.T, format string, a ...any) *promconfig.Config {
	t.Helper()
	c, err := promconfig.Load(fmt.Sprintf(format, a...), promslog.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// reading is an island that starts with c; its own store has instances a (the
// later half) and b.
func reading(t *testing.T, c *promconfig.Config) *rig {
	t.Helper()
	r := newRig(t, func(o *Options) { o.PrometheusConfig = func() promconfig.Config { return *c } })
	orders(t, r.db, "a", 4, 10)
	orders(t, r.db, "b", 4, 10)
	return r
}

func (r *rig) reload(t *testing.T, c *promconfig.Config) {
	t.Helper()
	commit, _, err := r.Prepare(r.Config(), c)
	if err != nil {
		t.Fatal(err)
	}
	commit()
}

// ask sends expr as an instant query at the fixture's end.
func (r *rig) ask(t *testing.T, expr string) string {
	t.Helper()
	_, _, body := r.get(t, fmt.Sprintf("/api/v1/query?query=%s&time=%d", expr, t0.Add(9*time.Minute).Unix()))
	return body
}

func wants(t *testing.T, what, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		negated, unwanted := strings.CutPrefix(w, "!")
		if strings.Contains(got, negated) == unwanted {
			t.Errorf("%s: want %s in %s", what, w, got)
		}
	}
}

func TestRemotesAreRead(t *testing.T) {
	for name, samples := range map[string]bool{"samples": true, "streamed chunks": false} {
		t.Run(name, func(t *testing.T) {
			f := newFar(t, samples)
			r := reading(t, document(t, "remote_read: [{name: far, url: '%s', read_recent: true}]", f.url))
			wants(t, "a series of both is one series", r.ask(t, "count_over_time(shop_orders_total[10m])"),
				`"instance":"a"},"value":[`+fmt.Sprint(t0.Add(9*time.Minute).Unix())+`,"10"]`, `"b"`, `"c"`, "!warnings")
			span := fmt.Sprintf("start=%d&end=%d", t0.Unix(), t0.Add(9*time.Minute).Unix())
			_, _, body := r.get(t, "/api/v1/query_range?query=shop_orders_total&step=60&"+span)
			wants(t, "range", body, `"a"`, `"b"`, `"c"`, "!warnings")
			_, _, body = r.get(t, "/api/v1/series?match[]=shop_orders_total&"+span)
			wants(t, "series", body, `"a"`, `"b"`, `"c"`)
			_, _, body = r.get(t, "/api/v1/label/instance/values?"+span)
			wants(t, "remotes do not tell label values, nor in Prometheus", body, `["a","b"]`, "not implemented")
			_, _, body = r.get(t, "/federate?match[]=shop_orders_total")
			wants(t, "federation is local", body, `"a"`, `"b"`, `!"c"`)
			if n := points(t, r.Queryable()); n != 26 {
				t.Errorf("%d samples by way of chunks, want 10 + 6 + 10", n)
			}
			r.metric(t, `# HELP atoll_query_remote_reads_total Reads from remote_read endpoints, by endpoint and how the answer began.
# TYPE atoll_query_remote_reads_total counter
atoll_query_remote_reads_total{remote="far",result="success"} 4
`, "atoll_query_remote_reads_total")
		})
	}
}

// points counts the samples that a chunk querier gives, as the read endpoint
// streams them.
func points(t *testing.T, s storage.ChunkQueryable) (n int) {
	t.Helper()
	q, err := s.ChunkQuerier(t0.UnixMilli(), t0.Add(9*time.Minute).UnixMilli())
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	set := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "shop_orders_total"))
	for set.Next() {
		for it := set.At().Iterator(nil); it.Next(); {
			n += it.At().Chunk.NumSamples()
		}
	}
	if set.Err() != nil || len(set.Warnings()) > 0 {
		t.Error(set.Err(), set.Warnings())
	}
	return n
}

// An island answers /api/v1/read with what it reads from others itself.
func TestRemotesAreReadThrough(t *testing.T) {
	f := newFar(t, false)
	middle := reading(t, document(t, "remote_read: [{url: '%s', read_recent: true}]", f.url))
	_, base := client(t, middle)
	r := reading(t, document(t, "remote_read: [{url: '%s/api/v1/read', read_recent: true}]", base))
	wants(t, "far", r.ask(t, "shop_orders_total"), `"c"`, "!warnings")
}

func TestFailingRemote(t *testing.T) {
	f := newFar(t, false)
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "out of order", http.StatusInternalServerError)
	}))
	t.Cleanup(bad.Close)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, c := range map[string]struct{ url, want string }{
		"an error":    {strings.Replace(bad.URL, "//", "//me:hunter2@", 1), "out of order"},
		"unreachable": {gone.URL, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			r := reading(t, document(t, `remote_read:
- {name: bad, url: '%s', read_recent: true}
- {name: far, url: '%s', read_recent: true}`, c.url, f.url))
			wants(t, "the others' data and a warning", r.ask(t, "shop_orders_total"),
				`"status":"success"`, `"a"`, `"b"`, `"c"`, `"warnings":`, c.want)
			if n := len(f.seen()); n != 1 {
				t.Errorf("the other remote was asked %d times", n)
			}
			if got := r.warnings(); !slices.Equal(got, []string{"query-remote-read"}) {
				t.Errorf("health: %v", got)
			}
			text := r.health.Active()[0].Text
			wants(t, "health", text, "1 reads failed; the last, from bad", c.want, "!hunter2")
			r.metric(t, `# HELP atoll_query_remote_reads_total Reads from remote_read endpoints, by endpoint and how the answer began.
# TYPE atoll_query_remote_reads_total counter
atoll_query_remote_reads_total{remote="bad",result="error"} 1
atoll_query_remote_reads_total{remote="far",result="success"} 1
`, "atoll_query_remote_reads_total")
		})
	}
}

// What upstream merges it has to give as it comes: there is no way back to the
// local series alone.
func TestRemoteBreaksOff(t *testing.T) {
	f := newFar(t, false)
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		f.Handler().ServeHTTP(rec, r)
		w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
		w.Header().Set("Content-Length", fmt.Sprint(rec.Body.Len()))
		w.Write(rec.Body.Bytes()[:rec.Body.Len()-10])
	}))
	t.Cleanup(cut.Close)
	r := reading(t, document(t, "remote_read: [{url: '%s', read_recent: true}]", cut.URL+"/api/v1/read"))
	wants(t, "within the first series", r.ask(t, "shop_orders_total"), `"status":"success"`, `"b"`, `!"c"`, "unexpected EOF")
	wants(t, "after it", r.ask(t, "count_over_time(shop_orders_total[10m])"), `"status":"error"`, "unexpected EOF")
}

func TestReloadRemotes(t *testing.T) {
	f := newFar(t, false)
	none := document(t, "")
	one := document(t, "remote_read: [{url: '%s', read_recent: true}]", f.url)
	r := reading(t, none)
	wants(t, "none", r.ask(t, "shop_orders_total"), `!"c"`)
	if _, ok := r.sources.CostSamplingQueryable(); !ok {
		t.Error("the store alone can be sampled")
	}
	q, err := r.Queryable().Querier(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	own, err := r.db.Querier(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := fmt.Sprintf("%T", q), fmt.Sprintf("%T", own); a != b {
		t.Errorf("something stands between: got %s, the store gives %s", a, b)
	}
	q.Close()
	own.Close()

	_, discard, err := r.Prepare(r.Config(), one)
	if err != nil {
		t.Fatal(err)
	}
	discard()
	wants(t, "discarded", r.ask(t, "shop_orders_total"), `!"c"`)

	r.reload(t, one)
	wants(t, "added", r.ask(t, "shop_orders_total"), `"c"`)
	if _, ok := r.sources.CostSamplingQueryable(); ok {
		t.Error("a remote cannot be sampled")
	}
	before, err := r.Queryable().Querier(t0.UnixMilli(), t0.Add(time.Minute).UnixMilli())
	if err != nil {
		t.Fatal(err)
	}

	r.reload(t, none)
	wants(t, "removed", r.ask(t, "shop_orders_total"), `!"c"`)
	eventually(t, "connections are closed", func() bool { return f.conns.Load() == 0 })

	set := before.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "instance", "c"))
	if !set.Next() || set.At().Iterator(nil).Next() == chunkenc.ValNone {
		t.Error("a querier made before the reload lost its remote", set.Err(), set.Warnings())
	}
	for set.Next() {
	}
	before.Close()
	eventually(t, "nor does it leave one open", func() bool { return f.conns.Load() == 0 })
}

func TestRunEndsConnections(t *testing.T) {
	f := newFar(t, false)
	r := reading(t, document(t, "remote_read: [{url: '%s', read_recent: true}]", f.url))
	t.Run("run", func(t *testing.T) {
		r.run(t)
		wants(t, "read", r.ask(t, "shop_orders_total"), `"c"`)
		if f.conns.Load() == 0 {
			t.Error("no connection is kept for the next query")
		}
	})
	eventually(t, "connections are closed", func() bool { return f.conns.Load() == 0 })
}

func TestRemotesAreRefused(t *testing.T) {
	r := reading(t, document(t, ""))
	twice := document(t, "remote_read: [{url: 'http://u:secret@a/'}, {url: 'http://u:secret@a/'}]")
	noCA := document(t, "remote_read: [{url: 'http://u:secret@a/', tls_config: {ca_file: '%s'}}]", filepath.Join(t.TempDir(), "ca.pem"))
	for want, c := range map[string]*promconfig.Config{
		"remote_read[1] (http://u:xxxxx@a/): the same entry stands twice":                   twice,
		"remote_read[0] (http://u:xxxxx@a/): build the HTTP client: unable to read CA cert": noCA,
	} {
		if _, _, err := r.Prepare(r.Config(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		o := r.options
		o.PrometheusConfig = func() promconfig.Config { return *c }
		o.Registerer, o.Health = nil, health.New(nil)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: got %v, want %q", err, want)
		}
	}
}

func TestRemoteMatchers(t *testing.T) {
	f := newFar(t, false)
	const doc = "global: {external_labels: {island: north}}\nremote_read: [{url: '%s', read_recent: true, %s}]"
	r := reading(t, document(t, doc, f.url, "required_matchers: {instance: c}"))
	wants(t, "not required", r.ask(t, "shop_orders_total"), `"b"`, `!"c"`)
	wants(t, "another", r.ask(t, `shop_orders_total{instance=~"c"}`), `!"c"`)
	if got := f.seen(); got != nil {
		t.Errorf("asked %q", got)
	}
	f.prom.GlobalConfig.ExternalLabels = labels.FromStrings("island", "north")
	wants(t, "required", r.ask(t, `shop_orders_total{instance="c"}`), `"c"`, "!island")
	if got, want := f.seen(), []string{"__name__EQshop_orders_total instanceEQc islandEQnorth"}; !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
	r.reload(t, document(t, doc, f.url, "filter_external_labels: false"))
	wants(t, "unfiltered", r.ask(t, "shop_orders_total"), `"island":"north"`)
	if got, want := f.seen(), []string{"__name__EQshop_orders_total"}; !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
}

// since is a store whose data is complete from a given time on.
type since struct {
	Store
	start time.Time
}

func (s since) StartTime() (int64, error) { return s.start.UnixMilli(), nil }

func TestReadRecent(t *testing.T) {
	f := newFar(t, false)
	c := document(t, "remote_read: [{url: '%s'}]", f.url)
	r := newRig(t, func(o *Options) {
		o.Store = since{o.Store, t0.Add(3 * time.Minute)}
		o.PrometheusConfig = func() promconfig.Config { return *c }
	})
	orders(t, r.db, "a", 4, 10)
	wants(t, "recent", r.ask(t, "shop_orders_total"), `"a"`, `!"c"`)
	if got := f.seen(); got != nil {
		t.Errorf("asked %q for what the store has", got)
	}
	wants(t, "older", r.ask(t, `count_over_time(shop_orders_total{instance="a"}[10m])`), `"10"`)
	f.mu.Lock()
	if len(f.asked) != 1 || f.asked[0].EndTimestampMs != t0.Add(3*time.Minute).UnixMilli() {
		t.Errorf("asked %v, want one question up to the start of the store", f.asked)
	}
	f.mu.Unlock()
}

func TestRemoteCredentials(t *testing.T) {
	f := newFar(t, false)
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := reading(t, document(t, `remote_read: [{url: '%s', read_recent: true, headers: {X-Scope-OrgID: shop},
  basic_auth: {username: me, password_file: '%s'}}]`, f.url, secret))
	r.ask(t, "shop_orders_total")
	if len(f.requests) != 1 {
		t.Fatalf("%d requests", len(f.requests))
	}
	user, password, _ := f.requests[0].BasicAuth()
	if got := f.requests[0].Header.Get("X-Scope-Orgid"); got != "shop" || user != "me" || password != "hunter2" {
		t.Errorf("got %q, %q, %q", got, user, password)
	}
}

func TestRemoteTLS(t *testing.T) {
	f := newFar(t, false)
	srv := httptest.NewUnstartedServer(f.Handler())
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(f.log, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	const doc = "remote_read: [{url: '%s/api/v1/read', read_recent: true, tls_config: {insecure_skip_verify: %t}}]"
	r := reading(t, document(t, doc, srv.URL, true))
	wants(t, "trusting", r.ask(t, "shop_orders_total"), `"c"`, "!warnings")
	r.reload(t, document(t, doc, srv.URL, false))
	wants(t, "checking", r.ask(t, "shop_orders_total"), `!"c"`, `"b"`, "certificate")
}
