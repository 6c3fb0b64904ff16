package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"net"

	"github.com/atoll-mesh/atoll/flow"
)

// gateway lets handlers in and out one by one.
type gateway struct {
	mu   sync.Mutex
	in   []string
	open chan struct{}
}

func hold(e *echo, names ...string) *gateway {
	g := &gateway{open: make(chan struct{})}
	for _, name := range names {
		e.on(name, func(ctx context.Context, in *payload) (*payload, error) {
			c, _ := CallerFrom(ctx)
			g.mu.Lock()
			g.in = append(g.in, c.Name)
			g.mu.Unlock()
			select {
			case <-g.open:
				return in, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
	}
	return g
}

func (g *gateway) entered() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.in)
}

// background makes n calls and returns what came of them, once all are over.
func background(ctx context.Context, i *island, n int, name string) func() []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for k := range n {
		wg.Go(func() { _, errs[k] = i.call(ctx, name, "x") })
	}
	return func() []error { wg.Wait(); return errs }
}

func count(errs []error, is error) (n int) {
	for _, err := range errs {
		if errors.Is(err, is) {
			n++
		}
	}
	return n
}

func TestUrgentNeverWaitsForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		i := w.caller(lisbon)
		g := hold(w.echo, "Bulk", "Normal")
		ctx, cancel := context.WithCancel(t.Context())
		bulk, normal := background(ctx, i, 30, "Bulk"), background(ctx, i, 100, "Normal")
		time.Sleep(time.Second) // for bulk to have given way to normal
		if n := len(g.entered()); n != 2+8 {
			t.Fatalf("%d handlers of one island run, want 2 of bulk and 8 of normal", n)
		}
		if metric(t, w.reg, "atoll_mesh_rpc_queued") != 28+92 {
			t.Errorf("queued %v", metric(t, w.reg, "atoll_mesh_rpc_queued"))
		}
		begun := time.Now()
		for range 50 {
			if _, err := i.call(t.Context(), "Urgent", "x"); err != nil {
				t.Fatal(err)
			}
		}
		// Nothing was released meanwhile, and in virtual time only a wait takes any.
		if d := time.Since(begun); d != 0 {
			t.Errorf("urgent calls waited %s", d)
		}
		cancel()
		bulk()
		normal()
		synctest.Wait()
		if metric(t, w.reg, "atoll_mesh_rpc_queued") != 0 || metric(t, w.reg, "atoll_mesh_rpc_in_flight") != 0 {
			t.Error("something is still counted as queued or in flight")
		}
	})
}

func TestBulkGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		i := w.caller(lisbon)
		var mu sync.Mutex
		var order []string
		note := func(s string) { mu.Lock(); defer mu.Unlock(); order = append(order, s) }
		start, urgent := make(chan struct{}), make(chan struct{})
		w.echo.onStream("Pull", func(st grpc.ServerStream) error {
			<-start
			err := st.SendMsg(wrapperspb.Bytes([]byte("x")))
			note("bulk")
			return err
		})
		w.echo.on("Urgent", func(_ context.Context, in *payload) (*payload, error) {
			<-urgent
			note("urgent")
			return in, nil
		})
		st, err := i.stream(t.Context(), "Pull")
		if err != nil {
			t.Fatal(err)
		}
		done := background(t.Context(), i, 1, "Urgent")
		synctest.Wait()
		close(start)
		synctest.Wait()
		close(urgent)
		done()
		if err := st.RecvMsg(&payload{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if want := []string{"urgent", "bulk"}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
	})
}

func TestBulkIsNotStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		i := w.caller(lisbon)
		g := hold(w.echo, "Urgent") // for as long as the test lasts
		done := background(t.Context(), i, 1, "Urgent")
		synctest.Wait()
		const messages = 100
		w.echo.onStream("Pull", func(st grpc.ServerStream) error {
			for range messages {
				if err := Yield(st.Context()); err != nil {
					return err
				}
				time.Sleep(time.Millisecond) // what a message costs
			}
			return nil
		})
		begun := time.Now()
		st, err := i.stream(t.Context(), "Pull")
		if err != nil {
			t.Fatal(err)
		}
		st.RecvMsg(&payload{})
		if d, most := time.Since(begun), 2*messages*time.Millisecond+2*yieldMost; d < messages*time.Millisecond+yieldMost || d > most {
			t.Errorf("%d ms of work took %s beside an urgent call, want more, but at most %s", messages, d, most)
		}
		close(g.open)
		done()
	})
}

func TestOnePeerCannotTakeAllSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits) { l.Normal.Slots, l.Normal.PeerSlots, l.Normal.Queue = 4, 3, 20 })
		defer w.close()
		a, b, c := w.caller(lisbon), w.caller(oslo), w.caller(tokyo)
		g := hold(w.echo, "Normal")
		first := background(t.Context(), a, 40, "Normal")
		synctest.Wait()
		second := background(t.Context(), b, 2, "Normal")
		synctest.Wait()
		third := background(t.Context(), c, 2, "Normal")
		synctest.Wait()
		if got, want := g.entered(), []string{"lisbon", "lisbon", "lisbon", "oslo"}; !slices.Equal(got, want) {
			t.Fatalf("in %v, want %v", got, want)
		}
		g.open <- struct{}{} // whoever it is, the slot goes to the island with none
		synctest.Wait()
		if got := g.entered(); got[4] != "tokyo" {
			t.Errorf("the freed slot went to %s", got[4])
		}
		close(g.open)
		errs := first()
		if n := count(errs, flow.ErrUnavailable); n != 40-3-10 {
			t.Errorf("%d calls of the flooder were shed, want all but 3 running and half the queue of 20", n)
		}
		for _, err := range errs {
			var e *Error
			if errors.As(err, &e) && (e.RetryAfter == 0 || e.Code != codes.Unavailable) {
				t.Errorf("shed with %+v", e)
			}
		}
		if n := count(append(second(), third()...), nil); n != 4 {
			t.Errorf("%d calls of the others succeeded, want 4", n)
		}
		if n := metric(t, w.reg, "atoll_mesh_rpc_shed_total", "class=normal", "reason=peer"); n != 27 {
			t.Errorf("shed metric %v", n)
		}
	})
}

func TestBucketsIsolateAFlooder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits) { l.Normal.Rate, l.Normal.Burst = 10, 20; l.PeerRate, l.PeerBurst = 30, 50 })
		defer w.close()
		a, b := w.caller(lisbon), w.caller(oslo)
		try := func(i *island, name string, n int) (ok int, last error) {
			for range n {
				if _, err := i.call(t.Context(), name, ""); err == nil {
					ok++
				} else if last = err; !errors.Is(err, flow.ErrUnavailable) || status.Code(err) != codes.ResourceExhausted {
					t.Fatal(err)
				}
			}
			return ok, last
		}
		n, err := try(a, "Normal", 1000)
		if n != 20 {
			t.Errorf("a burst of 20 let %d normal calls pass", n)
		}
		wantError(t, err, "island lisbon makes too many normal calls: try again in 100ms")
		n, err = try(a, "Urgent", 1000)
		if n != 30 {
			t.Errorf("%d urgent calls passed, want the 30 left of the peer's 50", n)
		}
		wantError(t, err, "island lisbon makes too many calls: try again in 33ms")
		if n, _ := try(b, "Normal", 20); n != 20 {
			t.Errorf("another island had %d of 20", n)
		}
		time.Sleep(time.Second)
		if n, _ := try(a, "Normal", 100); n != 10 {
			t.Errorf("a second later %d calls passed, want 10", n)
		}
		if metric(t, w.reg, "atoll_mesh_rpc_throttled_total", "scope=peer", "class=urgent") != 970 {
			t.Error("throttled urgent calls are miscounted")
		}
		// Coming back on a new connection does not fill the buckets.
		a.Reset(server)
		if n, _ := try(a, "Normal", 100); n != 0 {
			t.Errorf("reconnecting let %d calls pass", n)
		}
	})
}

func TestHopelessCallsAreRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits) { l.Normal.Slots, l.Normal.PeerSlots = 1, 1 })
		defer w.close()
		i := w.caller(lisbon)
		w.echo.on("Normal", func(_ context.Context, in *payload) (*payload, error) { time.Sleep(8 * time.Second); return in, nil })
		for range 10 { // so that the mean is known
			if _, err := i.call(t.Context(), "Normal", ""); err != nil {
				t.Fatal(err)
			}
		}
		done := background(t.Context(), i, 1, "Normal")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		begun := time.Now()
		_, err := i.call(ctx, "Normal", "")
		wantError(t, err, "the deadline is in 2s and a normal slot is free in about ")
		if !errors.Is(err, flow.ErrUnavailable) || time.Since(begun) != 0 {
			t.Errorf("refused after %s with %v", time.Since(begun), err)
		}
		done()
		if metric(t, w.reg, "atoll_mesh_rpc_shed_total", "reason=hopeless") != 1 {
			t.Error("not counted")
		}
	})
}

// plain is a caller without this package's defaults.
func (w *world) plain(ctx context.Context) *grpc.ClientConn {
	cc, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithIdleTimeout(0),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return w.port.connect(ctx, lisbon) }))
	if err != nil {
		w.t.Fatal(err)
	}
	w.closing = append(w.closing, func() { cc.Close() })
	return cc
}

func TestEveryCallHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		var limit time.Duration
		w.echo.on("Short", func(ctx context.Context, in *payload) (*payload, error) {
			deadline, _ := ctx.Deadline()
			limit = time.Until(deadline)
			return in, nil
		})
		cc := w.plain(t.Context())
		ask := func(d time.Duration) {
			t.Helper()
			ctx := t.Context()
			if d > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, d)
				defer cancel()
			}
			if err := cc.Invoke(ctx, echoService+"Short", &payload{}, &payload{}); err != nil {
				t.Fatal(err)
			}
		}
		for given, want := range map[time.Duration]time.Duration{0: 3 * time.Second, time.Hour: 4 * time.Second, 2 * time.Second: 2 * time.Second} {
			if ask(given); limit != want {
				t.Errorf("a call with %s has %s, want %s", given, limit, want)
			}
		}
		// A caller that neither speaks nor sets a deadline is not waited for.
		w.echo.onStream("Push", func(st grpc.ServerStream) error { return st.RecvMsg(&payload{}) })
		begun := time.Now()
		st, err := cc.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, echoService+"Push")
		if err != nil {
			t.Fatal(err)
		}
		if err := st.RecvMsg(&payload{}); status.Code(err) != codes.DeadlineExceeded || time.Since(begun) != 3*time.Second {
			t.Errorf("ended after %s with %v", time.Since(begun), err)
		}
		// What the caller does not say, it gets by its own side.
		w.echo.on("Short", func(ctx context.Context, _ *payload) (*payload, error) { <-ctx.Done(); return nil, ctx.Err() })
		_, err = w.caller(oslo).call(t.Context(), "Short", "")
		wantError(t, err, "call /test.Echo/Short of porto: ") // be it said there or here: both know it
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v is not a passed deadline", err)
		}
	})
}

func TestStandingStreamsTakeNoSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(l *Limits) { l.Standing = 40 })
		defer w.close()
		i := w.caller(lisbon)
		w.echo.onStream("Watch", func(st grpc.ServerStream) error { <-st.Context().Done(); return st.Context().Err() })
		ctx, cancel := context.WithCancel(t.Context())
		var open []grpc.ClientStream
		for range 10 {
			st, err := i.stream(ctx, "Watch")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := st.Header(); err != nil {
				t.Fatal(err)
			}
			open = append(open, st)
		}
		st, err := i.stream(ctx, "Watch")
		if err == nil {
			err = st.RecvMsg(&payload{})
		}
		wantError(t, err, "10 standing calls of the same island run and 0 wait here already")
		other, err := w.caller(oslo).stream(ctx, "Watch")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Header(); err != nil {
			t.Errorf("another island's: %v", err)
		}
		time.Sleep(12 * time.Hour)
		if _, err := i.call(t.Context(), "Normal", ""); err != nil {
			t.Errorf("a normal call beside them: %v", err)
		}
		if n := metric(t, i.reg, "atoll_mesh_rpc_stalls_total"); n != 0 {
			t.Errorf("silent watches were taken for stalled %v times", n)
		}
		cancel()
		for _, st := range open {
			if err := st.RecvMsg(&payload{}); !errors.Is(err, context.Canceled) {
				t.Errorf("ended with %v", err)
			}
		}
	})
}

func TestThousandsOfCallsOverOneConnection(t *testing.T) {
	w := newWorld(t, func(l *Limits) {
		l.StreamsPerConnection = 16
		l.Normal.Rate, l.Normal.Burst, l.PeerRate, l.PeerBurst = 1e6, 10_000, 1e6, 10_000
		l.Normal.Queue = 64
	})
	defer w.close()
	i := w.caller(lisbon)
	for k, err := range background(t.Context(), i, 3000, "Normal")() {
		if err != nil {
			t.Fatal(fmt.Errorf("call %d: %w", k, err))
		}
	}
	if n := metric(t, i.reg, "atoll_mesh_rpc_dials_total"); n != 1 {
		t.Errorf("%v connections", n)
	}
	if n := metric(t, w.reg, "atoll_mesh_rpc_calls_total", "side=server", "method=Normal", "code=OK"); n != 3000 {
		t.Errorf("%v calls counted", n)
	}
}
