package enrol

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// renewing is an island whose Renewer runs, with a clock of its own.
type renewing struct {
	*island
	renewer *Renewer
	health  *health.List
	skew    atomic.Int64 // nanoseconds by which this clock is ahead
	changed atomic.Int64
	stop    func()
}

func (w *world) renewing(i *island, local *Authority) *renewing {
	w.t.Helper()
	r := &renewing{island: i, health: health.New(prometheus.NewRegistry())}
	var err error
	r.renewer, err = NewRenewer(RenewerOptions{
		Home: i.home, Trust: w.docs.Trust, Conns: i.conns, Local: local, Health: r.health, Registerer: prometheus.NewRegistry(),
		Changed: func() { r.changed.Add(1) }, Now: func() time.Time { return w.now().Add(time.Duration(r.skew.Load())) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.renewer.Run(ctx) }()
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run ended with %v", err)
		}
	}
	return r
}

func (r *renewing) active() string {
	var codes []string
	for _, a := range r.health.Active() {
		codes = append(codes, a.Code)
	}
	return strings.Join(codes, " ")
}

func (r *renewing) valid() error {
	return r.world.docs.Trust().CheckCertificate(r.home.Certificate(), r.home.Node().Public(), r.world.now())
}

// wait lets virtual time go by; synctest makes it cost nothing.
func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestRenewsAtHalfLife(t *testing.T) {
	for name, own := range map[string]bool{"through another island": false, "by its own signer key": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				i, local := w.first(), w.first().authority
				if !own {
					i, local = w.island("second"), nil
				}
				r := w.renewing(i, local)
				defer r.stop()
				wait(35 * time.Hour)
				if r.changed.Load() != 0 {
					t.Fatalf("renewed %d times before half life", r.changed.Load())
				}
				wait(5 * time.Hour)
				if r.changed.Load() != 1 {
					t.Fatalf("renewed %d times after half life and its spread, want once", r.changed.Load())
				}
				for range 30 {
					wait(24 * time.Hour)
					if err := r.valid(); err != nil {
						t.Fatal(err)
					}
					if got := r.active(); got != "" {
						t.Fatalf("warnings %q", got)
					}
				}
				// 31 days and some at one renewal every 36 to 39.6 h.
				if r.changed.Load() < 18 || r.changed.Load() > 22 {
					t.Errorf("renewed %d times in 31 days, want about 20", r.changed.Load())
				}
			})
		})
	}
}

func TestWarnsBeforeAndAfterExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := w.renewing(w.island("second"), nil)
		defer r.stop()
		w.first().down.Store(true)
		wait(53 * time.Hour)
		if got := r.active(); got != "" {
			t.Errorf("with a quarter of life left: %q", got)
		}
		wait(2 * time.Hour)
		if got := r.active(); got != "certificate-expiring" {
			t.Errorf("with less than a quarter left: %q", got)
		}
		wait(18 * time.Hour)
		if got := r.active(); got != "certificate-expired" {
			t.Errorf("after its end: %q", got)
		}
		if remedy := r.health.Active()[0].Remedy; !strings.Contains(remedy, "atoll peers") {
			t.Errorf("remedy %q", remedy)
		}
		wait(100 * time.Hour)
		w.first().down.Store(false)
		// An expired certificate is no obstacle, and nobody waits longer than the longest backoff.
		wait(backoffMax + look)
		if err := r.valid(); err != nil || r.active() != "" {
			t.Errorf("once the signer is back: %v, warnings %q", err, r.active())
		}
	})
}

func TestRenewsAtOnceAfterALongSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := w.renewing(w.island("second"), nil)
		defer r.stop()
		wait(time.Minute)
		w.pass(10 * 24 * time.Hour) // the machine slept: wall clock on, timers not
		wait(look)
		if err := r.valid(); err != nil || r.changed.Load() != 1 {
			t.Errorf("within one look: %v, renewed %d times", err, r.changed.Load())
		}
	})
}

func TestASleepForgetsWhatWasBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := w.renewing(w.island("second"), nil)
		defer r.stop()
		w.first().down.Store(true)
		wait(60 * time.Hour) // long enough for the longest wait between attempts
		w.pass(10 * 24 * time.Hour)
		w.first().down.Store(false)
		wait(look)
		if err := r.valid(); err != nil {
			t.Errorf("after failing for long: %v", err)
		}
		r.skew.Store(int64(-2 * time.Hour))
		wait(time.Minute)
		if got := r.active(); got != "clock-skewed" {
			t.Fatalf("warnings %q, want clock-skewed", got)
		}
		w.pass(10 * 24 * time.Hour)
		wait(look)
		if err := r.valid(); err != nil {
			t.Errorf("with a clock that was wrong before: %v", err)
		}
	})
}

func TestAsksEverySigner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, name := range []string{"a", "b", "c"} {
			w.admin(name).down.Store(name != "b")
		}
		w.first().down.Store(true)
		r := w.renewing(w.island("member"), nil)
		defer r.stop()
		wait(40 * time.Hour)
		if r.changed.Load() != 1 || w.islands[2].calls.Load() != 1 {
			t.Errorf("renewed %d times, the only reachable signer was asked %d times; want 1, 1", r.changed.Load(), w.islands[2].calls.Load())
		}
	})
}

func TestRemovedSignerMakesEverybodyRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		second := w.admin("second")
		token, _, err := second.authority.Invite(t.Context(), InviteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r := w.renewing(w.join(second, token, "third"), nil)
		defer r.stop()
		wait(time.Minute)
		k, _ := second.home.Signer()
		if _, err := w.first().authority.RemoveSigner(t.Context(), k.Public()); err != nil {
			t.Fatal(err)
		}
		if err := r.valid(); err == nil {
			t.Fatal("a certificate of a removed signer is good")
		}
		r.renewer.Wake()
		synctest.Wait()
		if err := r.valid(); err != nil || r.changed.Load() != 1 {
			t.Errorf("after waking: %v, renewed %d times", err, r.changed.Load())
		}
	})
}

// TestClocks holds what a clock that is wrong by some minutes, or jumps, does.
func TestClocks(t *testing.T) {
	for _, skew := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			r := w.renewing(w.island("second"), nil)
			defer r.stop()
			r.skew.Store(int64(skew))
			for range 10 {
				wait(24 * time.Hour)
				if err := r.valid(); err != nil || r.active() != "" {
					t.Fatalf("skew %s: %v, warnings %q", skew, err, r.active())
				}
			}
			if r.changed.Load() < 5 || r.changed.Load() > 7 {
				t.Errorf("skew %s: renewed %d times in 10 days, want about 6", skew, r.changed.Load())
			}
		})
	}
	for _, jump := range []time.Duration{-2 * time.Hour, -30 * 24 * time.Hour, 200 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			r := w.renewing(w.island("second"), nil)
			defer r.stop()
			wait(time.Hour)
			r.skew.Store(int64(jump)) // this island's clock only
			wait(10 * 24 * time.Hour)
			if err := r.valid(); err != nil {
				t.Errorf("jump %s: by everybody else's clock: %v", jump, err)
			}
			if got := r.active(); got != "clock-skewed" {
				t.Errorf("jump %s: warnings %q, want clock-skewed", jump, got)
			}
			if r.changed.Load() > 20 {
				t.Errorf("jump %s: renewed %d times in 10 days: the wrong clock costs signatures", jump, r.changed.Load())
			}
			r.skew.Store(int64(0))
			wait(time.Minute)
			if got := r.active(); got != "" || r.valid() != nil {
				t.Errorf("jump %s undone: warnings %q, %v", jump, got, r.valid())
			}
		})
	}
}

func TestRenewBelievesNobody(t *testing.T) {
	w := newWorld(t)
	second := w.admin("second")
	mallory, node := newKey(t), second.home.Node().Public()
	reg := registrar{home: second.home, trust: w.docs.Trust}
	good := trust.Certificate{
		Network: w.founding.Network, Key: node, Name: "second", Role: trust.RoleAdmin,
		NotBefore: w.now(), NotAfter: w.now().Add(time.Hour), Serial: 1,
	}
	signer, _ := w.first().home.Signer()
	forOther := good
	forOther.Key = newKey(t).Public()
	elsewhere := good
	elsewhere.Network = trust.NetworkOf(mallory.Public())
	torn := trust.Issue(signer, good)
	torn.Body = torn.GetBody()[:len(torn.GetBody())-1]
	for name, m := range map[string]*trustpb.Certificate{
		"none": nil, "of an untrusted signer": trust.Issue(mallory, good), "for another key": trust.Issue(signer, forOther),
		"of another network": trust.Issue(signer, elsewhere), "torn": torn,
	} {
		if c, err := reg.check(m, node, nil); err == nil {
			t.Errorf("a certificate %s was believed: %+v", name, c)
		}
	}
	if _, err := reg.check(trust.Issue(signer, good), node, nil); err != nil {
		t.Error(err)
	}
}

func TestRenewIsForMembersOnly(t *testing.T) {
	w := newWorld(t)
	gone := w.island("gone")
	if _, err := w.first().authority.Revoke(t.Context(), RevokeOptions{Member: "gone"}); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]*island{"revoked": gone, "stranger": {world: w, home: w.applicantHome(newKey(t))}} {
		var out meshpb.RenewResponse
		err := (&call{from: from, to: w.first()}).Invoke(t.Context(), meshpb.Membership_Renew_FullMethodName, &meshpb.RenewRequest{}, &out)
		if err == nil || !strings.Contains(err.Error(), "PermissionDenied") || out.GetCertificate() != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	plain := w.island("plain")
	var out meshpb.RenewResponse
	err := (&call{from: w.first(), to: plain}).Invoke(t.Context(), meshpb.Membership_Renew_FullMethodName, &meshpb.RenewRequest{}, &out)
	if err == nil || !strings.Contains(err.Error(), "FailedPrecondition") {
		t.Errorf("an island without a signer key: %v, want FailedPrecondition", err)
	}
}

func TestWarnsWhoIsNoMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := w.renewing(w.island("gone"), nil)
		defer r.stop()
		wait(look)
		if got := r.active(); got != "" {
			t.Errorf("as a member: %q", got)
		}
		if _, err := w.first().authority.Revoke(t.Context(), RevokeOptions{Member: "gone", Reason: "disk stolen"}); err != nil {
			t.Fatal(err)
		}
		wait(2 * look)
		if got := r.active(); got != "not-a-member" {
			t.Fatalf("once it is revoked: %q", got)
		}
		if text := r.health.Active()[0].Text; !strings.Contains(text, "disk stolen") {
			t.Errorf("it says %q", text)
		}
	})
}

func TestRepeatedRenewalsCostOneSignature(t *testing.T) {
	w := newWorld(t)
	i := w.island("second")
	before := len(w.first().log.actions())
	for range 50 {
		if _, err := w.first().authority.Renew(t.Context(), i.home.Node().Public()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.first().log.actions()) - before; n > 1 {
		t.Errorf("%d entries in the audit log for 50 calls at once, want at most 1", n)
	}
}

// applicantHome is the home of somebody who made a network of their own.
func (w *world) applicantHome(node trust.PrivateKey) *trust.Home {
	w.t.Helper()
	home, err := trust.OpenHome(w.t.TempDir())
	if err != nil {
		w.t.Fatal(err)
	}
	network := trust.NetworkOf(node.Public())
	c, err := trust.OpenCertificate(trust.Issue(node, trust.Certificate{
		Network: network, Key: node.Public(), Name: "x", Role: trust.RoleAdmin, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
	}))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := home.Enrol(trust.Enrolment{Network: network, Node: node, Certificate: c}); err != nil {
		w.t.Fatal(err)
	}
	return home
}
