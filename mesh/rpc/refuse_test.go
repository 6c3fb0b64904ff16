package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/flow"
)

// rawCodec sends bytes that are no message.
type rawCodec struct{}

func (rawCodec) Marshal(any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer("\xff\xff\xff")}, nil
}
func (rawCodec) Unmarshal(mem.BufferSlice, any) error { return nil }
func (rawCodec) Name() string                         { return "proto" }

func TestEveryRefusalSaysWhy(t *testing.T) {
	for _, tc := range []struct {
		name, method string
		text         string
		opts         []grpc.CallOption
		prepare      func(*world, *island)
		code         codes.Code
		is           error
		says         []string
		metric       []string
		times        int // that it counts; 0 for 1
	}{
		{name: "not served", method: "Nothing", code: codes.Unimplemented,
			says:   []string{"call /test.Echo/Nothing of porto: /test.Echo/Nothing is not served here; this island speaks 2026"},
			metric: []string{"atoll_mesh_rpc_denied_total", "reason=unknown_method"}},
		{name: "policy", method: "Forbid", code: codes.PermissionDenied,
			says:   []string{"no policy lets island lisbon administer"},
			metric: []string{"atoll_mesh_rpc_denied_total", "reason=policy"}},
		{name: "quarantine", method: "Normal", code: codes.PermissionDenied,
			prepare: func(w *world, _ *island) {
				w.is(Caller{Key: lisbon, Name: "lisbon", Quarantined: true}, true)
			},
			says:   []string{"the certificate of island lisbon has expired: it may renew it and nothing else"},
			metric: []string{"atoll_mesh_rpc_denied_total", "reason=quarantine"}},
		{name: "version", method: "New", code: codes.FailedPrecondition,
			says:   []string{"island lisbon speaks 2026", ", this call needs 20990101: upgrade it"},
			metric: []string{"atoll_mesh_rpc_denied_total", "reason=version"}},
		{name: "too large", method: "Small", text: strings.Repeat("x", 100), code: codes.ResourceExhausted, is: flow.ErrOverLimit,
			says: []string{"a message of 102 bytes is too large for /test.Echo/Small: the most is 16"}},
		{name: "too large for any method", method: "Normal", text: strings.Repeat("x", 17<<20), code: codes.ResourceExhausted, is: flow.ErrOverLimit,
			says: []string{"larger than max"}},
		{name: "malformed", method: "Normal", opts: []grpc.CallOption{grpc.ForceCodecV2(rawCodec{})}, code: codes.InvalidArgument,
			says: []string{"the message to /test.Echo/Normal is malformed"}},
		{name: "too often", method: "Rare", code: codes.ResourceExhausted, is: flow.ErrUnavailable,
			prepare: func(w *world, i *island) {
				if _, err := i.call(context.Background(), "Rare", ""); err != nil {
					w.t.Fatal(err)
				}
			},
			says:   []string{"island lisbon calls /test.Echo/Rare too often: try again in 10s"},
			metric: []string{"atoll_mesh_rpc_throttled_total", "scope=method"}},
		{name: "no member any more", method: "Normal", code: codes.Unauthenticated,
			prepare: func(w *world, i *island) {
				if _, err := i.call(context.Background(), "Normal", ""); err != nil {
					w.t.Fatal(err)
				}
				w.is(Caller{Key: lisbon}, false)
			},
			says:   []string{"is no member"},
			metric: []string{"atoll_mesh_rpc_denied_total", "reason=identity"}},
		{name: "stranger", method: "Normal", code: codes.Unavailable, is: flow.ErrUnavailable,
			prepare: func(w *world, _ *island) { w.is(Caller{Key: lisbon}, false) },
			says:    []string{"cannot be reached: the connection was closed before a first frame came, it may be refused there"},
			metric:  []string{"atoll_mesh_rpc_denied_total", "reason=identity"}, times: 2}, // it is tried again
		{name: "itself", method: "Normal", code: codes.FailedPrecondition,
			prepare: func(_ *world, i *island) { i.self = server },
			says:    []string{"it is this island itself"}},
		{name: "panic", method: "Normal", code: codes.Internal,
			prepare: func(w *world, _ *island) {
				w.echo.on("Normal", func(context.Context, *payload) (*payload, error) { panic("oh no") })
			},
			says:   []string{"/test.Echo/Normal panicked; the log of the island that served it says where"},
			metric: []string{"atoll_mesh_rpc_panics_total"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.close()
				i := w.caller(lisbon)
				if tc.prepare != nil {
					tc.prepare(w, i)
				}
				_, err := i.call(context.Background(), tc.method, tc.text, tc.opts...)
				wantError(t, err, append(tc.says, "of porto")...)
				if status.Code(err) != tc.code {
					t.Errorf("code %s, want %s", status.Code(err), tc.code)
				}
				for _, is := range []error{flow.ErrUnavailable, flow.ErrOverLimit} {
					if got, want := errors.Is(err, is), errors.Is(tc.is, is); got != want {
						t.Errorf("errors.Is(err, %v) = %v, want %v", is, got, want)
					}
				}
				if tc.metric != nil && metric(t, w.reg, tc.metric[0], tc.metric[1:]...) != float64(max(tc.times, 1)) {
					t.Errorf("metric %v is not %d", tc.metric, max(tc.times, 1))
				}
				if s := i.Breaker(server); tc.code != codes.Unavailable && s.Failures != 0 {
					t.Errorf("an answer counts as %d failures of the peer", s.Failures)
				}
				w.is(Caller{Key: lisbon, Name: "lisbon"}, true)
				i.self = lisbon
				if got, err := i.call(context.Background(), "Urgent", "well"); err != nil || got != "well" {
					t.Errorf("the next call got %q, %v", got, err)
				}
			})
		})
	}
}

func TestQuarantinedMayRenew(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	w.is(Caller{Key: lisbon, Name: "lisbon", Quarantined: true}, true)
	if _, err := w.caller(lisbon).call(t.Context(), "Renew", "x"); err != nil {
		t.Error(err)
	}
}

func TestCallerFrom(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	w.is(Caller{Key: lisbon, Name: "lisbon", Role: "island", Labels: map[string]string{"region": "eu"}}, true)
	var got Caller
	w.echo.on("Normal", func(ctx context.Context, in *payload) (*payload, error) {
		got, _ = CallerFrom(ctx)
		return in, Yield(ctx)
	})
	if _, err := w.caller(lisbon).call(t.Context(), "Normal", ""); err != nil {
		t.Fatal(err)
	}
	if got.Key != lisbon || got.Role != "island" || got.Labels["region"] != "eu" || got.Version == 0 {
		t.Errorf("caller %+v", got)
	}
	if _, ok := CallerFrom(t.Context()); ok {
		t.Error("a context outside of a call has a caller")
	}
}

func TestDenialIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		i, j := w.caller(lisbon), w.caller(oslo)
		for range 10 {
			i.call(t.Context(), "Forbid", "")
		}
		j.call(t.Context(), "Forbid", "")
		if n := w.log.count("rpc denied"); n != 2 {
			t.Errorf("%d log lines for two peers within a minute", n)
		}
		time.Sleep(time.Minute)
		i.call(t.Context(), "Forbid", "")
		if n := w.log.count("rpc denied"); n != 3 {
			t.Errorf("%d log lines after a minute, want 3", n)
		}
		if n := metric(t, w.reg, "atoll_mesh_rpc_denied_total", "reason=policy"); n != 12 {
			t.Errorf("%v denials counted, want 12", n)
		}
	})
}

func TestHandlerErrorsKeepTheirMeaning(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	i := w.caller(lisbon)
	for _, tc := range []struct {
		err  error
		is   error
		code codes.Code
	}{
		{fmt.Errorf("store: %w", flow.ErrUnavailable), flow.ErrUnavailable, codes.Unavailable},
		{fmt.Errorf("series: %w", flow.ErrOverLimit), flow.ErrOverLimit, codes.ResourceExhausted},
		{fmt.Errorf("query: %w", context.DeadlineExceeded), context.DeadlineExceeded, codes.DeadlineExceeded},
		{status.Error(codes.NotFound, "no such document"), nil, codes.NotFound},
		{fmt.Errorf("ask oslo: %w", newError("oslo", "/x/Y", status.Error(codes.Unavailable, "gone"), answer{})), flow.ErrUnavailable, codes.Unavailable},
		{fmt.Errorf("own cancellation: %w", context.Canceled), flow.ErrUnavailable, codes.Unavailable},
		{errors.New("something else"), nil, codes.Unknown},
		{errors.New(strings.Repeat("é", 100_000)), nil, codes.Unknown},
	} {
		w.echo.on("Normal", func(context.Context, *payload) (*payload, error) { return nil, tc.err })
		_, err := i.call(t.Context(), "Normal", "")
		if status.Code(err) != tc.code {
			t.Errorf("%.80v arrives as %s, want %s", tc.err, status.Code(err), tc.code)
		}
		for _, is := range []error{flow.ErrUnavailable, flow.ErrOverLimit, context.DeadlineExceeded, context.Canceled} {
			if got, want := errors.Is(err, is), errors.Is(tc.is, is); got != want {
				t.Errorf("%.80v: errors.Is(%v) = %v, want %v", tc.err, is, got, want)
			}
		}
		var e *Error
		if !errors.As(err, &e) || !e.Answered || e.Peer != "porto" || len(e.Text) > maxText+10 || e.Version == 0 {
			t.Errorf("%.80v arrives as %+.200v", tc.err, e)
		}
		if short := tc.err.Error(); len(short) < 100 {
			wantError(t, err, strings.TrimPrefix(short, "rpc error: code = NotFound desc = "))
		}
	}
	if s := i.Breaker(server); s.State != Closed || s.Failures != 0 {
		t.Errorf("answers moved the breaker: %+v", s)
	}
}

func TestRegisterHoldsRules(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(map[string]Rule)
		want   string
	}{
		{"none", func(r map[string]Rule) { delete(r, echoService+"Bulk") }, "method /test.Echo/Bulk: has no rule; give it one"},
		{"stray", func(r map[string]Rule) { r[echoService+"Bulky"] = Rule{AnyMember: true} }, "rule /test.Echo/Bulky: service test.Echo has no such method"},
		{"no action", func(r map[string]Rule) { r[echoService+"Bulk"] = Rule{} }, "method /test.Echo/Bulk: action: is empty"},
		{"both", func(r map[string]Rule) { r[echoService+"Bulk"] = Rule{Action: policyRead, AnyMember: true} }, "is never asked about"},
		{"class", func(r map[string]Rule) { r[echoService+"Bulk"] = Rule{AnyMember: true, Class: 7} }, "class: 7 must be one of"},
		{"size", func(r map[string]Rule) { r[echoService+"Bulk"] = Rule{AnyMember: true, MaxRequestBytes: 1 << 30} }, "must be from 0 to message_bytes (16MiB)"},
		{"rate", func(r map[string]Rule) { r[echoService+"Bulk"] = Rule{AnyMember: true, RatePerSecond: 3} }, "give both, or none"},
		{"timeout", func(r map[string]Rule) { r[echoService+"Bulk"] = Rule{AnyMember: true, Timeout: 3, MaxTimeout: 2} }, "must not be above the cap"},
		{"standing", func(r map[string]Rule) { r[echoService+"Bulk"] = Rule{AnyMember: true, Standing: true} }, "standing is for streams"},
	} {
		s, err := NewServer(ServerOptions{Identify: noIdentity, Limits: Default()})
		if err != nil {
			t.Fatal(err)
		}
		rules := fullRules()
		tc.change(rules)
		if err := s.Register(echoDesc(), &echo{}, rules); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
		if _, ok := s.Rule(echoService + "Urgent"); ok {
			t.Errorf("%s: the refused service is half registered", tc.name)
		}
		if err := s.Register(echoDesc(), &echo{}, fullRules()); err != nil {
			t.Errorf("%s: the mended one is refused: %v", tc.name, err)
		}
		if err := s.Register(echoDesc(), &echo{}, fullRules()); err == nil {
			t.Errorf("%s: registered twice", tc.name)
		}
	}
	w := newWorld(t)
	defer w.close()
	i := w.caller(lisbon)
	if _, err := i.call(t.Context(), "Normal", ""); err != nil {
		t.Fatal(err)
	}
	err := w.server.Register(&grpc.ServiceDesc{ServiceName: "late"}, nil, nil)
	wantError(t, err, "register before Serve")
	wantError(t, w.server.Serve(t.Context(), newPort()), "has served already")
}
