package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/trust"
)

func TestConnectionsAreLazyAndSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		i := w.caller(lisbon)
		conn := i.Conn(server, Normal)
		time.Sleep(time.Minute)
		if n := metric(t, i.reg, "atoll_mesh_rpc_dials_total"); n != 0 {
			t.Errorf("%v dials before the first call", n)
		}
		for range 5 {
			if err := conn.Invoke(t.Context(), echoService+"Normal", &payload{}, &payload{}); err != nil {
				t.Fatal(err)
			}
		}
		i.call(t.Context(), "Urgent", "")
		i.call(t.Context(), "Bulk", "")
		if n := metric(t, i.reg, "atoll_mesh_rpc_dials_total"); n != 3 {
			t.Errorf("%v dials for calls of three classes, want 3", n)
		}
		synctest.Wait()
		before := metric(t, i.reg, "atoll_mesh_rpc_wire_bytes_total")
		idle := time.Duration(Default().Idle)
		time.Sleep(idle * 4 / 5)
		if n := metric(t, i.reg, "atoll_mesh_rpc_wire_bytes_total") - before; n != 0 {
			t.Errorf("idle connections moved %v bytes in four fifths of the idle time", n)
		}
		if n := metric(t, w.reg, "atoll_mesh_rpc_connections"); n != 3 {
			t.Errorf("%v connections, want 3", n)
		}
		time.Sleep(idle * 3 / 5)
		if n := metric(t, w.reg, "atoll_mesh_rpc_connections"); n != 0 {
			t.Errorf("%v connections after the idle time", n)
		}
		if _, err := i.call(t.Context(), "Normal", ""); err != nil {
			t.Errorf("after the idle time: %v", err)
		}
	})
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		var down atomic.Bool
		var dials atomic.Int64
		i := w.caller(lisbon, func(o *ClientOptions) {
			up := o.Dial
			o.Dial = func(ctx context.Context, k trust.Key, c Class) (net.Conn, error) {
				dials.Add(1)
				if down.Load() {
					return nil, errors.New("no route to host")
				}
				return up(ctx, k, c)
			}
		})
		state := func(want BreakerState) BreakerStatus {
			t.Helper()
			s := i.Breaker(server)
			if s.State != want {
				t.Fatalf("breaker is %s, want %s", s.State, want)
			}
			return s
		}
		fails := func(says string) {
			t.Helper()
			_, err := i.call(t.Context(), "Normal", "")
			wantError(t, err, says)
			if !errors.Is(err, flow.ErrUnavailable) {
				t.Errorf("%v is not unavailable", err)
			}
		}
		down.Store(true)
		for range 5 {
			fails("call /test.Echo/Normal of porto: cannot be reached: no route to host")
		}
		s := state(Open)
		if s.Failures != 5 || s.LastError != "cannot be reached: no route to host" || metric(t, i.reg, "atoll_mesh_rpc_breaker_state", "peer=porto") != 2 {
			t.Errorf("status %+v", s)
		}
		before := dials.Load()
		fails("calls to porto are paused until " + s.Until.Format(time.TimeOnly) + " after 5 failures, last: cannot be reached: no route to host")
		if dials.Load() != before {
			t.Error("dialled while open")
		}

		time.Sleep(time.Until(s.Until))
		state(HalfOpen)
		fails("no route to host") // the trial
		s = state(Open)
		if d := s.Until.Sub(s.Since); d != 10*time.Second {
			t.Errorf("the second pause is %s, want 10s", d)
		}
		time.Sleep(time.Until(s.Until))
		down.Store(false)

		inside, leave := make(chan struct{}), make(chan struct{})
		w.echo.on("Normal", func(_ context.Context, in *payload) (*payload, error) { close(inside); <-leave; return in, nil })
		trial := background(t.Context(), i, 1, "Normal")
		<-inside
		state(HalfOpen)
		if metric(t, i.reg, "atoll_mesh_rpc_breaker_state", "peer=porto") != 1 {
			t.Error("the metric does not say half-open")
		}
		fails("calls to porto are paused while one tries whether it is back, after 6 failures")
		close(leave)
		if err := trial()[0]; err != nil {
			t.Fatal(err)
		}
		if s := state(Closed); s.Failures != 0 || s.LastError == "" || metric(t, i.reg, "atoll_mesh_rpc_breaker_state", "peer=porto") != 0 {
			t.Errorf("status %+v", s)
		}
		if metric(t, i.reg, "atoll_mesh_rpc_breaker_opened_total") != 2 || metric(t, i.reg, "atoll_mesh_rpc_paused_total") != 2 {
			t.Error("openings or pauses are miscounted")
		}
		if i.log.count("calls to a peer are paused") != 1 || i.log.count("calls to a peer are made again") != 1 {
			t.Errorf("log: %s", &i.log.buf)
		}
	})
}

func TestBreakerTrial(t *testing.T) {
	m := newClientMetrics(nil)
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(BreakerLimits{Failures: 2, Pause: seconds(5), MaxPause: seconds(8)}, testLogger(), m, nil)
		call := func(o outcome) string {
			epoch, refusal := b.acquire("porto")
			if refusal == "" {
				b.record(epoch, "porto", time.Now(), o, "broken pipe")
			}
			return refusal
		}
		call(failure)
		call(success)
		call(failure)
		if b.read().State != Closed {
			t.Error("failures that are not in a row opened it")
		}
		late, _ := b.acquire("porto")
		call(failure)
		b.record(late, "porto", time.Now(), success, "")
		if b.read().State != Open {
			t.Error("a success begun before it opened closed it")
		}
		b.retry("porto")
		call(neutral) // the caller gave up: somebody else may try
		if r := call(neutral); r != "" || b.read().State != HalfOpen {
			t.Errorf("a trial without result left it %s: %s", b.read().State, r)
		}
		call(failure)
		time.Sleep(8*time.Second - 1)
		if call(success) == "" {
			t.Error("tried too early")
		}
		time.Sleep(time.Nanosecond)
		call(failure)
		if s := b.read(); s.Until.Sub(s.Since) != 8*time.Second {
			t.Errorf("pause %s is not capped", s.Until.Sub(s.Since))
		}
		b.retry("porto")
		if r := call(success); r != "" || b.read().State != Closed {
			t.Errorf("a success left it %s: %s", b.read().State, r)
		}
	})
}

func TestBreakerCountsDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		i := w.caller(lisbon)
		hold(w.echo, "Normal")
		try := func(d time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			if _, err := i.call(ctx, "Normal", ""); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		for range 10 {
			try(100 * time.Millisecond)
		}
		if n := i.Breaker(server).Failures; n != 0 {
			t.Errorf("deadlines too short for anybody count as %d failures", n)
		}
		for range 5 {
			try(time.Second)
		}
		if s := i.Breaker(server); s.State != Open || s.Failures != 5 {
			t.Errorf("after five deadlines: %+v", s)
		}
		i.Reachable(server)
		if s := i.Breaker(server).State; s != HalfOpen {
			t.Errorf("a new path leaves the breaker %s", s)
		}
	})
}

// hole is a connection whose bytes vanish in both directions once it is cut.
type hole struct {
	net.Conn
	cut    *atomic.Bool
	closed chan struct{}
	once   sync.Once
}

func (h *hole) Write(p []byte) (int, error) {
	if h.cut.Load() {
		return len(p), nil
	}
	return h.Conn.Write(p)
}

func (h *hole) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if h.cut.Load() {
		<-h.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (h *hole) Close() error {
	h.once.Do(func() { close(h.closed) })
	return h.Conn.Close()
}

func TestBlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		var cut atomic.Bool
		var dials atomic.Int64
		var mu sync.Mutex
		var stalls []string
		var begun time.Time
		var i *island
		i = w.caller(lisbon, func(o *ClientOptions) {
			up := o.Dial
			o.Dial = func(ctx context.Context, k trust.Key, c Class) (net.Conn, error) {
				conn, err := up(ctx, k, c)
				if err == nil && dials.Add(1) == 1 {
					conn = &hole{Conn: conn, cut: &cut, closed: make(chan struct{})}
				}
				return conn, err
			}
			o.Stalled = func(k trust.Key, c Class) {
				mu.Lock()
				defer mu.Unlock()
				stalls = append(stalls, fmt.Sprintf("%s %s %s", i.name(k), c, time.Since(begun)))
				if len(stalls) == 2 {
					i.Reset(k)
				}
			}
		})
		if _, err := i.call(t.Context(), "Normal", ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cut.Store(true)
		begun = time.Now()
		again, once := background(t.Context(), i, 10, "Again"), background(t.Context(), i, 10, "Normal")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		watched, err := i.stream(ctx, "Push")
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range again() {
			if err != nil {
				t.Errorf("idempotent call: %v", err)
			}
		}
		for _, err := range once() {
			wantError(t, err, "call /test.Echo/Normal of porto: the path was given up for another one before the answer was complete, the call may have been carried out")
			if !errors.Is(err, flow.ErrUnavailable) {
				t.Errorf("%v is not unavailable", err)
			}
		}
		if err := watched.RecvMsg(&payload{}); !errors.Is(err, flow.ErrUnavailable) {
			t.Errorf("the stream ended with %v", err)
		}
		if d := time.Since(begun); d != 4*time.Second {
			t.Errorf("over after %s, want two stall times", d)
		}
		if want := "porto normal 2s,porto normal 4s"; strings.Join(stalls, ",") != want {
			t.Errorf("stalls %v, want %s", stalls, want)
		}
		if s := i.Breaker(server); s.State != Closed || s.Failures != 0 {
			t.Errorf("the dead path counts against the peer: %+v", s)
		}
		if n := metric(t, i.reg, "atoll_mesh_rpc_retries_total"); n != 10 || dials.Load() != 2 {
			t.Errorf("%v retries over %d dials, want 10 over 2", n, dials.Load())
		}
		time.Sleep(time.Minute)
		if len(stalls) != 2 {
			t.Errorf("more stalls after all calls ended: %v", stalls)
		}
	})
}

func TestResetWhileDialling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		var dials atomic.Int64
		stalled := make(chan Class, 10)
		i := w.caller(lisbon, func(o *ClientOptions) {
			up := o.Dial
			o.Dial = func(ctx context.Context, k trust.Key, c Class) (net.Conn, error) {
				if dials.Add(1) == 1 {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return up(ctx, k, c)
			}
			o.Stalled = func(_ trust.Key, c Class) { stalled <- c }
		})
		done := background(t.Context(), i, 3, "Urgent") // not idempotent, but never sent
		if c := <-stalled; c != Urgent {
			t.Errorf("stalled class %s", c)
		}
		i.Reset(server)
		for _, err := range done() {
			if err != nil {
				t.Errorf("a call that only waited for a connection: %v", err)
			}
		}
	})
}

func TestBrokenConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		var mu sync.Mutex
		var last net.Conn
		i := w.caller(lisbon, func(o *ClientOptions) {
			up := o.Dial
			o.Dial = func(ctx context.Context, k trust.Key, c Class) (net.Conn, error) {
				conn, err := up(ctx, k, c)
				mu.Lock()
				defer mu.Unlock()
				last = conn
				return conn, err
			}
		})
		g := hold(w.echo, "Again", "Normal")
		again, once := background(t.Context(), i, 1, "Again"), background(t.Context(), i, 1, "Normal")
		synctest.Wait()
		mu.Lock()
		last.Close()
		mu.Unlock()
		synctest.Wait()
		close(g.open)
		if err := again()[0]; err != nil {
			t.Errorf("idempotent: %v", err)
		}
		err := once()[0]
		wantError(t, err, "the connection broke before an answer came, the call may have been carried out: ")
		var e *Error
		if !errors.As(err, &e) || e.Answered || e.Code != codes.Unavailable {
			t.Errorf("%+v", e)
		}
		if n := len(g.entered()); n != 3 {
			t.Errorf("handlers ran %d times, want 3", n)
		}
	})
}

func TestStreamBreaksInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		i := w.caller(lisbon)
		w.echo.onStream("Pull", func(st grpc.ServerStream) error {
			st.SendMsg(wrapperspb.Bytes([]byte("one")))
			<-st.Context().Done()
			return st.Context().Err()
		})
		st, err := i.stream(t.Context(), "Pull")
		if err != nil {
			t.Fatal(err)
		}
		if err := st.RecvMsg(&payload{}); err != nil {
			t.Fatal(err)
		}
		w.stop()
		wantError(t, st.RecvMsg(&payload{}), "call /test.Echo/Pull of porto: the connection broke in the middle of the answer")
		_, err = i.call(t.Context(), "Bulk", "")
		wantError(t, err, "cannot be reached: connection refused")
	})
}

func TestBulkIsCompressed(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	i := w.caller(lisbon)
	sent := func() float64 {
		return metric(t, i.reg, "atoll_mesh_rpc_wire_bytes_total", "direction=sent")
	}
	text := strings.Repeat("the same again ", 10_000)
	for name, tc := range map[string]struct {
		method string
		opts   []grpc.CallOption
		small  bool
	}{
		"bulk":         {"Bulk", nil, true},
		"uncompressed": {"Bulk", []grpc.CallOption{Uncompressed()}, false},
		"normal":       {"Normal", nil, false},
	} {
		before := sent()
		if got, err := i.call(t.Context(), tc.method, text, tc.opts...); err != nil || got != text {
			t.Fatalf("%s: %d bytes back, %v", name, len(got), err)
		}
		if n := sent() - before; (n < 10_000) != tc.small {
			t.Errorf("%s: %v bytes on the wire for %d", name, n, len(text))
		}
	}
	if n := metric(t, w.reg, "atoll_mesh_rpc_message_bytes_total", "side=server", "class=bulk", "direction=received"); n < 300_000 {
		t.Errorf("%v bytes of bulk messages counted", n)
	}
	// What is small on the wire and large in memory is held against the limit.
	_, err := i.call(t.Context(), "Small", text, grpc.UseCompressor("gzip"))
	wantError(t, err, "is too large for /test.Echo/Small")
	_, err = i.call(t.Context(), "Normal", strings.Repeat("0", 17<<20), grpc.UseCompressor("gzip"), grpc.MaxCallSendMsgSize(1<<30))
	wantError(t, err, "larger than max")
}

func TestOldPeerIsNamed(t *testing.T) {
	p := newPort()
	old := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, st grpc.ServerStream) error {
		st.SetTrailer(metadata.Pairs(versionKey, "20250101"))
		return status.Error(codes.Unimplemented, "unknown method")
	}))
	go old.Serve(p)
	defer old.Stop()
	c, err := NewClients(ClientOptions{Limits: Default(), Name: func(trust.Key) string { return "porto" },
		Dial: func(ctx context.Context, _ trust.Key, _ Class) (net.Conn, error) { return p.connect(ctx, lisbon) }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	err = c.Conn(server, Urgent).Invoke(t.Context(), "/a/b", &payload{}, &payload{})
	wantError(t, err, "call /a/b of porto: unknown method; island porto speaks 20250101, this one 2026", "upgrade it")
}

func TestForgetAndStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		i := w.caller(lisbon)
		g := hold(w.echo, "Again")
		done := background(t.Context(), i, 1, "Again")
		synctest.Wait()
		i.Forget(server)
		wantError(t, done()[0], "this island stops, or the other one is no member any more")
		if metric(t, i.reg, "atoll_mesh_rpc_breaker_state", "peer=porto") != 0 || i.Breaker(server) != (BreakerStatus{}) {
			t.Error("something of the peer is left")
		}
		synctest.Wait()
		if n := metric(t, w.reg, "atoll_mesh_rpc_connections"); n != 0 {
			t.Errorf("%v connections are left", n)
		}
		done = background(t.Context(), i, 1, "Again")
		synctest.Wait()
		i.cancel()
		wantError(t, done()[0], "this island stops")
		_, err := i.call(t.Context(), "Normal", "")
		wantError(t, err, "this island stops")
		close(g.open)
	})
}

func TestLimitsAreChecked(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Limits){
		"urgent: slots, peer_slots: 0 and 32":  func(l *Limits) { l.Urgent.Slots = 0 },
		"normal: queue: -1":                    func(l *Limits) { l.Normal.Queue = -1 },
		"bulk: rate, burst: 0 and 100":         func(l *Limits) { l.Bulk.Rate = 0 },
		"bulk: timeout, max_timeout: 5m and 1": func(l *Limits) { l.Bulk.MaxTimeout = seconds(1) },
		"peer_rate, peer_burst: -1":            func(l *Limits) { l.PeerRate = -1 },
		"message_bytes: 1B must be":            func(l *Limits) { l.MessageBytes = 1 },
		"streams_per_connection":               func(l *Limits) { l.StreamsPerConnection = 0 },
		"stall_after: 0s must be above 0":      func(l *Limits) { l.StallAfter = 0 },
		"breaker: 0 failures":                  func(l *Limits) { l.Breaker.Failures = 0 },
	} {
		_, err := NewServer(ServerOptions{Identify: noIdentity, Limits: testLimits(change)})
		wantError(t, err, "rpc server: limits: ", want)
		_, err = NewClients(ClientOptions{Dial: func(context.Context, trust.Key, Class) (net.Conn, error) { return nil, nil }, Limits: testLimits(change)})
		wantError(t, err, "rpc clients: limits: ", want)
	}
	_, err := NewServer(ServerOptions{Limits: Default()})
	wantError(t, err, "Identify is nil")
	_, err = NewClients(ClientOptions{Limits: Default()})
	wantError(t, err, "Dial is nil")
}
