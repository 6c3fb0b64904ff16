package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/atoll-mesh/atoll/lab"
	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/enrol"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/replica"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// settlersVariable says what the settlers of one host are, for this test binary,
// started again there.
const settlersVariable = "ATOLL_SETTLERS"

// settlement is many islands in one process on one host: each with keys, documents,
// trust and mesh of its own, without the rooms that collect and store, so that two
// cores carry sixty of them.
type settlement struct {
	Dir, Token, Gate string
	Settlers         []settlerAt
	// Members is how many there must be in the end.
	Members int
}

type settlerAt struct {
	Name    string
	Address netip.Addr
	Port    int
}

// settled is what became of them.
type settled struct {
	Tries  int
	Errors []string
}

// settle starts a settlement on a host; the returned function waits until all are
// members that know all and reach the gate.
func (s settlement) settle(t *testing.T, node *lab.Node) (wait func() settled) {
	t.Helper()
	s.Dir = t.TempDir()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := node.Command(ctx, self, "-test.run=^TestSettlers$", "-test.timeout=20m")
	cmd.Env = append(os.Environ(), settlersVariable+"="+string(text))
	log := &logBuffer{}
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer cancel()
		_ = in.Close() // which ends it
		if err := cmd.Wait(); err != nil {
			t.Errorf("the settlers on %s: %v\n%s", node.Name(), err, log.tail(40))
		}
	})
	return func() (got settled) {
		if err := json.NewDecoder(out).Decode(&got); err != nil {
			t.Fatalf("hear from the settlers on %s: %v\n%s", node.Name(), err, log.tail(40))
		}
		return got
	}
}

// TestSettlers is the process that runs many islands; as a test of its own there is
// nothing to do.
func TestSettlers(t *testing.T) {
	text := os.Getenv(settlersVariable)
	if text == "" {
		t.Skip("skipped: this is the process that TestSixtyBehindOne… start")
	}
	var s settlement
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got := settled{}
	var tries atomic.Int64
	var mu sync.Mutex
	var settling, running sync.WaitGroup
	for _, at := range s.Settlers {
		settling.Go(func() {
			err := s.run(ctx, at, &tries, &running)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				got.Errors = append(got.Errors, fmt.Sprintf("%s: %v", at.Name, err))
			}
		})
	}
	settling.Wait()
	got.Tries = int(tries.Load())
	if err := json.NewEncoder(os.Stdout).Encode(got); err != nil {
		t.Error(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until who started it closes it, or is gone
	cancel()
	running.Wait()
}

// settler is an island without the rooms that collect and store.
type settler struct {
	home  *trust.Home
	eval  *trust.Evaluator
	state atomic.Pointer[trust.State]
	docs  *replica.Replica
	mesh  atomic.Pointer[mesh.Mesh]
}

// run has one settler join, and returns when it knows all and reaches the gate. It
// goes on running until ctx ends.
func (s settlement) run(ctx context.Context, at settlerAt, tries *atomic.Int64, running *sync.WaitGroup) error {
	token, err := trust.ParseToken(s.Token)
	if err != nil {
		return err
	}
	i, err := newSettler(filepath.Join(s.Dir, at.Name), token.Network)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		tries.Add(1)
		if err = i.join(ctx, token, at.Name); err == nil {
			break
		}
		if try+1 == crowdTries {
			return errors.Join(err, i.docs.Close())
		}
	}
	if err := i.start(ctx, at, running); err != nil {
		return err
	}
	return i.arrive(ctx, s)
}

func newSettler(dir string, network trust.NetworkID) (*settler, error) {
	home, err := trust.OpenHome(dir)
	if err != nil {
		return nil, err
	}
	i := &settler{home: home, eval: trust.NewEvaluator(network)}
	i.Learn(nil)
	i.docs, err = replica.New(replica.Options{
		Config: replica.Default(), Path: filepath.Join(dir, "documents.db"), Network: network, Rights: i, Peers: i, Author: home.Node,
		Caller: func(ctx context.Context) (trust.Key, bool, bool) {
			c, ok := rpc.CallerFrom(ctx)
			return c.Key, c.Quarantined, ok
		},
		Quarantined: func(k trust.Key) bool { return i.mesh.Load().Quarantined(k) },
		RootOf:      func(k trust.Key) []byte { return i.mesh.Load().RootOf(k) },
		Announce: func(ctx context.Context, hint []byte) {
			if m := i.mesh.Load(); m != nil {
				_ = m.Announce(ctx, hint)
			}
		},
	})
	return i, err
}

// join makes it a member.
func (i *settler) join(ctx context.Context, token trust.Token, name string) error {
	a, err := enrol.NewApplicant(enrol.ApplicantOptions{
		Home: i.home, Token: token, Name: name,
		Seed: func(ctx context.Context, _ trust.NetworkID, docs []*replicapb.Document, peers []trust.Bootstrap) error {
			return errors.Join(i.docs.Put(ctx, docs...), mesh.Remember(i.home.Dir(), append(peers, token.Bootstrap...)))
		},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	answer, err := mesh.Knock(ctx, token, a.Request(), nil)
	if err != nil {
		return err
	}
	_, err = a.Complete(ctx, answer)
	return err
}

// start runs it until ctx ends.
func (i *settler) start(ctx context.Context, at settlerAt, running *sync.WaitGroup) error {
	c := mesh.Default()
	c.Port, c.Addresses, c.Discovery.MDNS = at.Port, []string{at.Address.String()}, false
	m, err := mesh.New(mesh.Options{
		Config: c, Identity: i.home.Node(), Network: i.home.Network(), Trust: i.state.Load, ReplicaRoot: i.docs.Root,
		Certificate: i.home.Certificate().Message, Dir: i.home.Dir(), Version: "atoll lab",
		Redeem: func(context.Context, trust.Key, *meshpb.JoinRequest) (*meshpb.JoinResponse, error) {
			return nil, errors.New("nobody joins here")
		},
	})
	if err != nil {
		return err
	}
	i.mesh.Store(m)
	i.docs.Register(i)
	m.OnAnnounce(i.docs.Heard)
	m.OnConnected(i.docs.Connected)
	failed := make(chan error, 2)
	var parts sync.WaitGroup
	for _, part := range []func(context.Context) error{i.docs.Run, m.Run} {
		parts.Go(func() {
			if err := part(ctx); err != nil {
				failed <- err
			}
		})
	}
	running.Go(func() {
		parts.Wait()
		if err := i.docs.Close(); err != nil {
			fmt.Fprintln(os.Stderr, at.Name, err)
		}
	})
	select {
	case <-m.Ready():
		return nil
	case err := <-failed:
		return err
	}
}

// arrive waits until it knows all members and the gate answers.
func (i *settler) arrive(ctx context.Context, s settlement) error {
	ctx, cancel := context.WithTimeout(ctx, crowdPatience)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var err error
	for {
		state := i.state.Load()
		gate, ok := state.Member(s.Gate)
		switch {
		case state.Len() != s.Members:
			err = fmt.Errorf("it knows %d members, want %d", state.Len(), s.Members)
		case !ok:
			err = fmt.Errorf("%s is not in the roster", s.Gate)
		default:
			if err = i.ping(ctx, gate.Key); err == nil {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", crowdPatience, err)
		}
	}
}

func (i *settler) ping(ctx context.Context, k trust.Key) error {
	pongs, err := i.mesh.Load().Ping(ctx, k, 1)
	for _, p := range pongs {
		err = errors.Join(err, p.Err)
	}
	return err
}

// Permit implements replica.Rights.
func (i *settler) Permit(d *replicapb.Document) error { return i.state.Load().Permit(d) }

// Learn implements replica.Rights.
func (i *settler) Learn(docs []*replicapb.Document) {
	state, _ := i.eval.Evaluate(docs)
	i.state.Store(state)
	if m := i.mesh.Load(); m != nil {
		m.TrustChanged()
	}
}

// Connected implements replica.Peers.
func (i *settler) Connected() []trust.Key { return i.mesh.Load().Connected() }

// Conn implements replica.Peers.
func (i *settler) Conn(k trust.Key) (grpc.ClientConnInterface, error) {
	return i.mesh.Load().Conn(k, rpc.Normal)
}

// RegisterService implements grpc.ServiceRegistrar for the replica's service.
func (i *settler) RegisterService(desc *grpc.ServiceDesc, impl any) {
	err := i.mesh.Load().RegisterService(desc, impl, map[string]rpc.Rule{
		replicapb.Replica_Sync_FullMethodName: {AnyMember: true, Class: rpc.Normal, Quarantined: true},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "register the replica:", err)
	}
}
