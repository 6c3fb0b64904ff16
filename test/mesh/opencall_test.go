package mesh

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

const (
	// aroundHole is within what a call that is open gets an answer or an error.
	aroundHole = 10 * time.Second
	// longCall is how long a call takes that nobody disturbs.
	longCall = 45 * time.Second
)

// TestOpenCallAcrossBlackHole swallows every packet between two islands while each
// of two calls waits for its answer: the one that may be carried out twice must be
// made again by another path and be answered, the other one fail with an error that
// says why, both within ten seconds. Calls that take that long are of no island's
// own making, so those at both ends are made by this test, over the mesh.
func TestOpenCallAcrossBlackHole(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 10 * time.Millisecond}
	relay, a, b := newSite(t, l.Public("relay", link), "core"), newSite(t, l.Public("a", link), "eu"), newSite(t, l.Public("b", link), "us")
	allUp(relay, a, b)
	found(t, relay, a, b)
	meshed(t, relay, a, b)
	key := b.identity().Key
	a.stop()
	b.stop()
	served := accomplice(t, b, attack{Data: b.data(), Serve: true})
	called := accomplice(t, a, attack{Data: a.data(), Call: key})
	hear(t, served, time.Minute, "handling again-safe 1", "handling once 1")
	unblock := a.node.Uplink().Block(lab.Filter{Remote: netip.PrefixFrom(b.node.SeenFrom(), 32)})
	defer unblock()
	endsAroundHole(t, called, time.Now())
}

// TestOpenCallAcrossLostRelay cuts off the relay that carries two calls between
// islands that have no direct path, while others would carry them too.
func TestOpenCallAcrossLostRelay(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 20 * time.Millisecond}
	var relays []*site
	for _, name := range []string{"r1", "r2", "r3", "r4"} {
		relays = append(relays, newSite(t, l.Public(name, link), "core"))
	}
	a := newSite(t, l.NAT("box-a", lab.PortRestricted, link).Node("a"), "eu")
	b := newSite(t, l.NAT("box-b", lab.Symmetric, link).Node("b"), "us")
	all := append(slices.Clone(relays), a, b)
	allUp(all...)
	found(t, relays[0], all[1:]...)
	meshed(t, all...)
	key := b.identity().Key
	a.stop()
	b.stop()
	served := accomplice(t, b, attack{Data: b.data(), Serve: true})
	called := accomplice(t, a, attack{Data: a.data(), Call: key, Relayed: true})
	hear(t, served, time.Minute, "handling again-safe 1", "handling once 1")
	via := strings.TrimPrefix(hear(t, called, time.Minute, "relayed by ")[0].text, "relayed by ")
	for _, r := range relays {
		if r.name == via {
			t.Logf("cutting off %s", via)
			r.node.Uplink().Cut()
		}
	}
	endsAroundHole(t, called, time.Now())
}

// endsAroundHole fails unless both calls end as they must when their way is lost.
func endsAroundHole(t *testing.T, called <-chan said, began time.Time) {
	t.Helper()
	for _, line := range hear(t, called, longCall/2, "again-safe: answered by 2", "once: failed") {
		t.Logf("after %s: %s", line.at.Sub(began).Round(time.Millisecond), line.text)
		if took := line.at.Sub(began); took > aroundHole {
			t.Errorf("a call hung for %s, want at most %s: %s", took, aroundHole, line.text)
		}
		if strings.HasPrefix(line.text, "once:") && !strings.Contains(line.text, codes.Unavailable.String()) {
			t.Errorf("the call that must not be repeated failed otherwise than because of the connection: %s", line.text)
		}
	}
}

type said struct {
	at   time.Time
	text string
}

// accomplice starts this test binary on an island's host, in the island's place;
// what it says comes line by line.
func accomplice(t *testing.T, s *site, a attack) <-chan said {
	t.Helper()
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := s.node.Command(ctx, self, "-test.run=^TestIntruder$")
	cmd.Env = append(os.Environ(), intruderVariable+"="+string(text))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = s.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan said, 64)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			_, _ = s.log.Write(append(scan.Bytes(), '\n')) // a buffer, which takes all
			select {
			case lines <- said{time.Now(), scan.Text()}:
			default: // nobody waits for so many
			}
		}
	}()
	t.Cleanup(func() {
		defer cancel()
		_ = in.Close() // which ends it
		for range lines {
		}
		_ = cmd.Wait() // the test has judged already what it said
	})
	return lines
}

// hear waits until each beginning of a line was said, in any order.
func hear(t *testing.T, from <-chan said, within time.Duration, want ...string) []said {
	t.Helper()
	late := time.NewTimer(within)
	defer late.Stop()
	got := make([]said, len(want))
	for left := len(want); left > 0; {
		select {
		case line, ok := <-from:
			if !ok {
				t.Fatalf("it ended before it said all of %q", want)
			}
			for n, w := range want {
				if strings.HasPrefix(line.text, w) && got[n].text == "" {
					got[n] = line
					left--
				}
			}
		case <-late.C:
			t.Fatalf("it did not say all of %q within %s, but %v", want, within, got)
		}
	}
	return got
}

// slow answers two methods, the first time late and then at once.
type slow struct {
	meshpb.UnimplementedWitnessServer
	meshpb.UnimplementedMembershipServer
	looks, redeems atomic.Int64
}

func (s *slow) handle(ctx context.Context, what string, n int64) error {
	fmt.Printf("handling %s %d\n", what, n)
	if n > 1 {
		return nil
	}
	select {
	case <-time.After(longCall):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Look may be carried out twice.
func (s *slow) Look(ctx context.Context, _ *meshpb.LookRequest) (*meshpb.LookResponse, error) {
	n := s.looks.Add(1)
	return &meshpb.LookResponse{Reached: true, RttUs: n}, s.handle(ctx, "again-safe", n)
}

// Redeem may not.
func (s *slow) Redeem(ctx context.Context, _ *meshpb.RedeemRequest) (*meshpb.JoinResponse, error) {
	return &meshpb.JoinResponse{}, s.handle(ctx, "once", s.redeems.Add(1))
}

func (s *slow) register(m *mesh.Mesh) error {
	rule := rpc.Rule{AnyMember: true, Class: rpc.Normal, MaxTimeout: 2 * longCall}
	again := rule
	again.Idempotent = true
	return errors.Join(
		m.RegisterService(&meshpb.Witness_ServiceDesc, s, map[string]rpc.Rule{meshpb.Witness_Look_FullMethodName: again}),
		m.RegisterService(&meshpb.Membership_ServiceDesc, s, map[string]rpc.Rule{
			meshpb.Membership_Redeem_FullMethodName: rule, meshpb.Membership_Renew_FullMethodName: rule, meshpb.Membership_Rekey_FullMethodName: rule,
		}),
	)
}

// serveCalls answers until whoever started this process closes its input.
func (a attack) serveCalls(t *testing.T) {
	newTraitor(t, a.Data, new(slow).register)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// openCalls makes both calls once there is a direct path and a relay to fall back on.
func (a attack) openCalls(t *testing.T) {
	tr := newTraitor(t, a.Data, new(slow).register)
	to, err := trust.ParseKey(a.Call)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "a path, and another one to fall back on", func() error {
		for _, p := range tr.mesh.Peers() {
			if p.Key == to {
				return a.mayCall(p)
			}
		}
		return errors.New("it is not in the roster")
	})
	conn, err := tr.Conn(to)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), longCall)
	defer cancel()
	var calls sync.WaitGroup
	calls.Go(func() {
		res, err := meshpb.NewWitnessClient(conn).Look(ctx, &meshpb.LookRequest{Key: to.Bytes()})
		if err != nil {
			fmt.Printf("again-safe: failed: %v: %v\n", status.Code(err), err)
			return
		}
		fmt.Printf("again-safe: answered by %d\n", res.GetRttUs())
	})
	calls.Go(func() {
		_, err := meshpb.NewMembershipClient(conn).Redeem(ctx, &meshpb.RedeemRequest{})
		if err == nil {
			fmt.Println("once: answered")
			return
		}
		fmt.Printf("once: failed: %v: %v\n", status.Code(err), err)
	})
	calls.Wait()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// mayCall is nil when there are the paths that the calls are about.
func (a attack) mayCall(p mesh.PeerStatus) error {
	known := fmt.Sprint(p.Addresses)
	switch {
	case p.State != mesh.StateConnected:
	case !a.Relayed && p.Path == "direct" && strings.Contains(known, "p2p-circuit"):
		return nil
	case a.Relayed && p.Path == "relayed" && relaysIn(p.Addresses) > 1:
		fmt.Printf("relayed by %s\n", p.Via)
		return nil
	}
	return errors.New(show(p))
}

// relaysIn counts the relays that addresses lead through.
func relaysIn(addresses []string) int {
	relays := map[string]bool{}
	for _, text := range addresses {
		if way, _, ok := strings.Cut(text, "/p2p-circuit"); ok {
			relays[way[strings.LastIndex(way, "/")+1:]] = true
		}
	}
	return len(relays)
}
