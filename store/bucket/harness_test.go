package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/health"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVar) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

const (
	bucketName = "metrics"
	hour       = int64(3600_000)
	start      = int64(1_700_000_000_000 / (2 * 3600_000) * (2 * 3600_000))
)

// fault is what a server does to a request instead of answering it as it should.
type fault int

const (
	sound     fault = iota
	refused         // 500 without doing anything
	forgotten       // done, but answered with 500
	cut             // the body is stored, or answered, in half
	silent          // no answer
)

// s3server is a real S3 server with faults.
type s3server struct {
	*httptest.Server
	backend gofakes3.Backend

	mu     sync.Mutex
	seen   []string // method and key of each request
	faults func(n int, r *http.Request) fault
	before func(n int, r *http.Request)
	after  func(n int)
}

func newServer(t *testing.T, options ...gofakes3.Option) *s3server {
	t.Helper()
	s := &s3server{backend: s3mem.New()}
	if err := s.backend.CreateBucket(bucketName); err != nil {
		t.Fatal(err)
	}
	inner := gofakes3.New(s.backend, options...).Server()
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		n := len(s.seen)
		s.seen = append(s.seen, r.Method+" "+strings.TrimPrefix(r.URL.Path, "/"+bucketName+"/"))
		before, after, faults := s.before, s.after, s.faults
		s.mu.Unlock()
		if before != nil {
			before(n, r)
		}
		f := sound
		if faults != nil {
			s.mu.Lock()
			f = faults(n, r)
			s.mu.Unlock()
		}
		apply(f, inner, w, r)
		if after != nil {
			after(n)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func apply(f fault, inner http.Handler, w http.ResponseWriter, r *http.Request) {
	switch f {
	case refused:
		http.Error(w, "no", http.StatusInternalServerError)
	case forgotten:
		inner.ServeHTTP(httptest.NewRecorder(), r)
		http.Error(w, "no", http.StatusInternalServerError)
	case silent:
		_, _ = io.Copy(io.Discard, r.Body) // or the end of the connection is not seen
		<-r.Context().Done()
	case cut:
		body, err := io.ReadAll(r.Body)
		if err == nil && r.Method == http.MethodPut {
			body = body[:len(body)/2]
			r.Header.Del("Content-Md5")
			r.Header.Del("X-Amz-Content-Sha256")
			r.ContentLength = int64(len(body))
			r.Header.Set("Content-Length", fmt.Sprint(len(body)))
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		rec := httptest.NewRecorder()
		inner.ServeHTTP(rec, r)
		maps.Copy(w.Header(), rec.Header())
		w.WriteHeader(rec.Code)
		if r.Method == http.MethodGet && rec.Body.Len() > 1 {
			_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(rec.Body.Bytes())
	default:
		inner.ServeHTTP(w, r)
	}
}

func (s *s3server) set(f func(n int, r *http.Request) fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

func (s *s3server) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func (s *s3server) config(t *testing.T) Config {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.Type, c.Endpoint, c.Bucket, c.Prefix = S3, strings.TrimPrefix(s.URL, "http://"), bucketName, "eu/one"
	c.Region, c.AccessKey, c.SecretKeyFile, c.Insecure, c.PathStyle = "us-east-1", "key", secret, true, true
	return c
}

// site is an island's disk: blocks of a TSDB, and the bucket's own notes.
type site struct {
	t     testing.TB
	store string
	dir   string
}

func newSite(t testing.TB) *site {
	t.Helper()
	return &site{t, t.TempDir(), t.TempDir()}
}

func (s *site) blocks() ([]tsdb.BlockMeta, error) { return blocksIn(s.store) }

func blocksIn(dir string) ([]tsdb.BlockMeta, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []tsdb.BlockMeta
	for _, e := range entries {
		if _, err := ulid.ParseStrict(e.Name()); err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name(), metaFile))
		if err != nil {
			return nil, err
		}
		var m tsdb.BlockMeta
		if err := json.Unmarshal(text, &m); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// cut makes a block of two hours, the n-th since start.
func (s *site) cut(n int) tsdb.BlockMeta {
	s.t.Helper()
	return cutBlock(s.t, s.store, n, 20)
}

func cutBlock(t testing.TB, dir string, n, series int) tsdb.BlockMeta {
	t.Helper()
	mint := start + int64(n)*2*hour
	var all []storage.Series
	for i := range series {
		times, values := []int64{}, []float64{}
		for at := mint; at < mint+2*hour; at += 60_000 {
			times, values = append(times, at), append(values, float64(at/60_000)+float64(i))
		}
		all = append(all, storage.NewListSeries(labels.FromStrings("__name__", "m", "i", fmt.Sprintf("%04d", i)), samples(times, values)))
	}
	path, err := tsdb.CreateBlock(all, dir, 4*hour, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	metas, err := blocksIn(dir)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(metas, func(m tsdb.BlockMeta) bool { return m.ULID.String() == filepath.Base(path) })
	return metas[i]
}

// merge compacts local blocks as the TSDB does, and removes what went in.
func merge(t *testing.T, dir string, ids ...ulid.ULID) tsdb.BlockMeta {
	t.Helper()
	c, err := tsdb.NewLeveledCompactor(context.Background(), nil, slog.New(slog.DiscardHandler), []int64{2 * hour, 6 * hour}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for _, id := range ids {
		dirs = append(dirs, filepath.Join(dir, id.String()))
	}
	made, err := c.Compact(dir, dirs, nil)
	if err != nil || len(made) != 1 {
		t.Fatalf("merge: %v, %v", made, err)
	}
	for _, d := range dirs {
		if err := os.RemoveAll(d); err != nil {
			t.Fatal(err)
		}
	}
	metas, err := blocksIn(dir)
	if err != nil {
		t.Fatal(err)
	}
	return metas[slices.IndexFunc(metas, func(m tsdb.BlockMeta) bool { return m.ULID == made[0] })]
}

var ownLabels = map[string]string{"island": "one", "region": "eu"}

type opened struct {
	*Bucket
	reg    *prometheus.Registry
	health *health.List
}

func (s *site) open(c Config, change ...func(*Options)) *opened {
	s.t.Helper()
	reg := prometheus.NewPedanticRegistry()
	o := Options{
		Config: c, Labels: ownLabels, Blocks: s.blocks, StoreDir: s.store, Dir: s.dir,
		Registerer: reg, Health: health.New(nil),
	}
	for _, f := range change {
		f(&o)
	}
	b, err := New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := b.cache.clear(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		b.cache.close()
		b.cur.Load().idle()
	})
	return &opened{b, reg, o.Health}
}

// once runs a round.
func (o *opened) once() error { return o.round(context.Background(), o.cur.Load()) }

// settle runs rounds until one goes through.
func (o *opened) settle(t testing.TB) {
	t.Helper()
	var err error
	for range 50 {
		if err = o.once(); err == nil {
			return
		}
	}
	t.Fatalf("does not settle: %v", err)
}

// raw reads all of a bucket.
func raw(t *testing.T, p *place) map[string][]byte {
	t.Helper()
	list, err := p.list(context.Background(), "", true)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, o := range list {
		if o.size < 0 {
			t.Fatalf("an unfinished upload of %s is left", o.key)
		}
		if out[o.key], err = readAll(context.Background(), p, o.key, 1<<30); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// exact checks that the bucket holds every source once, that each block is whole,
// and that nothing else is there.
func exactly(t *testing.T, p *place, sources ...ulid.ULID) {
	t.Helper()
	content := raw(t, p)
	known, times := map[string]bool{}, map[ulid.ULID]int{}
	for key, text := range content {
		dir, ok := strings.CutSuffix(key, "/"+metaFile)
		if !ok {
			continue
		}
		m, err := decodeMeta(ulid.MustParse(dir), text)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range m.Compaction.Sources {
			times[id]++
		}
		for _, f := range m.Thanos.Files {
			known[dir+"/"+f.RelPath] = true
			got, ok := content[dir+"/"+f.RelPath]
			switch {
			case !ok:
				t.Errorf("%s/%s is not there", dir, f.RelPath)
			case f.Hash != nil && (int64(len(got)) != f.SizeBytes || sum(got) != f.Hash.Value):
				t.Errorf("%s/%s: another content than meta.json says", dir, f.RelPath)
			}
		}
	}
	for key := range content {
		if !known[key] {
			t.Errorf("%s belongs to no block", key)
		}
	}
	for _, id := range sources {
		if times[id] != 1 {
			t.Errorf("source %s is in %d blocks of the bucket, want 1", id, times[id])
		}
		delete(times, id)
	}
	for id := range times {
		t.Errorf("source %s should not be in the bucket", id)
	}
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// sample is one float, as storage.NewListSeries wants it.
type sample struct {
	t int64
	v float64
}

func (s sample) ST() int64                     { return 0 }
func (s sample) T() int64                      { return s.t }
func (s sample) F() float64                    { return s.v }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

func samples(times []int64, values []float64) []chunks.Sample {
	out := make([]chunks.Sample, len(times))
	for i := range times {
		out[i] = sample{times[i], values[i]}
	}
	return out
}

// soon is a timeout for servers that do not answer.
const soon = model.Duration(150 * time.Millisecond)
