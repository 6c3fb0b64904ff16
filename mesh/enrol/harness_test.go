package enrol

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// errKilled is what a step panics with where the process is to die.
var errKilled = errors.New("killed")

// killer ends the process at its at-th step, 0 for never.
type killer struct {
	at, n int
	last  string
}

func (k *killer) step(name string) {
	if k == nil {
		return
	}
	k.n++
	k.last = name
	if k.n == k.at {
		panic(errKilled)
	}
}

// survive runs do and reports whether it lived to its end.
func survive(do func()) (lived bool) {
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); !ok || !errors.Is(err, errKilled) {
				panic(p)
			}
			lived = false
		}
	}()
	do()
	return true
}

// memory is a replica that all islands share: every version is kept, the newest
// permitted one is in force.
type memory struct {
	network trust.NetworkID
	now     func() time.Time
	kill    *killer
	fail    error

	mu       sync.Mutex
	clock    uint64
	versions map[string][]*replicapb.Document
	force    map[string]*replicapb.Document
	state    *trust.State
}

func newMemory(network trust.NetworkID, now func() time.Time) *memory {
	state, _ := trust.Evaluate(network, nil)
	return &memory{network: network, now: now, versions: map[string][]*replicapb.Document{}, force: map[string]*replicapb.Document{}, state: state}
}

func (m *memory) Trust() *trust.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

func (m *memory) Get(key string) (*replicapb.Document, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d, ok := m.force[key]; ok && !d.GetDeleted() {
		return d, nil
	}
	return nil, fmt.Errorf("document %s: not found", key)
}

func (m *memory) List(prefix string) []*replicapb.Document {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*replicapb.Document
	for k, d := range m.force {
		if strings.HasPrefix(k, prefix) && !d.GetDeleted() {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b *replicapb.Document) int { return strings.Compare(a.GetKey(), b.GetKey()) })
	return out
}

func (m *memory) History(key string) []*replicapb.Document {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.versions[key]), func(d *replicapb.Document) bool { return d == m.force[key] })
}

func (m *memory) Now() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock = max(m.clock+1, trust.TimeOfDocument(m.now()))
	return m.clock
}

func (m *memory) Put(ctx context.Context, docs ...*replicapb.Document) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.kill.step("before Put")
	if m.fail != nil {
		return m.fail
	}
	err := m.put(docs)
	m.kill.step("after Put")
	return err
}

func (m *memory) put(docs []*replicapb.Document) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	pending := slices.Clone(docs)
	slices.SortStableFunc(pending, func(a, b *replicapb.Document) int {
		return trust.Order(a.GetKey()) - trust.Order(b.GetKey())
	})
	for {
		var errs []error
		var left []*replicapb.Document
		for _, d := range pending {
			if err := m.take(d); err != nil {
				errs, left = append(errs, err), append(left, d)
			}
		}
		m.learn()
		if len(left) == len(pending) || len(left) == 0 {
			m.settle()
			return errors.Join(errs...)
		}
		pending = left
	}
}

func (m *memory) take(d *replicapb.Document) error {
	if err := trust.VerifyDocument(m.network, d); err != nil {
		return err
	}
	if err := m.state.Permit(d); err != nil {
		return err
	}
	if cur := m.force[d.GetKey()]; cur != nil && !trust.Newer(d, cur) && !bytes.Equal(cur.GetSignature(), d.GetSignature()) {
		return fmt.Errorf("document %s: outdated", d.GetKey())
	}
	m.clock = max(m.clock, d.GetTime())
	m.versions[d.GetKey()] = append(m.versions[d.GetKey()], d)
	m.force[d.GetKey()] = d
	if d.GetKey() == trust.NetworkDocument {
		m.learn()
	}
	return nil
}

func (m *memory) learn() {
	var docs []*replicapb.Document
	for _, d := range m.force {
		docs = append(docs, d)
	}
	m.state, _ = trust.Evaluate(m.network, docs)
}

// settle puts in force the newest permitted version of each document.
func (m *memory) settle() {
	for range 8 {
		changed := false
		for key, all := range m.versions {
			var best *replicapb.Document
			for _, d := range all {
				if m.state.Permit(d) == nil && (best == nil || trust.Newer(d, best)) {
					best = d
				}
			}
			if m.force[key] == best || best == nil && m.force[key] == nil {
				continue
			}
			changed = true
			if m.force[key] = best; best == nil {
				delete(m.force, key)
			}
		}
		if !changed {
			return
		}
		m.learn()
	}
}

// book is an audit log without a disk.
type book struct {
	kill *killer
	fail error

	mu      sync.Mutex
	entries []trust.AuditEntry
}

func (b *book) Append(e trust.AuditEntry) (trust.AuditEntry, error) {
	b.kill.step("before Append")
	if b.fail != nil {
		return e, b.fail
	}
	b.mu.Lock()
	b.entries = append(b.entries, e)
	b.mu.Unlock()
	b.kill.step("after Append")
	return e, nil
}

func (b *book) actions() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, e := range b.entries {
		out = append(out, e.Action)
	}
	return out
}

// world is a network whose islands reach each other by function calls.
type world struct {
	t         testing.TB
	docs      *memory
	founding  *Founding
	offset    atomic.Int64 // nanoseconds of the wall clock of all islands but those that have their own
	mu        sync.Mutex
	islands   []*island
	callsKill *killer
}

type island struct {
	world     *world
	name, dir string
	home      *trust.Home
	authority *Authority
	log       *book
	down      atomic.Bool
	calls     atomic.Int64
	oldNode   trust.PrivateKey
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.offset.Load())) }

// pass lets the wall clocks go on, or back, while timers stand still.
func (w *world) pass(d time.Duration) { w.offset.Add(int64(d)) }

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t}
	first := &island{world: w, name: "first", dir: t.TempDir(), log: &book{}}
	first.open()
	f, err := Init(t.Context(), InitOptions{
		Home: first.home, Network: "testnet", Island: "first", Labels: map[string]string{"region": "eu"}, Now: w.now,
		Seed: func(ctx context.Context, n trust.NetworkID, docs []*replicapb.Document) error {
			w.docs = newMemory(n, w.now)
			return w.docs.Put(ctx, docs...)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.founding = f
	w.add(first)
	return w
}

func (i *island) open() {
	i.world.t.Helper()
	home, err := trust.OpenHome(i.dir)
	if err != nil {
		i.world.t.Fatal(err)
	}
	i.home = home
}

func (w *world) add(i *island) {
	w.t.Helper()
	a, err := NewAuthority(AuthorityOptions{
		Home: i.home, Documents: w.docs, Trust: w.docs.Trust, Log: i.log, Conns: i.conns, Now: w.now,
		Bootstrap: func() []trust.Bootstrap {
			return []trust.Bootstrap{{Key: i.home.Node().Public(), Addresses: [][]byte{{4, 127, 0, 0, 1, 6, 1, 1}}}}
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	i.authority = a
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.islands, i) {
		w.islands = append(w.islands, i)
	}
}

func (w *world) first() *island { return w.islands[0] }

// conns reaches an island by any of its present keys.
func (i *island) conns(_ context.Context, peer trust.Key) (grpc.ClientConnInterface, error) {
	i.world.mu.Lock()
	defer i.world.mu.Unlock()
	for _, o := range i.world.islands {
		if o.home.Node().Public() == peer && !o.down.Load() {
			return &call{from: i, to: o}, nil
		}
	}
	return nil, status.Errorf(codes.Unavailable, "island %s cannot be reached", peer.Short())
}

type callerKey struct{}

// call carries one request to another island.
type call struct{ from, to *island }

func (c *call) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	c.from.world.callsKill.step("before " + method)
	c.to.calls.Add(1)
	s := NewServer(c.to.authority, func(ctx context.Context) (trust.Key, bool) {
		k, ok := ctx.Value(callerKey{}).(trust.Key)
		return k, ok
	})
	ctx = context.WithValue(ctx, callerKey{}, c.from.home.Node().Public())
	var res proto.Message
	var err error
	switch method {
	case meshpb.Membership_Renew_FullMethodName:
		res, err = s.Renew(ctx, args.(*meshpb.RenewRequest))
	case meshpb.Membership_Rekey_FullMethodName:
		res, err = s.Rekey(ctx, args.(*meshpb.RekeyRequest))
	case meshpb.Membership_Redeem_FullMethodName:
		res, err = s.Redeem(ctx, args.(*meshpb.RedeemRequest))
	default:
		return status.Error(codes.Unimplemented, method)
	}
	if err != nil {
		return err
	}
	proto.Merge(reply.(proto.Message), res)
	c.from.world.callsKill.step("after " + method)
	return nil
}

func (c *call) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "streams")
}

func (w *world) invite(o InviteOptions) trust.Token {
	w.t.Helper()
	token, _, err := w.first().authority.Invite(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

func (w *world) applicant(dir string, token trust.Token, name string) *Applicant {
	w.t.Helper()
	home, err := trust.OpenHome(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := NewApplicant(ApplicantOptions{Home: home, Token: token, Name: name, Seed: noSeed, Now: w.now})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func noSeed(context.Context, trust.NetworkID, []*replicapb.Document, []trust.Bootstrap) error {
	return nil
}

// join brings a new island in by way of another one.
func (w *world) join(at *island, token trust.Token, name string) *island {
	w.t.Helper()
	i := &island{world: w, name: name, dir: w.t.TempDir(), log: &book{}}
	a := w.applicant(i.dir, token, name)
	res, err := at.authority.Redeem(w.t.Context(), token.Guest().Public(), a.Request())
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := a.Complete(w.t.Context(), res); err != nil {
		w.t.Fatal(err)
	}
	i.home = a.opts.Home
	w.add(i)
	return i
}

func (w *world) admin(name string) *island {
	w.t.Helper()
	return w.join(w.first(), w.invite(InviteOptions{Role: trust.RoleAdmin}), name)
}

func (w *world) island(name string) *island {
	w.t.Helper()
	return w.join(w.first(), w.invite(InviteOptions{}), name)
}

// write makes a document that is not of trust by an island's node key.
func (i *island) write(key, value string) *replicapb.Document {
	i.world.t.Helper()
	d := trust.NewDocument(i.home.Network(), i.home.Node(), key, []byte(value), i.world.docs.Now(), false)
	if err := i.world.docs.Put(i.world.t.Context(), d); err != nil {
		i.world.t.Fatal(err)
	}
	return d
}

func (w *world) standing(k trust.Key) trust.Standing { return w.docs.Trust().Standing(k) }

func (i *island) leaving(spread func(context.Context) error) LeaveOptions {
	i.oldNode = i.home.Node()
	return LeaveOptions{Home: i.home, Documents: i.world.docs, Trust: i.world.docs.Trust, Log: i.log, Spread: spread, Now: i.world.now}
}
