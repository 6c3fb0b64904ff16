package island

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/mesh/enrol"
	"github.com/atoll-mesh/atoll/replica"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

const (
	// knockTimeout bounds the conversation at the door.
	knockTimeout = time.Minute
	// firstContact is how long a join waits for the first connection as a member.
	firstContact = 10 * time.Second
	// rotationRetry is the first wait, doubled each time, of a rotation that could
	// not be finished.
	rotationRetry = time.Second
)

// Init makes a network in the data directory of an island that is not running.
func Init(ctx context.Context, cfg *config.Config, req control.InitRequest) (control.InitResult, error) {
	home, err := trust.OpenHome(meshDir(cfg.Island.DataDir))
	if err != nil {
		return control.InitResult{}, err
	}
	return initHome(ctx, cfg, home, req)
}

func initHome(ctx context.Context, cfg *config.Config, home *trust.Home, req control.InitRequest) (control.InitResult, error) {
	f, err := enrol.Init(ctx, enrol.InitOptions{
		Home: home, Network: req.Network, Island: cfg.Island.Name, Labels: cfg.Island.Labels,
		CertificateLifetime: time.Duration(cfg.Membership.CertificateLifetime),
		Seed: func(ctx context.Context, network trust.NetworkID, docs []*replicapb.Document) error {
			return seed(ctx, cfg, network, docs)
		},
		Record: recorder(cfg),
	})
	if err != nil {
		return control.InitResult{}, err
	}
	return control.InitResult{
		Network: req.Network, NetworkID: f.Network.String(), Island: cfg.Island.Name, Key: f.Node.String(),
		Recovery: enrol.FormatRecovery(f.Recovery), RootFile: filepath.Join(home.Dir(), "root.key"),
	}, nil
}

// Join makes an island that is not running a member of a network.
func Join(ctx context.Context, cfg *config.Config, req control.JoinRequest) (control.JoinResult, error) {
	home, err := trust.OpenHome(meshDir(cfg.Island.DataDir))
	if err != nil {
		return control.JoinResult{}, err
	}
	begin := time.Now()
	joined, err := joinHome(ctx, cfg, home, req)
	if err != nil {
		return control.JoinResult{}, err
	}
	state, _ := trust.Evaluate(joined.Network, joined.Documents)
	return control.JoinResult{
		Network: joined.NetworkName, NetworkID: joined.Network.String(), Island: joined.Member.Name,
		Role: joined.Member.Role, Members: state.Len(), Seconds: time.Since(begin).Seconds(),
	}, nil
}

// joinHome redeems a token: afterwards the home is enrolled, the documents of
// trust are in the replica's file and the first peers in the address book.
func joinHome(ctx context.Context, cfg *config.Config, home *trust.Home, req control.JoinRequest) (*enrol.Joined, error) {
	token, err := trust.ParseToken(req.Token)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	applicant, err := enrol.NewApplicant(enrol.ApplicantOptions{
		Home: home, Token: token, Name: cfg.Island.Name, Labels: req.Labels,
		Seed: func(ctx context.Context, network trust.NetworkID, docs []*replicapb.Document, peers []trust.Bootstrap) error {
			return errors.Join(seed(ctx, cfg, network, docs), mesh.Remember(home.Dir(), append(peers, token.Bootstrap...)))
		},
		Record: recorder(cfg),
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, knockTimeout)
	defer cancel()
	answer, err := mesh.Knock(ctx, token, applicant.Request(), nil)
	if err != nil {
		return nil, err
	}
	return applicant.Complete(ctx, answer)
}

// seed puts documents of trust into the file that the island will open. One of
// another network, from a membership or an attempt at one that was cut short, is
// replaced: nobody is in that network here any more.
func seed(ctx context.Context, cfg *config.Config, network trust.NetworkID, docs []*replicapb.Document) error {
	path := replicaFile(cfg.Island.DataDir)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the documents' directory: %w", err)
	}
	r, err := openSeed(cfg, path, network)
	if errors.Is(err, replica.ErrForeign) {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove the documents of another network: %w", err)
		}
		r, err = openSeed(cfg, path, network)
	}
	if err != nil {
		return err
	}
	return errors.Join(r.Put(ctx, docs...), r.Close())
}

func openSeed(cfg *config.Config, path string, network trust.NetworkID) (*replica.Replica, error) {
	rights := &membership{eval: trust.NewEvaluator(network), log: quiet()}
	rights.Learn(nil)
	return replica.New(replica.Options{
		Config: cfg.Replica, Path: path, Network: network, Rights: rights,
		Author:     func() trust.PrivateKey { return trust.PrivateKey{} }, // nothing is written in its own name
		Registerer: prometheus.NewRegistry(),
	})
}

// recorder writes into the audit log of an island that is about to be in a network.
func recorder(cfg *config.Config) enrol.Recorder {
	return func(network trust.NetworkID, node trust.PrivateKey, e trust.AuditEntry) error {
		log, err := trust.OpenAudit(auditFile(cfg.Island.DataDir), network, func() trust.PrivateKey { return node })
		if err != nil {
			return err
		}
		_, err = log.Append(e)
		return errors.Join(err, log.Close())
	}
}

// finishLeaving removes the documents of a network that this island left, where a
// kill came between the end of its keys and the end of these; the configuration
// is then the one without them.
func (i *Island) finishLeaving() error {
	dir := i.Config().Island.DataDir
	home, err := trust.OpenHome(meshDir(dir))
	if err != nil || home.Enrolled() {
		return err
	}
	documents := filepath.Dir(replicaFile(dir))
	if _, err := os.Stat(documents); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.RemoveAll(documents); err != nil {
		return fmt.Errorf("remove the documents of a network that was left: %w", err)
	}
	i.adopt(i.withShared(i.opts.Config))
	return nil
}

// initNetwork makes a network while the island runs, and enters it.
func (i *Island) initNetwork(ctx context.Context, req control.InitRequest) (control.InitResult, error) {
	i.joining.Lock()
	defer i.joining.Unlock()
	home, err := trust.OpenHome(meshDir(i.Config().Island.DataDir))
	if err != nil {
		return control.InitResult{}, err
	}
	made, err := initHome(ctx, i.Config(), home, req)
	if err != nil {
		return control.InitResult{}, err
	}
	return made, i.enter(ctx, home)
}

// joinNetwork redeems a token while the island runs, and enters the network.
func (i *Island) joinNetwork(ctx context.Context, req control.JoinRequest) (control.JoinResult, error) {
	i.joining.Lock()
	defer i.joining.Unlock()
	begin := time.Now()
	home, err := trust.OpenHome(meshDir(i.Config().Island.DataDir))
	if err != nil {
		return control.JoinResult{}, err
	}
	_, err = joinHome(ctx, i.Config(), home, req)
	m := i.membership.Load()
	again := errors.Is(err, enrol.ErrJoined) && m != nil // the same command, given again
	switch {
	case again:
	case err != nil:
		return control.JoinResult{}, err
	default:
		if err := i.enter(ctx, home); err != nil {
			return control.JoinResult{}, err
		}
		m = i.membership.Load()
	}
	m.connectedWithin(ctx, firstContact)
	state := m.state.Load()
	if again && state.Len() > 1 && len(reachable{m}.Connected()) == 0 {
		return control.JoinResult{}, fmt.Errorf("this island is in network %s already, and is connected with no other island of it now; `atoll peers` says why. If it was revoked there, run `atoll leave --force` and join again", state.NetworkName())
	}
	result := control.JoinResult{
		Network: state.NetworkName(), NetworkID: state.Network().String(),
		Members: state.Len(), Seconds: time.Since(begin).Seconds(),
	}
	if self := m.self(); self != nil {
		result.Island, result.Role = self.Name, self.Role
	}
	return result, nil
}

// enter starts everything that an island has as a member.
func (i *Island) enter(ctx context.Context, home *trust.Home) error {
	m, err := i.openMembership(home, identity{home.Network(), home.Node})
	if err != nil {
		return fmt.Errorf("enter the network: %w", err)
	}
	if err := m.build(); err != nil {
		return errors.Join(fmt.Errorf("enter the network: %w", err), m.close())
	}
	i.membership.Store(m)
	m.start()
	select {
	case <-m.mesh.Load().Ready():
	case <-ctx.Done():
	case <-time.After(stopTimeout):
	}
	return nil
}

// startMembership enters the network that the island belongs to, if any.
func (i *Island) startMembership(ctx context.Context) error {
	i.joining.Lock()
	defer i.joining.Unlock()
	home, err := trust.OpenHome(meshDir(i.Config().Island.DataDir))
	if err != nil {
		return err
	}
	if !home.Enrolled() {
		return nil
	}
	if _, cut := home.NextNode(); cut {
		defer i.steps.start("rotation", i.finishRotation)
	}
	return i.enter(ctx, home)
}

// leaveNetwork says farewell and forgets the network.
func (i *Island) leaveNetwork(ctx context.Context, req control.LeaveRequest) (control.LeaveResult, error) {
	i.joining.Lock()
	defer i.joining.Unlock()
	m, running, err := i.member()
	if err != nil {
		return control.LeaveResult{}, err
	}
	res := control.LeaveResult{Network: m.state.Load().NetworkName(), Told: len(running.Connected())}
	err = enrol.Leave(ctx, enrol.LeaveOptions{
		Home: m.home, Documents: m.documents, Trust: m.state.Load, Log: m.audit, Spread: m.spread, Force: req.Force,
		HandOver: i.handOver,
	})
	if err != nil {
		i.getRooms().aggregate.Stay()
		return res, err
	}
	err = i.exit(m)
	i.getRooms().aggregate.Leave()
	err = errors.Join(err, i.getRooms().replicate.Forget())
	return res, errors.Join(err, os.RemoveAll(filepath.Dir(replicaFile(i.Config().Island.DataDir))), i.clearShared())
}

// exit stops what an island has as a member; nothing on disk is touched.
func (i *Island) exit(m *membership) error {
	i.membership.Store(nil)
	return errors.Join(i.steps.end(stopTimeout, meshSteps...), m.close())
}

// spread gives this island's documents to a neighbour. A farewell travels ahead
// of that: who has heard it hangs up, which is as good.
func (m *membership) spread(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	synced := make(chan error, 1)
	go func() { synced <- m.syncAny(ctx) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-synced:
			return err
		case <-tick.C:
			if m.mesh.Load().Dismissed() {
				return nil
			}
		}
	}
}

// syncAny compares documents with those who were connected at first until it
// succeeds with one. It asks again: an answer that broke off may be that of an
// island which has read the news in the midst of it, and says so on the next call.
func (m *membership) syncAny(ctx context.Context) error {
	last := errors.New("not connected to any")
	peers := (reachable{m}).Connected()
	for {
		for _, peer := range peers {
			_, err := m.documents.Sync(ctx, peer)
			if err == nil {
				return nil
			}
			last = err
		}
		select {
		case <-ctx.Done():
			return errors.Join(last, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// finishRotation takes up a change of the node key that was cut short: the others
// may know this island by the new key only.
func (i *Island) finishRotation(ctx context.Context) error {
	for wait := rotationRetry; i.rotateStaged(ctx); wait = min(2*wait, time.Minute) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
	<-ctx.Done()
	return nil
}

// rotateStaged reports whether there is still something to finish.
func (i *Island) rotateStaged(ctx context.Context) bool {
	i.joining.Lock()
	defer i.joining.Unlock()
	m := i.membership.Load()
	if m == nil {
		return false
	}
	if _, staged := m.home.NextNode(); !staged {
		return false
	}
	m.connectedWithin(ctx, firstContact)
	_, err := i.changeNode(ctx, m)
	if err != nil && ctx.Err() == nil {
		m.log.Warn("the change of the node key that was cut short is not finished yet", "error", err)
	}
	return err != nil
}

// rotateNode changes the node key and comes back under the new one.
func (i *Island) rotateNode(ctx context.Context) (control.RotateResult, error) {
	i.joining.Lock()
	defer i.joining.Unlock()
	m, _, err := i.member() // not earlier: a rotation before this one replaces it
	if err != nil {
		return control.RotateResult{}, err
	}
	return i.changeNode(ctx, m)
}

// changeNode is rotateNode for who holds joining.
func (i *Island) changeNode(ctx context.Context, m *membership) (control.RotateResult, error) {
	r, err := enrol.RotateNode(ctx, enrol.RotateOptions{
		Home: m.home, Trust: m.state.Load, Conns: m.conn, Local: m.authority, Log: m.audit,
	})
	if err != nil {
		return control.RotateResult{}, err
	}
	res := rotated([]trust.Key{r.Old}, r.New, "the old key stays good for a while, for islands that have not heard yet")
	// The others know this island by the new key only: whatever did not end of the
	// old membership, it must come back.
	if err := i.exit(m); err != nil {
		m.log.Warn("what ran under the old key did not end well", "error", err)
	}
	return res, i.enter(ctx, m.home)
}

// joinFirst redeems the token that the island was started with.
func (i *Island) joinFirst(ctx context.Context) error {
	if i.opts.Join == nil {
		return nil
	}
	joined, err := i.joinNetwork(ctx, *i.opts.Join)
	if errors.Is(err, enrol.ErrJoined) {
		return nil // by an earlier run of the same command
	}
	if err == nil && i.opts.Joined != nil {
		i.opts.Joined(joined)
	}
	return err
}

// prepareMembership refuses what the mesh cannot change while it runs.
func (i *Island) prepareMembership(next *config.Config) (commit, discard func(), err error) {
	now := i.Config()
	m := i.membership.Load()
	if m == nil {
		return func() {}, func() {}, nil
	}
	for name, same := range map[string]bool{
		"mesh":       reflect.DeepEqual(now.Mesh, next.Mesh),
		"membership": now.Membership == next.Membership,
		"witness":    now.Witness == next.Witness,
	} {
		if !same {
			return nil, nil, fmt.Errorf("%s: cannot change while running; restart the island for it", name)
		}
	}
	return m.documents.Prepare(next.Replica)
}
