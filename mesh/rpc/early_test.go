package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/atoll-mesh/atoll/trust"
)

// TestClosedBeforeTheFirstFrame has connections close that nothing came over: a call
// that waited for one goes out over the next, and is told why if that ends the same.
func TestClosedBeforeTheFirstFrame(t *testing.T) {
	for _, tc := range []struct {
		name  string
		early int64 // dials whose connection closes at once
		fails bool
		dials int64
	}{
		{name: "once", early: 1, dials: 2},
		{name: "always", early: 100, fails: true, dials: 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, method := range []string{"Again", "Normal", "Pull"} {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					defer w.close()
					w.echo.onStream("Pull", func(st grpc.ServerStream) error { return st.SendMsg(wrapperspb.Bytes(nil)) })
					var dials atomic.Int64
					i := w.caller(lisbon, func(o *ClientOptions) {
						up := o.Dial
						o.Dial = func(ctx context.Context, k trust.Key, c Class) (net.Conn, error) {
							if dials.Add(1) > tc.early {
								return up(ctx, k, c)
							}
							here, there := net.Pipe()
							go func() { // hangs up when the caller has said its first word
								_, _ = there.Read(make([]byte, 1))
								_ = there.Close()
							}()
							return here, nil
						}
					})
					err := callOrStream(t.Context(), i, method)
					if !tc.fails && err != nil {
						t.Errorf("%s: %v", method, err)
					}
					if tc.fails {
						wantError(t, err, "cannot be reached: the connection was closed before a first frame came")
					}
					if n := dials.Load(); n != tc.dials {
						t.Errorf("%s: %d connections were made, want %d", method, n, tc.dials)
					}
					if n := metric(t, i.reg, "atoll_mesh_rpc_retries_total"); n != 1 {
						t.Errorf("%s: %v calls were repeated, want 1", method, n)
					}
					if n := i.Breaker(server).Failures; tc.fails && n != 1 {
						t.Errorf("%s: one call counts as %d failures", method, n)
					}
					if n := metric(t, i.reg, "atoll_mesh_rpc_in_flight"); n != 0 {
						t.Errorf("%s: %v calls are in flight after the last one", method, n)
					}
				})
			}
		})
	}
}

// callOrStream makes a call of either kind and returns how it ended.
func callOrStream(ctx context.Context, i *island, method string) error {
	if method != "Pull" {
		_, err := i.call(ctx, method, "")
		return err
	}
	st, err := i.stream(ctx, method)
	for err == nil {
		err = st.RecvMsg(&payload{})
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
