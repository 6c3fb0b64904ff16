package pulse

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// conn answers pings after rtt, or never.
type conn struct {
	network.Conn
	rtt      atomic.Int64 // ns; negative is never
	received atomic.Uint64
}

func (c *conn) RemotePeer() peer.ID { return "peer" }
func (c *conn) IsClosed() bool      { return false }

type fixture struct {
	*Watch
	mu       sync.Mutex
	dead     []network.Conn
	outcomes []string
	sent     []time.Duration
}

func run(t *testing.T, test func(t *testing.T, f *fixture)) {
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{}
		start := time.Now()
		f.Watch = New(Options{
			Probe: func(ctx context.Context, nc network.Conn) (time.Duration, error) {
				c := nc.(*conn)
				f.mu.Lock()
				f.sent = append(f.sent, time.Since(start))
				f.mu.Unlock()
				if rtt := time.Duration(c.rtt.Load()); rtt >= 0 {
					time.Sleep(rtt)
					return rtt, ctx.Err()
				}
				<-ctx.Done()
				return 0, ctx.Err()
			},
			Received: func(c network.Conn) (uint64, bool) { return c.(*conn).received.Load(), true },
			Dead: func(c network.Conn) {
				f.mu.Lock()
				f.dead = append(f.dead, c)
				f.mu.Unlock()
				f.Remove(c)
			},
			Probed: func(outcome string) {
				f.mu.Lock()
				f.outcomes = append(f.outcomes, outcome)
				f.mu.Unlock()
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { f.Run(ctx) })
		synctest.Wait()
		test(t, f)
		cancel()
		wg.Wait()
	})
}

func (f *fixture) died() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.dead)
}

func TestIdleConnectionIsProbedRarely(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		c := &conn{}
		c.rtt.Store(int64(80 * time.Millisecond))
		f.Add(c)
		time.Sleep(5 * time.Minute)
		v := f.Of(c)
		if v.RTT != 80*time.Millisecond || v.Suspect {
			t.Errorf("vitals %+v", v)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if n := len(f.sent); n < 15 || n > 26 {
			t.Errorf("%d probes in 5 minutes, want about one each %s", n, Interval)
		}
	})
}

func TestIdleConnectionDiesAfterThreeMisses(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		c := &conn{}
		f.Add(c)
		time.Sleep(time.Minute)
		c.rtt.Store(-1)
		for range 60 {
			if time.Sleep(time.Second); f.Of(c).Suspect {
				break
			}
		}
		if !f.Of(c).Suspect || f.died() != 0 {
			t.Errorf("after one miss: suspect %v, dead %d", f.Of(c).Suspect, f.died())
		}
		time.Sleep(2 * (Patience + 2*tick))
		if f.died() != 1 {
			t.Errorf("after three misses: dead %d", f.died())
		}
	})
}

func TestCheckFindsABlackHoleInTime(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		c := &conn{}
		f.Add(c)
		time.Sleep(2 * time.Second)
		c.rtt.Store(-1)
		begin := time.Now()
		f.Check("peer")
		if took := time.Since(begin); f.died() != 1 || took > Patience {
			t.Errorf("dead %d after %s", f.died(), took)
		}
	})
}

// TestCheckWhileAProbeIsUnderWay has a path die between the last bytes that came and
// somebody who waits for more.
func TestCheckWhileAProbeIsUnderWay(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		c := &conn{}
		c.rtt.Store(-1)
		f.Add(c)
		time.Sleep(tick + 300*time.Millisecond)
		c.received.Add(1)
		f.Check("peer")
		if f.died() != 0 {
			t.Error("dead although bytes had come")
		}
		time.Sleep(Patience + 2*tick)
		if f.died() != 1 {
			t.Errorf("dead %d after another probe was due", f.died())
		}
	})
}

func TestBytesAreLife(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		c := &conn{}
		c.rtt.Store(-1)
		f.Add(c)
		go func() {
			for range 120 {
				time.Sleep(500 * time.Millisecond)
				c.received.Add(1)
			}
		}()
		for range 8 {
			f.Check("peer")
		}
		time.Sleep(25 * time.Second)
		if f.died() != 0 {
			t.Error("a connection on which bytes arrive was declared dead")
		}
		time.Sleep(2 * time.Minute)
		if f.died() != 1 {
			t.Error("a connection on which bytes arrive no more lives on")
		}
	})
}

func TestRefusedPingIsAnAnswer(t *testing.T) {
	w := New(Options{
		Probe:    func(context.Context, network.Conn) (time.Duration, error) { return 0, errors.New("stream reset") },
		Received: func(network.Conn) (uint64, bool) { return 0, false },
		Dead:     func(network.Conn) { t.Error("declared dead") },
		Probed: func(outcome string) {
			if outcome != "failed" {
				t.Errorf("outcome %q", outcome)
			}
		},
	})
	for range misses + 1 {
		w.examine(t.Context(), &conn{}, &line{urgent: true})
	}
}

// TestDeadlineIsAMiss has a probe end at its deadline before its context does.
func TestDeadlineIsAMiss(t *testing.T) {
	var outcomes []string
	w := New(Options{
		Probe:    func(context.Context, network.Conn) (time.Duration, error) { return 0, context.DeadlineExceeded },
		Received: func(network.Conn) (uint64, bool) { return 0, true },
		Dead:     func(network.Conn) {},
		Probed:   func(outcome string) { outcomes = append(outcomes, outcome) },
	})
	w.examine(t.Context(), &conn{}, &line{})
	w.examine(t.Context(), &conn{}, &line{urgent: true})
	if want := []string{"missed", "dead"}; !slices.Equal(outcomes, want) {
		t.Errorf("outcomes %q, want %q", outcomes, want)
	}
}

func TestSmoothing(t *testing.T) {
	var v Vitals
	for _, rtt := range []time.Duration{100, 100, 180} {
		v.answer(rtt * time.Millisecond)
	}
	got := []time.Duration{v.RTT, v.Jitter}
	// RFC 6298: 100 + 80/8; 50 → 37.5 → 37.5 + (80-37.5)/4
	if want := []time.Duration{110 * time.Millisecond, 48125 * time.Microsecond}; !slices.Equal(got, want) {
		t.Errorf("smoothed to %v, want %v", got, want)
	}
}

// TestDoubtLastsUntilAnAnswer has a connection held for suspect by somebody who knows
// a better one.
func TestDoubtLastsUntilAnAnswer(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		c := &conn{}
		f.Add(c)
		f.Doubt(c)
		if !f.Of(c).Suspect {
			t.Error("a doubted connection is no suspect")
		}
		f.Check(c.RemotePeer())
		if v := f.Of(c); v.Suspect || v.Answered.IsZero() {
			t.Errorf("after an answer: %+v", v)
		}
		f.Doubt(&conn{}) // that nobody watches
	})
}
