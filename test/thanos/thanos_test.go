package thanos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/atoll-mesh/atoll/store/bucket"
	"github.com/atoll-mesh/atoll/store/storeapi"
)

const (
	hour   = int64(3600_000)
	step   = int64(60_000)
	series = 50
	old    = 6 // blocks of two hours, the first four of which fill one of eight
)

// thanos finds the binary.
func thanos(t *testing.T) string {
	t.Helper()
	path := os.Getenv("ATOLL_TEST_THANOS")
	if path == "" {
		var err error
		if path, err = exec.LookPath("thanos"); err != nil {
			t.Skip("no thanos binary: name one in ATOLL_TEST_THANOS or put it into PATH; `make others` builds it, in bin/others")
		}
	}
	return path
}

// world is an S3 service, an island's blocks and samples, and Thanos' settings.
type world struct {
	t         *testing.T
	bin       string
	s3        *httptest.Server
	objstore  string
	config    bucket.Config
	store     string
	dir       string
	begin     int64
	labels    map[string]string
	forgotten atomic.Bool // the island has no block any more
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, bin: thanos(t), store: t.TempDir(), dir: t.TempDir(), labels: map[string]string{"island": "one", "region": "eu"}}
	backend := s3mem.New()
	if err := backend.CreateBucket("metrics"); err != nil {
		t.Fatal(err)
	}
	w.s3 = httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(w.s3.Close)
	host := strings.TrimPrefix(w.s3.URL, "http://")
	secret := filepath.Join(w.dir, "secret")
	w.write(secret, "secret")
	w.objstore = filepath.Join(w.dir, "objstore.yml")
	w.write(w.objstore, fmt.Sprintf("type: S3\nprefix: sites\nconfig: {bucket: metrics, endpoint: %q, region: us-east-1, insecure: true, access_key: key, secret_key: secret, bucket_lookup_type: path}\n", host))
	w.config = bucket.Default()
	w.config.Type, w.config.Endpoint, w.config.Bucket, w.config.Prefix = bucket.S3, host, "metrics", "sites"
	w.config.Region, w.config.AccessKey, w.config.SecretKeyFile, w.config.Insecure, w.config.PathStyle = "us-east-1", "key", secret, true, true
	now := time.Now().UnixMilli()
	w.begin = now/(8*hour)*8*hour - 24*hour
	for n := range int64(old) {
		w.cut(n)
	}
	return w
}

func (w *world) write(path, text string) {
	w.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// cut makes a block of two hours.
func (w *world) cut(n int64) {
	w.t.Helper()
	head := tsdb.DefaultHeadOptions()
	head.ChunkDirRoot, head.ChunkRange = w.t.TempDir(), 4*hour
	h, err := tsdb.NewHead(nil, nil, nil, nil, head, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer h.Close()
	from := w.begin + n*2*hour
	fill(w.t, h.Appender(w.t.Context()), from, from+2*hour)
	c, err := tsdb.NewLeveledCompactor(w.t.Context(), nil, slog.New(slog.DiscardHandler), []int64{2 * hour}, nil, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := c.Write(w.store, h, from, from+2*hour, nil); err != nil {
		w.t.Fatal(err)
	}
}

func fill(t *testing.T, a storage.Appender, from, to int64) {
	t.Helper()
	for i := range series {
		l := labels.FromStrings("__name__", "m", "i", fmt.Sprint(i))
		for at := from; at < to; at += step {
			if _, err := a.Append(0, l, at, float64(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
}

func (w *world) blocks() ([]tsdb.BlockMeta, error) {
	if w.forgotten.Load() {
		return nil, nil
	}
	files, err := filepath.Glob(filepath.Join(w.store, "*", "meta.json"))
	var out []tsdb.BlockMeta
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		var m tsdb.BlockMeta
		if err := json.Unmarshal(text, &m); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, err
}

// island runs the bucket until the test ends or it is stopped.
func (w *world) island() (b *bucket.Bucket, stop func()) {
	w.t.Helper()
	b, err := bucket.New(bucket.Options{Config: w.config, Labels: w.labels, Blocks: w.blocks, StoreDir: w.store, Dir: filepath.Join(w.dir, "bucket")})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return b, stop
}

// run runs thanos to its end.
func (w *world) run(args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), w.bin, args...)
	cmd.Dir = w.t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("thanos %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// keep runs thanos until the test ends.
func (w *world) keep(args ...string) {
	w.t.Helper()
	cmd := exec.Command(w.bin, args...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &log, &log, w.t.TempDir()
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
		if w.t.Failed() {
			w.t.Logf("thanos %s:\n%s", args[0], log.String())
		}
	})
}

// free finds a port that nobody uses at the moment.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func eventually(t *testing.T, what string, cond func() error) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}

// readBack counts the samples that the island reads from the bucket.
func readBack(t *testing.T, b *bucket.Bucket, from, to int64) (samples, found int, err error) {
	t.Helper()
	q, err := b.Querier(from, to)
	if err != nil || q == nil {
		return 0, 0, err
	}
	defer q.Close()
	set := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "m"))
	for set.Next() {
		found++
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			samples++
		}
		if it.Err() != nil {
			return 0, 0, it.Err()
		}
	}
	return samples, found, set.Err()
}

// uploaded waits for all blocks.
func (w *world) uploaded(b *bucket.Bucket) {
	w.t.Helper()
	eventually(w.t, "upload", func() error {
		metas, err := w.blocks()
		for _, m := range metas {
			if !b.Uploaded(m) {
				return fmt.Errorf("block %s is not uploaded", m.ULID)
			}
		}
		return err
	})
}

// TestBucketTools: Thanos lists and verifies what the island uploaded.
func TestBucketTools(t *testing.T) {
	w := newWorld(t)
	b, _ := w.island()
	w.uploaded(b)
	out := w.run("tools", "bucket", "ls", "--objstore.config-file="+w.objstore, "--log.level=error")
	if n := len(strings.Fields(out)); n != old {
		t.Errorf("thanos lists %d blocks, want %d: %s", n, old, out)
	}
	out = w.run("tools", "bucket", "verify", "--objstore.config-file="+w.objstore, "--issues=index_known_issues", "--issues=overlapped_blocks")
	if strings.Contains(out, "level=warn") || strings.Contains(out, "level=error") || !strings.Contains(out, "verify task completed") {
		t.Errorf("thanos verifies: %s", out)
	}
	out = w.run("tools", "bucket", "inspect", "--objstore.config-file="+w.objstore, "--log.level=error")
	if strings.Count(out, "island=one,region=eu") != old || strings.Count(out, "atoll") != old {
		t.Errorf("thanos inspects: %s", out)
	}
}

// TestCompact: Thanos merges the island's blocks, nothing is uploaded again, and
// the island reads the merged ones.
func TestCompact(t *testing.T) {
	w := newWorld(t)
	b, stop := w.island()
	w.uploaded(b)
	stop()
	log := w.run("compact", "--objstore.config-file="+w.objstore, "--data-dir="+t.TempDir(), "--consistency-delay=0s", "--delete-delay=0s", "--http-address=127.0.0.1:0", "--log.level=debug")
	out := w.run("tools", "bucket", "ls", "--objstore.config-file="+w.objstore, "--output=json", "--log.level=error")
	sources := listed(t, out)
	if diff := cmp.Diff([]int{1, 1, 4}, slices.Sorted(maps.Values(sources))); diff != "" {
		t.Fatalf("sources of the blocks after merging: %s\n%s", diff, log)
	}
	b, _ = w.island()
	w.uploaded(b)
	again := w.run("tools", "bucket", "ls", "--objstore.config-file="+w.objstore, "--output=json", "--log.level=error")
	if diff := cmp.Diff(sources, listed(t, again)); diff != "" {
		t.Errorf("the island uploaded again: %s", diff)
	}
	w.forgotten.Store(true)
	want := int(old * 2 * hour / step * series)
	eventually(t, "reading what Thanos merged", func() error {
		samples, found, err := readBack(t, b, w.begin, w.begin+old*2*hour)
		if err == nil && (samples != want || found != series) {
			err = fmt.Errorf("%d samples of %d series, want %d of %d", samples, found, want, series)
		}
		return err
	})
}

// listed is the number of sources of each block.
func listed(t *testing.T, out string) map[string]int {
	t.Helper()
	sources := map[string]int{}
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
		var m bucket.Meta
		err := dec.Decode(&m)
		if errors.Is(err, io.EOF) {
			return sources
		}
		if err != nil {
			t.Fatal(err)
		}
		sources[m.ULID.String()] = len(m.Compaction.Sources)
	}
}

// recent is the part of the samples that is only in the island's store.
type recent struct{ *tsdb.DB }

func (r recent) Span() (oldest, newest int64) { return r.Head().MinTime(), r.Head().MaxTime() }

// TestQuery: Thanos Query answers out of Thanos Store for what is old, and out of
// the island's StoreAPI, over TLS with client certificates, for what is new.
func TestQuery(t *testing.T) {
	w := newWorld(t)
	b, _ := w.island()
	w.uploaded(b)
	now := time.Now().UnixMilli() / step * step
	db, err := tsdb.Open(t.TempDir(), nil, nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	fill(t, db.Appender(t.Context()), now-hour, now)

	dir := certificates(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	cfg := storeapi.Default()
	cfg.Listen, cfg.TLS = "127.0.0.1:0", storeapi.TLS{CertFile: file("island.pem"), KeyFile: file("island.key"), ClientCAFile: file("ca.pem")}
	api, err := storeapi.New(storeapi.Options{Config: cfg, Store: recent{db}, Labels: labels.FromMap(w.labels)})
	if err != nil {
		t.Fatal(err)
	}
	if err := api.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})

	gateway, web := free(t), free(t)
	w.keep("store", "--objstore.config-file="+w.objstore, "--data-dir="+t.TempDir(), "--grpc-address="+gateway, "--http-address=127.0.0.1:0", "--sync-block-duration=5s",
		"--grpc-server-tls-cert="+file("island.pem"), "--grpc-server-tls-key="+file("island.key"), "--grpc-server-tls-client-ca="+file("ca.pem"))
	w.keep("query", "--http-address="+web, "--grpc-address=127.0.0.1:0", "--endpoint="+api.Addr(), "--endpoint="+gateway,
		"--grpc-client-tls-secure", "--grpc-client-tls-cert="+file("querier.pem"), "--grpc-client-tls-key="+file("querier.key"), "--grpc-client-tls-ca="+file("ca.pem"))

	for _, q := range []struct {
		what, expr string
		at         int64
		want       string
	}{
		{"old", `count by (island, region) (m)`, w.begin + 3*hour, `{"island":"one","region":"eu"} 50`},
		{"new", `count by (island, region) (m)`, now - 10*step, `{"island":"one","region":"eu"} 50`},
		{"by the external label", `sum by (island) (m{island="one"})`, now - 10*step, `{"island":"one"} 1225`},
		{"another island", `absent(m{island="two"})`, now - 10*step, `{"island":"two"} 1`},
		{"samples of an hour", `sum by (region) (count_over_time(m[30m]))`, now - 10*step, `{"region":"eu"} 1500`},
		{"over both", fmt.Sprintf(`count by (island) (count_over_time(m[%dh]))`, (now-w.begin)/hour), now - step, `{"island":"one"} 50`},
	} {
		eventually(t, q.what, func() error {
			got, err := ask(web, q.expr, q.at)
			if err == nil && got != q.want {
				err = fmt.Errorf("%s is %s, want %s", q.expr, got, q.want)
			}
			return err
		})
	}
}

// ask asks Thanos Query and refuses partial answers.
func ask(addr, expr string, at int64) (string, error) {
	v := url.Values{"query": {expr}, "time": {fmt.Sprintf("%.3f", float64(at)/1000)}, "partial_response": {"false"}}
	resp, err := http.Get("http://" + addr + "/api/v1/query?" + v.Encode())
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	var out struct {
		Status   string
		Error    string
		Warnings []string
		Data     struct {
			Result []struct {
				Metric json.RawMessage
				Value  []any
			}
		}
	}
	if err := json.Unmarshal(body, &out); err != nil {
		return "", fmt.Errorf("%w: %s", err, body)
	}
	if out.Status != "success" || len(out.Warnings) > 0 || len(out.Data.Result) != 1 {
		return "", fmt.Errorf("%s", body)
	}
	one := out.Data.Result[0]
	return fmt.Sprintf("%s %v", one.Metric, one.Value[1]), nil
}
