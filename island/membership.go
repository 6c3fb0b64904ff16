package island

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/enrol"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/portal/access"
	"github.com/atoll-mesh/atoll/replica"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// membership is what an island has while it belongs to a network: the shared
// documents, the trust that follows from them, and the mesh.
type membership struct {
	island *Island
	log    *slog.Logger
	home   *trust.Home
	audit  *trust.Audit
	state  atomic.Pointer[trust.State]
	eval   *trust.Evaluator

	registry  *prometheus.Registry
	endHealth func()

	documents *replica.Replica
	authority *enrol.Authority
	// mesh is nil until it is built, and replaced when the node key is.
	mesh atomic.Pointer[mesh.Mesh]
	run  running
	// holders are who keeps copies of whom.
	holders *holders
	// hearing lets one word of the roots be judged at a time.
	hearing sync.Mutex
	// changed is signalled when trust changed, for what follows from it later.
	changed chan struct{}
}

// identity is who the island is in a network it belongs to or is about to.
type identity struct {
	network trust.NetworkID
	node    func() trust.PrivateKey
}

// meshDir holds keys, audit log and address book; replicaFile the documents.
func meshDir(dataDir string) string     { return filepath.Join(dataDir, "mesh") }
func replicaFile(dataDir string) string { return filepath.Join(dataDir, "replica", "documents.db") }

func auditFile(dataDir string) string { return filepath.Join(meshDir(dataDir), "audit.jsonl") }

// openMembership opens documents and audit log. Nothing runs yet.
func (i *Island) openMembership(home *trust.Home, who identity) (*membership, error) {
	dir := i.Config().Island.DataDir
	m := &membership{
		island: i, log: i.room("membership"), home: home, eval: trust.NewEvaluator(who.network),
		registry: prometheus.NewRegistry(), endHealth: func() {}, changed: make(chan struct{}, 1),
	}
	m.holders = &holders{m: m}
	state, _ := m.eval.Evaluate(nil)
	m.state.Store(state)
	var err error
	if m.audit, err = trust.OpenAudit(auditFile(dir), who.network, who.node); err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	lease, end := i.health.Lease()
	m.endHealth = end
	m.documents, err = replica.New(replica.Options{
		Config: i.Config().Replica, Path: replicaFile(dir), Network: who.network, Author: who.node, Signer: home.Signer,
		Rights: m, Validate: i.validateDocument, Secret: []string{access.KindUsers, access.KindTokens}, Peers: reachable{m}, Caller: caller, Quarantined: m.quarantined, RootOf: m.rootOf,
		Announce: m.announce, Logger: i.room("replica"), Registerer: m.registry, Health: lease,
	})
	if err != nil {
		end()
		return nil, errors.Join(err, m.audit.Close())
	}
	m.authority, err = enrol.NewAuthority(enrol.AuthorityOptions{
		Config: i.Config().Membership, Home: home, Documents: m.documents, Trust: m.state.Load, Log: m.audit,
		Conns: m.conn, Bootstrap: m.bootstrap, Logger: m.log, Registerer: m.registry,
	})
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

func (m *membership) close() error {
	m.endHealth()
	return errors.Join(m.documents.Close(), m.audit.Close())
}

// Permit implements replica.Rights.
func (m *membership) Permit(d *replicapb.Document) error { return m.state.Load().Permit(d) }

// Learn implements replica.Rights: trust is what follows from the documents.
func (m *membership) Learn(docs []*replicapb.Document) {
	state, refusals := m.eval.Evaluate(docs)
	for _, r := range refusals {
		m.log.Warn("document of trust does not count", "document", r.Document.GetKey(), "reason", r.Reason)
	}
	m.state.Store(state)
	if running := m.mesh.Load(); running != nil {
		running.TrustChanged()
	}
	select {
	case m.changed <- struct{}{}:
	default: // one is pending
	}
}

// follow does what a change of trust asks of this island: renew a certificate
// whose signer is gone, take over from keys of its own that were replaced.
func (m *membership) follow(ctx context.Context) error {
	for {
		m.run.renewer.Wake()
		if err := m.authority.Resume(ctx); err != nil && ctx.Err() == nil {
			m.log.Warn("a change of keys is not finished", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.changed:
		}
	}
}

func (m *membership) announce(ctx context.Context, hint []byte) {
	running := m.mesh.Load()
	if running == nil {
		return
	}
	if err := running.Announce(ctx, hint); err != nil && ctx.Err() == nil {
		m.log.Debug("announcement not sent; comparing documents will carry it", "error", err)
	}
}

// conn implements enrol.Conns.
func (m *membership) conn(_ context.Context, peer trust.Key) (grpc.ClientConnInterface, error) {
	running := m.mesh.Load()
	if running == nil {
		return nil, mesh.ErrNotReady
	}
	return running.Conn(peer, rpc.Urgent)
}

// bootstrap lists where a guest may knock: here, and at islands that are
// connected directly and so have an address that works.
func (m *membership) bootstrap() []trust.Bootstrap {
	running := m.mesh.Load()
	if running == nil {
		return nil
	}
	return running.Bootstrap(maxBootstrap)
}

// maxBootstrap keeps a token short enough to be pasted.
const maxBootstrap = 4

// reachable are the peers that documents are compared with.
type reachable struct{ m *membership }

func (r reachable) Connected() []trust.Key {
	if running := r.m.mesh.Load(); running != nil {
		return running.Connected()
	}
	return nil
}

func (r reachable) Conn(peer trust.Key) (grpc.ClientConnInterface, error) {
	if running := r.m.mesh.Load(); running != nil {
		return running.Conn(peer, rpc.Normal)
	}
	return nil, mesh.ErrNotReady
}

func caller(ctx context.Context) (trust.Key, bool, bool) {
	c, ok := rpc.CallerFrom(ctx)
	return c.Key, c.Quarantined, ok
}

func callerKey(ctx context.Context) (trust.Key, bool) {
	c, ok := rpc.CallerFrom(ctx)
	return c.Key, ok
}

func (m *membership) quarantined(peer trust.Key) bool {
	running := m.mesh.Load()
	return running != nil && running.Quarantined(peer)
}

// rootOf is the digest of all documents that a peer told when it said hello.
func (m *membership) rootOf(peer trust.Key) []byte {
	if running := m.mesh.Load(); running != nil {
		return running.RootOf(peer)
	}
	return nil
}

// self is this island's own entry in the roster; nil while it has none.
func (m *membership) self() *trust.Member {
	self, _ := m.state.Load().MemberByKey(m.home.Node().Public())
	return self
}

// labels are what documents may select islands by.
func (m *membership) labels() map[string]string {
	cfg := m.island.Config()
	out := map[string]string{"island": cfg.Island.Name}
	for k, v := range cfg.Island.Labels {
		out[k] = v
	}
	if self := m.self(); self != nil {
		for k, v := range self.Labels {
			out[k] = v
		}
		out["island"] = self.Name
	}
	return out
}

// connectedWithin waits until an island is connected, or no other is known, or
// the time is over.
func (m *membership) connectedWithin(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(reachable{m}.Connected()) == 0 && m.state.Load().Len() > 1 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// find names a member by name or key.
func (m *membership) find(name string) (*trust.Member, error) {
	state := m.state.Load()
	if member, ok := state.Member(name); ok {
		return member, nil
	}
	if key, err := trust.ParseKey(name); err == nil {
		if member, ok := state.MemberByKey(key); ok {
			return member, nil
		}
	}
	names := make([]string, 0, state.Len())
	for _, member := range state.Members() {
		names = append(names, member.Name)
	}
	if len(names) > 12 {
		names = append(slices.Clip(names[:12]), "...")
	}
	return nil, fmt.Errorf("%q: no member goes by that name; there are %v", name, names)
}
