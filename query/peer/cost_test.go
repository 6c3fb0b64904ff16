package peer

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/atoll-mesh/atoll/flow/columnar/fleet"
	"github.com/atoll-mesh/atoll/query/global"
	"github.com/atoll-mesh/atoll/wire/querypb"
)

const (
	costIslands = 3
	fleetStart  = 1_700_000_000_000
	fleetHour   = 3_600_000
	fleetEnd    = fleetStart + 300_000 + fleetHour // an hour, and the lookback before it
)

// costs are questions about three islands of 16,800 series each, over an hour or at
// its end, with what they may move, in KiB.
var costs = []struct {
	name, question string
	step           time.Duration
	most           float64
}{
	{"sum of rates, 60 s", `sum by (job) (rate(http_requests_total[5m]))`, time.Minute, 7},
	{"0.99 quantile of a histogram, 60 s", `histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))`, time.Minute, 14},
	{"topk(10, rate), 60 s", `topk(10, rate(http_requests_total[5m]))`, time.Minute, 13},
	{"216 raw counters, 60 s", `node_cpu_seconds_total{mode=~"idle|user|system",cpu=~"[01]"}`, time.Minute, 65},
	{"quantile(0.9, rate), 15 s", `quantile(0.9, rate(http_requests_total[5m]))`, 15 * time.Second, 2017},
	{"instant alert query", `sum by (job) (rate(http_requests_total[5m])) > 1`, 0, 0.7},
}

// fleetStore is a store with a fleet's series of the names that costs ask for.
func fleetStore(t *testing.T, seed uint64) *tsdb.DB {
	t.Helper()
	o := tsdb.DefaultOptions()
	o.RetentionDuration = 0
	db, err := tsdb.Open(t.TempDir(), nil, nil, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.DisableCompactions()
	wanted := map[string]bool{"http_requests_total": true, "http_request_duration_seconds_bucket": true, "node_cpu_seconds_total": true}
	f := fleet.New(seed, fleetStart)
	refs := map[*fleet.Target][]storage.SeriesRef{}
	for range (fleetEnd - fleetStart) / fleet.IntervalMs {
		f.Round()
		app := db.Appender(t.Context())
		for _, target := range f.Targets {
			if refs[target] == nil {
				refs[target] = make([]storage.SeriesRef, len(target.Labels))
			}
			for i, v := range target.Values {
				if !wanted[target.Labels[i].Get(labels.MetricName)] {
					continue
				}
				if refs[target][i], err = app.Append(refs[target][i], target.Labels[i], target.T, v); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// counted counts what goes through a connection, both ways.
type counted struct {
	net.Conn
	bytes *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.bytes.Add(int64(n))
	return n, err
}

// served is an island behind gRPC over TCP; calls counts the requests to it.
func served(t *testing.T, codec *Codec, a *global.Answerer, calls, wire *atomic.Int64) global.Island {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
		calls.Add(1)
		return h(srv, ss)
	}))
	querypb.RegisterQueryServer(s, codec.Server(a))
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }() // it ends with Stop
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			return counted{c, wire}, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); s.Stop(); <-done })
	return codec.Client(a.Facts(), func() (grpc.ClientConnInterface, error) { return conn, nil })
}

// TestCost holds questions to the bytes that they may move, each with one request to
// each island, and a refresh of theirs to less.
func TestCost(t *testing.T) {
	if testing.Short() {
		t.Skip("three hours of a fleet take too long with the race detector")
	}
	codec, err := NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 1e8, Timeout: time.Minute, Parser: parser.NewParser(parser.Options{}), EnableAtModifier: true, EnableNegativeOffset: true,
	})
	defer engine.Close()
	var calls, wire atomic.Int64
	var islands []global.Island
	settled := int64(fleetEnd - 120_000)
	for i := range costIslands {
		a, err := global.NewAnswerer(global.AnswererOptions{
			Engine: engine, Storage: fleetStore(t, uint64(i+1)), Label: "island", Name: fmt.Sprint("isle-", i),
			History: func() (uint64, int64) { return 1, settled },
		})
		if err != nil {
			t.Fatal(err)
		}
		islands = append(islands, served(t, codec, a, &calls, &wire))
	}
	all, err := global.New(global.Options{
		Engine: engine, Islands: func(context.Context) []global.Island { return islands }, Label: "island", Deadline: time.Minute,
		SubqueryStep: func(int64) int64 { return 60_000 }, Features: global.EngineOptions{Lookback: 300_000},
		Costs: global.NewCosts(15 * time.Second), Cache: global.NewCache(64<<20, nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(question string, step time.Duration) (answers, socket float64) {
		t.Helper()
		end := time.UnixMilli(fleetEnd)
		called, before := calls.Load(), wire.Load()
		var q promql.Query
		if step == 0 {
			q, err = all.NewInstantQuery(t.Context(), nil, nil, question, end)
		} else {
			q, err = all.NewRangeQuery(t.Context(), nil, nil, question, end.Add(-time.Hour), end, step)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		if res := q.Exec(t.Context()); res.Err != nil || len(res.Warnings) > 0 {
			t.Fatal(question, res.Err, res.Warnings)
		}
		receipt := q.(global.Receipted).Receipt()
		if n := calls.Load() - called; n != costIslands || receipt.Rounds != 1 {
			t.Errorf("%s: %d requests in %d rounds", question, n, receipt.Rounds)
		}
		for _, i := range receipt.Islands {
			answers += float64(i.Bytes) / 1024
		}
		return answers, float64(wire.Load()-before) / 1024
	}
	ask(`count(nothing)`, 0) // connections are made
	for _, c := range costs {
		answers, socket := ask(c.question, c.step)
		again, _ := ask(c.question, c.step)
		t.Logf("%-36s %9.2f KiB of answers, %9.2f on the sockets both ways, %9.2f of answers again", c.name, answers, socket, again)
		if answers > c.most {
			t.Errorf("%s: %.2f KiB, want at most %g", c.name, answers, c.most)
		}
	}
}
