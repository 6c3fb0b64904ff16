package witness

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

func (s *sim) look(caller, server int, key []byte, timeout time.Duration) (*meshpb.LookResponse, error) {
	ctx := s.ctx
	if caller >= 0 {
		ctx = context.WithValue(ctx, callerKey{}, s.members[caller].Key)
	}
	return s.islands[server].Look(ctx, &meshpb.LookRequest{Key: key, TimeoutMs: timeout.Milliseconds()})
}

func TestLook(t *testing.T) {
	simulate(t, func(t *testing.T) {
		s := newSim(t, 9, regions...)
		s.start(nil)
		defer s.stopAll()
		key := func(i int) []byte { return s.members[i].Key.Bytes() }
		stranger := testKey(99)

		if a, err := s.look(0, 1, key(5), time.Second); err != nil || !a.Reached || a.HeardMs == 0 || a.Alone {
			t.Errorf("look at a live island: %v, %v", a, err)
		}
		if a, err := s.look(0, 1, key(1), time.Second); err != nil || !a.Reached {
			t.Errorf("look at the witness itself: %v, %v", a, err)
		}
		s.islands[5].die()
		time.Sleep(10 * time.Second)
		began := time.Now()
		a, err := s.look(0, 1, key(5), 2*time.Second)
		if err != nil || a.Reached || a.Error == "" {
			t.Errorf("look at a dead island: %v, %v", a, err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the answer took %s, asked for in 2s", took)
		}
		for name, tc := range map[string]struct {
			caller int
			key    []byte
			want   codes.Code
		}{
			"no member":           {0, stranger.Bytes(), codes.NotFound},
			"malformed":           {0, []byte("short"), codes.InvalidArgument},
			"no key":              {0, nil, codes.InvalidArgument},
			"caller not a member": {-1, key(5), codes.PermissionDenied},
		} {
			if _, err := s.look(tc.caller, 1, tc.key, time.Second); status.Code(err) != tc.want {
				t.Errorf("%s: %v, want %s", name, err, tc.want)
			}
		}
	})
}

// TestLookIsLimited: one island cannot have another look all the time, and all
// together share one look.
func TestLookIsLimited(t *testing.T) {
	simulate(t, func(t *testing.T) {
		s := newSim(t, 9, regions...)
		s.start(nil)
		defer s.stopAll()
		s.islands[5].die()
		time.Sleep(6 * time.Second)
		target := s.members[5].Key.Bytes()
		s.set(func() { s.islands[1].looks = 0 })
		limited := 0
		for range 50 {
			if _, err := s.look(0, 1, target, 100*time.Millisecond); status.Code(err) == codes.ResourceExhausted {
				limited++
			}
		}
		if limited < 25 || limited == 50 {
			t.Errorf("%d of 50 requests within 5 s were refused, want most", limited)
		}
		if _, err := s.look(2, 1, target, time.Second); err != nil {
			t.Errorf("another caller: %v", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if n := s.islands[1].looks; n > 6 {
			t.Errorf("%d looks for 51 requests, want them shared", n)
		}
	})
}

func TestLookWhileNotRunning(t *testing.T) {
	members := newSim(t, 3).members
	w, err := New(Options{
		Config: Default(), Self: members[0].Key, Members: func() []Member { return members },
		Caller: func(context.Context) (trust.Key, bool) { return members[1].Key, true },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.roster(members, time.Now())
	if _, err := w.Look(t.Context(), &meshpb.LookRequest{Key: members[2].Key.Bytes()}); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
}
