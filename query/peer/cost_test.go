package peer

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"google.golang.org/grpc"

	"github.com/atoll-mesh/atoll/flow/columnar/fleet"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/query/global"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire"
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

// posed is an island that counts the questions to it, and tells what real ones do.
type posed struct {
	*global.Answerer
	calls *atomic.Int64
}

func (p posed) Answer(ctx context.Context, r *global.Request) (*global.Answer, error) {
	p.calls.Add(1)
	a, err := p.Answerer.Answer(ctx, r)
	if err == nil {
		a.Promise = &global.Promise{Number: 0x7a3c51e9}
	}
	return a, err
}

// served is an island behind the mesh's calls, over TCP.
func served(t *testing.T, codec *Codec, a posed, wired *atomic.Int64) global.Island {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limits := rpc.Default()
	limits.Idle = model.Duration(time.Hour)
	here, there := trust.Key{1}, trust.Key{2}
	server, err := rpc.NewServer(rpc.ServerOptions{Limits: limits, Identify: func(net.Conn) (rpc.Caller, error) {
		return rpc.Caller{Key: here, Name: "asking", Version: wire.Version}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	rule := rpc.Rule{AnyMember: true, Class: rpc.Urgent, Idempotent: true}
	if err := server.Register(&querypb.Query_ServiceDesc, codec.Server(a), map[string]rpc.Rule{
		querypb.Query_Answer_FullMethodName: rule, querypb.Query_Labels_FullMethodName: rule,
		querypb.Query_Series_FullMethodName: rule, querypb.Query_Exemplars_FullMethodName: rule,
	}); err != nil {
		t.Fatal(err)
	}
	clients, err := rpc.NewClients(rpc.ClientOptions{Self: here, Rule: server.Rule, Limits: limits,
		Dial: func(ctx context.Context, _ trust.Key, _ rpc.Class) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
			return counted{c, wired}, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(ctx, l) }) // it ends with ctx
	running.Go(func() { _ = clients.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	return codec.Client(a.Facts(), func() (grpc.ClientConnInterface, error) { return clients.Conn(there, rpc.Urgent), nil }).
		Noting(a.Facts().Name).Speaking(func() uint32 { return wire.Version })
}

// TestCost holds questions to the bytes that they may move: with all that HTTP/2 and
// the requests add, where the connection has carried the question before. Each is one
// request to each island; a refresh moves less.
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
	var calls, wired atomic.Int64
	var islands []global.Island
	settled := int64(fleetEnd - 120_000)
	for i := range costIslands {
		a, err := global.NewAnswerer(global.AnswererOptions{
			Engine: engine, Storage: fleetStore(t, uint64(i+1)), Label: "island", Name: fmt.Sprint("isle-", i),
			History: func() (uint64, int64) { return 1, settled },
			Span:    func() (oldest, newest int64) { return fleetStart, fleetEnd },
		})
		if err != nil {
			t.Fatal(err)
		}
		islands = append(islands, served(t, codec, posed{a, &calls}, &wired))
	}
	all, err := global.New(global.Options{
		Engine: engine, Islands: func(context.Context) []global.Island { return islands }, Label: "island", Deadline: time.Minute,
		SubqueryStep: func(int64) int64 { return 60_000 }, Features: global.EngineOptions{Lookback: 300_000},
		Costs: global.NewCosts(15 * time.Second), Cache: global.NewCache(64<<20, nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(question string, end time.Time, step time.Duration) (answers, sockets float64) {
		t.Helper()
		called, before := calls.Load(), wired.Load()
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
		return answers, float64(wired.Load()-before) / 1024
	}
	end := time.UnixMilli(fleetEnd)
	ask(`count(nothing)`, end, 0) // connections are made
	for _, c := range costs {
		answers, first := ask(c.question, end, c.step)
		// At other times: nothing of it is in the cache.
		_, second := ask(c.question, end.Add(-7*time.Second), c.step)
		_, again := ask(c.question, end, c.step)
		t.Logf("%-36s %9.2f KiB of answers; on the sockets both ways %9.2f, then %9.2f; refreshed %9.2f", c.name, answers, first, second, again)
		if answers > c.most || second > c.most {
			t.Errorf("%s: %.2f KiB of answers, %.2f on the sockets when asked before: want at most %g", c.name, answers, second, c.most)
		}
	}
}
