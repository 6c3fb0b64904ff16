package peer

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/query/global"
	"github.com/atoll-mesh/atoll/wire/querypb"
)

// way is a connection over which an answer comes after a while, in so many parts;
// parts of 0 and no err is a black hole.
type way struct {
	grpc.ClientConnInterface
	after time.Duration
	gap   time.Duration // between the first part and the second
	err   error
	hole  bool
	calls int
}

func (w *way) connect() (grpc.ClientConnInterface, error) { return w, nil }

func (w *way) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	w.calls++
	data, err := proto.Marshal(&querypb.Answer{Oldest: 7})
	return &wayStream{ctx: ctx, way: w, parts: [][]byte{data[:1], data[1:]}}, err
}

type wayStream struct {
	grpc.ClientStream
	ctx   context.Context //nolint:containedctx // a stream has one
	way   *way
	parts [][]byte
	sent  int
}

func (s *wayStream) SendMsg(any) error            { return nil }
func (s *wayStream) CloseSend() error             { return nil }
func (s *wayStream) Header() (metadata.MD, error) { return nil, nil }
func (s *wayStream) Context() context.Context     { return s.ctx }
func (s *wayStream) wait(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *wayStream) RecvMsg(m any) error {
	if s.way.hole {
		return s.wait(time.Hour)
	}
	d := s.way.after
	if s.sent > 0 {
		d = s.way.gap
	}
	if err := s.wait(d); err != nil {
		return err
	}
	if s.way.err != nil {
		return s.way.err
	}
	if s.sent == len(s.parts) {
		return io.EOF
	}
	m.(*querypb.AnswerPart).Data = s.parts[s.sent]
	s.sent++
	return nil
}

// TestHedge: what does not answer in a third of its time is asked once more over
// another way, and the first answer is taken.
func TestHedge(t *testing.T) {
	lost := status.Error(codes.Unavailable, "gone")
	for name, c := range map[string]struct {
		first, second way
		took          time.Duration
		calls         int
		fails         bool
	}{
		"quick":              {first: way{after: time.Second}, second: way{}, took: time.Second, calls: 0},
		"black hole":         {first: way{hole: true}, second: way{after: time.Second}, took: 4 * time.Second, calls: 1},
		"slow, but first":    {first: way{after: 4 * time.Second}, second: way{after: 5 * time.Second}, took: 4 * time.Second, calls: 1},
		"begun, and slow":    {first: way{after: time.Second, gap: 6 * time.Second}, took: 13 * time.Second, calls: 0, fails: true},
		"begun in time":      {first: way{after: time.Second, gap: 3 * time.Second}, took: 7 * time.Second, calls: 0},
		"lost":               {first: way{after: time.Second, err: lost}, second: way{after: time.Second}, took: 2 * time.Second, calls: 1},
		"lost twice":         {first: way{err: lost}, second: way{err: lost}, took: 0, calls: 1, fails: true},
		"second lost":        {first: way{after: 5 * time.Second}, second: way{err: lost}, took: 5 * time.Second, calls: 1},
		"both black holes":   {first: way{hole: true}, second: way{hole: true}, took: 9 * time.Second, calls: 1, fails: true},
		"refused, not asked": {first: way{err: errors.New("no policy permits it")}, took: 0, calls: 0, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				codec, err := NewCodec()
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
				defer cancel()
				began := time.Now()
				a, err := codec.Client(global.Facts{}, c.first.connect).Hedged(c.second.connect).Answer(ctx, &global.Request{})
				took := time.Since(began)
				synctest.Wait() // for who lost
				if (err != nil) != c.fails || !c.fails && a.Oldest != 7 {
					t.Errorf("%v, %+v", err, a)
				}
				if c.took <= 9*time.Second && took != c.took || c.second.calls != c.calls || c.first.calls != 1 {
					t.Errorf("after %v, %d and %d calls, want %v and %d", took, c.first.calls, c.second.calls, c.took, c.calls)
				}
			})
		})
	}
}

// TestHedgesAreFew: where everything is slow, few questions are put twice.
func TestHedgesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		codec, err := NewCodec()
		if err != nil {
			t.Fatal(err)
		}
		reg := prometheus.NewRegistry()
		codec.Register(reg)
		first, second := way{hole: true}, way{}
		c := codec.Client(global.Facts{}, first.connect).Hedged(second.connect)
		for range 200 {
			ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
			_, _ = c.Answer(ctx, &global.Request{})
			cancel()
		}
		synctest.Wait()
		if second.calls < 15 || second.calls > 20 {
			t.Errorf("%d of 200 questions were put twice", second.calls)
		}
		if n := testutil.ToFloat64(codec.hedges.total.WithLabelValues("denied")); int(n) != 200-second.calls {
			t.Errorf("%v denied", n)
		}
	})
}
