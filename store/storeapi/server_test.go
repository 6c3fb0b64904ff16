package storeapi

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/wire/thanospb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// db is a store with some samples, and optionally a part that cannot be read.
type db struct {
	*tsdb.DB
	missing error
}

func (d db) Span() (oldest, newest int64) { return d.Head().MinTime(), d.Head().MaxTime() }

func (d db) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	q, err := d.DB.ChunkQuerier(mint, maxt)
	if err == nil && d.missing != nil {
		q = storage.NewMergeChunkQuerier([]storage.ChunkQuerier{q}, []storage.ChunkQuerier{broken{d.missing}}, storage.NewCompactingChunkSeriesMerger(storage.ChainedSeriesMerge))
	}
	return q, err
}

type broken struct{ err error }

func (b broken) Select(context.Context, bool, *storage.SelectHints, ...*labels.Matcher) storage.ChunkSeriesSet {
	return storage.ErrChunkSeriesSet(b.err)
}
func (b broken) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, b.err
}
func (b broken) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, b.err
}
func (broken) Close() error { return nil }

const base = int64(1_700_000_000_000)

// newDB holds series whose order changes when "island" comes among their labels.
func newDB(t testing.TB) db {
	t.Helper()
	d, err := tsdb.Open(t.TempDir(), nil, nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	a := d.Appender(t.Context())
	for _, l := range []labels.Labels{
		labels.FromStrings("__name__", "m"), labels.FromStrings("__name__", "m", "a", "1"),
		labels.FromStrings("__name__", "m", "z", "1"), labels.FromStrings("__name__", "m", "a", "1", "replica", "x"),
		labels.FromStrings("__name__", "n", "island", "of its own"),
	} {
		for i := range int64(300) {
			if _, err := a.Append(0, l, base+i*15_000, float64(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
	return db{DB: d}
}

var external = labels.FromStrings("island", "one", "region", "eu")

func serve(t *testing.T, s Store, change ...func(*Config)) *Server {
	t.Helper()
	c := Default()
	c.Listen, c.Insecure = "127.0.0.1:0", true
	for _, f := range change {
		f(&c)
	}
	server, err := New(Options{Config: c, Store: s, Labels: external, Registerer: prometheus.NewPedanticRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return server
}

func dial(t *testing.T, s *Server, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(s.Addr(), grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func client(t *testing.T, s *Server) thanospb.StoreClient {
	t.Helper()
	return thanospb.NewStoreClient(dial(t, s, insecure.NewCredentials()))
}

func eq(name, value string) *thanospb.LabelMatcher {
	return &thanospb.LabelMatcher{Name: name, Value: value}
}

func text(s *thanospb.Series) string {
	var parts []string
	for _, l := range s.Labels {
		parts = append(parts, l.Name+"="+l.Value)
	}
	return strings.Join(parts, " ")
}

// all reads an answer: labels with the number of samples, frames and warnings.
func all(t *testing.T, c thanospb.StoreClient, r *thanospb.SeriesRequest) (series []string, frames int, warnings []string, err error) {
	t.Helper()
	stream, err := c.Series(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return series, frames, warnings, nil
		}
		if err != nil {
			return series, frames, warnings, err
		}
		frames++
		got := resp.GetBatch().GetSeries()
		if one := resp.GetSeries(); one != nil {
			got = append(got, one)
		}
		if w := resp.GetWarning(); w != "" {
			warnings = append(warnings, w)
		}
		for _, s := range got {
			n := 0
			for _, c := range s.Chunks {
				chunk, err := chunkenc.FromData(chunkenc.EncXOR, c.Raw.Data)
				if err != nil || c.Raw.Type != thanospb.Chunk_XOR || c.Raw.Hash != xxhash.Sum64(c.Raw.Data) {
					t.Fatalf("chunk: %v", err)
				}
				n += chunk.NumSamples()
			}
			series = append(series, fmt.Sprintf("%s: %d", text(s), n))
		}
	}
}

func request(ms ...*thanospb.LabelMatcher) *thanospb.SeriesRequest {
	return &thanospb.SeriesRequest{MinTime: base, MaxTime: base + 300*15_000, Matchers: ms}
}

func TestSeries(t *testing.T) {
	c := client(t, serve(t, newDB(t)))
	ofM := []string{
		"__name__=m a=1 island=one region=eu: 300", "__name__=m a=1 island=one region=eu replica=x: 300",
		"__name__=m island=one region=eu: 300", "__name__=m island=one region=eu z=1: 300",
	}
	ofN := "__name__=n island=one region=eu: 300" // the external label wins
	with := func(r *thanospb.SeriesRequest, f func(*thanospb.SeriesRequest)) *thanospb.SeriesRequest {
		f(r)
		return r
	}
	for name, c1 := range map[string]struct {
		r    *thanospb.SeriesRequest
		want []string
	}{
		"sorted with the external labels": {request(eq("__name__", "m")), ofM},
		"all of this island":              {request(eq("island", "one")), append(slices.Clone(ofM), ofN)},
		"external and own":                {request(eq("__name__", "n"), eq("region", "eu")), []string{ofN}},
		"another island":                  {request(eq("__name__", "m"), eq("island", "two")), nil},
		"regular expressions": {request(
			&thanospb.LabelMatcher{Type: thanospb.LabelMatcher_RE, Name: "__name__", Value: "m|x"},
			&thanospb.LabelMatcher{Type: thanospb.LabelMatcher_NRE, Name: "a", Value: ".+"}), ofM[2:]},
		"negation": {request(eq("__name__", "m"), &thanospb.LabelMatcher{Type: thanospb.LabelMatcher_NEQ, Name: "a", Value: "1"}), ofM[2:]},
		"limited":  {with(request(eq("__name__", "n"), eq("island", "one")), func(r *thanospb.SeriesRequest) { r.Limit = 1 }), []string{ofN}},
		"without replica labels": {with(request(eq("__name__", "m")), func(r *thanospb.SeriesRequest) { r.WithoutReplicaLabels = []string{"replica", "region"} }),
			[]string{"__name__=m a=1 island=one: 300", "__name__=m a=1 island=one: 300", "__name__=m island=one: 300", "__name__=m island=one z=1: 300"}},
		"without chunks": {with(request(eq("__name__", "n")), func(r *thanospb.SeriesRequest) { r.SkipChunks = true }), []string{"__name__=n island=one region=eu: 0"}},
	} {
		got, _, warnings, err := all(t, c, c1.r)
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, %v", name, err, warnings)
		}
		if diff := cmp.Diff(c1.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if _, frames, _, _ := all(t, c, with(request(eq("__name__", "m")), func(r *thanospb.SeriesRequest) { r.ResponseBatchSize = 3 })); frames != 2 {
		t.Errorf("4 series in batches of 3 came in %d frames", frames)
	}
}

func TestBounds(t *testing.T) {
	s := serve(t, newDB(t), func(c *Config) { c.MaxSeries = 3 })
	c := client(t, s)
	refused := func(r *thanospb.SeriesRequest, want codes.Code, key string) {
		t.Helper()
		_, _, _, err := all(t, c, r)
		if status.Code(err) != want || !strings.Contains(err.Error(), key) {
			t.Errorf("%v, want %v naming %q", err, want, key)
		}
	}
	refused(request(eq("__name__", "m")), codes.ResourceExhausted, "max_series")
	next := s.cur.Load().cfg
	next.MaxBytes = 500
	commit, _, err := s.Prepare(next, external)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	refused(request(eq("a", "1")), codes.ResourceExhausted, "max_bytes")
	refused(request(&thanospb.LabelMatcher{Type: thanospb.LabelMatcher_RE, Name: "a", Value: "("}), codes.InvalidArgument, "")
	refused(request(&thanospb.LabelMatcher{Type: 9, Name: "a", Value: "("}), codes.InvalidArgument, "type 9")
	refused(request(slices.Repeat([]*thanospb.LabelMatcher{eq("a", "1")}, maxMatchers+1)...), codes.InvalidArgument, "at most")
	next.Listen = "127.0.0.1:1"
	if _, _, err := s.Prepare(next, external); err == nil || !strings.Contains(err.Error(), "store.thanos.listen") {
		t.Errorf("a new address: %v", err)
	}
}

func TestPartialResponse(t *testing.T) {
	d := newDB(t)
	d.missing = errors.New("the disk is on fire")
	c := client(t, serve(t, d))
	r := request(eq("__name__", "n"))
	got, _, warnings, err := all(t, c, r)
	if err != nil || len(got) != 1 || len(warnings) != 1 || !strings.Contains(warnings[0], "fire") {
		t.Errorf("WARN: %v, %v, %v", got, warnings, err)
	}
	r.PartialResponseStrategy = thanospb.PartialResponseStrategy_ABORT
	if got, _, _, err := all(t, c, r); status.Code(err) != codes.Aborted || len(got) > 0 {
		t.Errorf("ABORT: %v, %v", got, err)
	}
}

func TestLabels(t *testing.T) {
	c := client(t, serve(t, newDB(t)))
	end := base + 300*15_000
	names, err := c.LabelNames(t.Context(), &thanospb.LabelNamesRequest{Start: base, End: end, Matchers: []*thanospb.LabelMatcher{eq("__name__", "m")}, WithoutReplicaLabels: []string{"replica"}})
	if diff := cmp.Diff([]string{"__name__", "a", "island", "region", "z"}, names.GetNames()); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for _, v := range []struct {
		label string
		ms    []*thanospb.LabelMatcher
		want  []string
	}{
		{"__name__", nil, []string{"m", "n"}},
		{"island", nil, []string{"one"}},
		{"island", []*thanospb.LabelMatcher{eq("a", "2")}, nil},
		{"a", []*thanospb.LabelMatcher{eq("island", "two")}, nil},
		{"a", []*thanospb.LabelMatcher{eq("island", "one")}, []string{"1"}},
	} {
		got, err := c.LabelValues(t.Context(), &thanospb.LabelValuesRequest{Label: v.label, Start: base, End: end, Matchers: v.ms})
		if diff := cmp.Diff(v.want, got.GetValues()); err != nil || diff != "" {
			t.Errorf("%s %v: %v %s", v.label, v.ms, err, diff)
		}
	}
}

// pki makes an authority and certificates of it, as files.
func pki(t *testing.T, names ...string) (dir string, pool *x509.CertPool) {
	t.Helper()
	dir, pool = t.TempDir(), x509.NewCertPool()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	for _, name := range append([]string{"ca"}, names...) {
		c, signer, own := ca, key, key
		if name != "ca" {
			c = &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
			if own, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
				t.Fatal(err)
			}
		}
		der, err := x509.CreateCertificate(rand.Reader, c, ca, &own.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := x509.MarshalPKCS8PrivateKey(own)
		if err != nil {
			t.Fatal(err)
		}
		for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: secret}} {
			if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if name == "ca" {
			pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		}
	}
	return dir, pool
}

func TestTLS(t *testing.T) {
	dir, pool := pki(t, "island", "querier")
	file := func(name string) string { return filepath.Join(dir, name) }
	s := serve(t, newDB(t), func(c *Config) {
		c.Insecure = false
		c.TLS = TLS{file("island.pem"), file("island.key"), file("ca.pem")}
	})
	cert, err := tls.LoadX509KeyPair(file("querier.pem"), file("querier.key"))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(creds credentials.TransportCredentials) (*thanospb.InfoResponse, error) {
		return thanospb.NewInfoClient(dial(t, s, creds)).Info(t.Context(), &thanospb.InfoRequest{})
	}
	info, err := ask(credentials.NewTLS(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}))
	if err != nil {
		t.Fatal(err)
	}
	if got := text(&thanospb.Series{Labels: info.LabelSets[0].Labels}); got != "island=one region=eu" || info.Store.MinTime != base {
		t.Errorf("labels %q from %d on", got, info.Store.MinTime)
	}
	if _, err := ask(credentials.NewTLS(&tls.Config{RootCAs: pool})); status.Code(err) != codes.Unavailable {
		t.Errorf("without a certificate: %v", err)
	}
	if _, err := ask(insecure.NewCredentials()); status.Code(err) != codes.Unavailable {
		t.Errorf("without TLS: %v", err)
	}
}
