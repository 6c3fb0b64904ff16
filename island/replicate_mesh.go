package island

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/mesh/witness"
	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/replicate"
	"github.com/atoll-mesh/atoll/store"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicatepb"
)

// copyPrefix is where what islands say of the copies that they keep begins.
const copyPrefix = "copy/"

// copyLate is how late a sample may come into a copy: gaps are filled in any order.
const copyLate = 24 * time.Hour

func (i *Island) buildReplicate(r *rooms, cfg *config.Config) (err error) {
	r.replicate, err = replicate.New(replicate.Options{
		Config: cfg.Replicate, Dir: filepath.Join(cfg.Island.DataDir, "replicate"), Store: r.store, OpenStore: i.openCopy,
		Members: i.copyMembers, Dial: i.dialCopy, External: i.externalLabels,
		Late: func() time.Duration { return time.Duration(i.Config().Store.OutOfOrderWindow) }, Gone: i.goneFor,
		Retention: func() time.Duration { return time.Duration(i.Config().Store.Retention.Time) },
		Logger:    i.room("replicate"), Registerer: i.registry, Health: i.health,
	})
	return err
}

// openCopy makes the store of a copy as this island's own is, but for its bounds.
func (i *Island) openCopy(dir string, keep time.Duration, size flow.Bytes) (replicate.CopyStore, error) {
	cfg := i.Config().Store
	cfg.Path, cfg.MaxExemplars, cfg.WALMetadata = dir, 0, false
	cfg.Retention.Size = size
	if keep > 0 {
		cfg.Retention.Time = model.Duration(keep)
	}
	cfg.OutOfOrderWindow = max(cfg.OutOfOrderWindow, model.Duration(copyLate))
	s, err := store.New(store.Options{Config: cfg, Logger: i.room("replicate")})
	if err != nil {
		return nil, err
	}
	return bounded{s, i.getRooms().budget.Limit(s)}, nil
}

// bounded is a copy's store that keeps within the island's budget.
type bounded struct {
	*store.Store
	door storage.AppendableV2
}

func (b bounded) AppenderV2(ctx context.Context) storage.AppenderV2 { return b.door.AppenderV2(ctx) }

// externalLabels are those at this island's border, but for its name.
func (i *Island) externalLabels() labels.Labels {
	return labels.NewBuilder(i.Config().Prometheus.GlobalConfig.ExternalLabels).Del(config.IslandLabel).Labels()
}

// copyMembers are the islands that hold samples.
func (i *Island) copyMembers() (self replicate.Member, others []replicate.Member, ok bool) {
	m := i.membership.Load()
	if m == nil || m.mesh.Load() == nil || m.self() == nil {
		return self, nil, false
	}
	own, lost := m.home.Node().Public(), m.lost()
	for _, member := range m.state.Load().Members() {
		if !aggregates(member.Role) {
			continue
		}
		one := replicate.Member{ID: accountName(member), Name: member.Name, Role: member.Role, Labels: member.Labels, Lost: lost[member.Key]}
		if member.Key == own {
			self, ok = one, true
			continue
		}
		others = append(others, one)
	}
	return self, others, ok
}

// lost are the islands that the network holds for lost.
func (m *membership) lost() map[trust.Key]bool {
	lost := map[trust.Key]bool{}
	for _, d := range m.documents.List(statementPrefix) {
		if s, err := witness.DecodeStatement(d.GetValue()); err == nil && s.Kind == witness.KindLost {
			lost[s.Target] = true
		}
	}
	return lost
}

// account finds the member that an ID is of.
func (m *membership) account(id string) (*trust.Member, bool) {
	for _, member := range m.state.Load().Members() {
		if accountName(member) == id {
			return member, true
		}
	}
	return nil, false
}

// goneFor tells since when an island is no member any more.
func (i *Island) goneFor(id string) (at time.Time, gone bool) {
	m := i.membership.Load()
	if m == nil || m.self() == nil {
		return time.Time{}, false
	}
	if _, here := m.account(id); here {
		return time.Time{}, false
	}
	for _, d := range m.state.Load().Departed() {
		if departedID(d, id) && d.At.After(at) {
			at = d.At
		}
	}
	return at, true
}

// departedID reports whether an ID may be of a member that left.
func departedID(d trust.Departed, id string) bool {
	return len(id) > len(d.Name) && id[:len(d.Name)] == d.Name && id[len(d.Name)] == '@'
}

// dialCopy opens a stream to a member that keeps a copy.
func (i *Island) dialCopy(ctx context.Context, to replicate.Member) (replicate.Pushes, error) {
	m := i.membership.Load()
	if m == nil {
		return nil, mesh.ErrNotReady
	}
	running := m.mesh.Load()
	member, ok := m.account(to.ID)
	switch {
	case running == nil:
		return nil, mesh.ErrNotReady
	case !ok:
		return nil, fmt.Errorf("send a copy to %s: no member any more", to.Name)
	}
	conn, err := running.Conn(member.Key, rpc.Bulk)
	if err != nil {
		return nil, err
	}
	return replicatepb.NewReplicateClient(conn).Stream(ctx, rpc.Uncompressed()) // frames are compressed
}

// copies serves other islands' streams.
type copies struct {
	replicatepb.UnimplementedReplicateServer
	m *membership
}

// Stream keeps a copy of the calling island's series.
func (c copies) Stream(stream grpc.BidiStreamingServer[replicatepb.Push, replicatepb.Reply]) error {
	caller, ok := rpc.CallerFrom(stream.Context())
	var member *trust.Member
	if ok {
		member, ok = c.m.state.Load().MemberByKey(caller.Key)
	}
	if !ok || !aggregates(member.Role) {
		return grpcstatus.Error(codes.PermissionDenied, "copy samples: only islands and admins have any")
	}
	err := c.m.island.getRooms().replicate.Receive(replicate.Origin{ID: accountName(member), Name: member.Name}, stream)
	var bad *replicate.Refusal
	if errors.As(err, &bad) {
		return grpcstatus.Error(codes.InvalidArgument, err.Error())
	}
	return err
}

func (m *membership) serveCopies(node *mesh.Mesh) error {
	return node.RegisterService(&replicatepb.Replicate_ServiceDesc, copies{m: m}, map[string]rpc.Rule{
		replicatepb.Replicate_Stream_FullMethodName: {Action: policy.Write, Class: rpc.Bulk, Standing: true},
	})
}

// copyDocument is where this island says which copies it keeps.
func (m *membership) copyDocument() string { return copyPrefix + m.home.Node().Public().String() }

// retellAfter is when saying which copies are kept is tried again.
const retellAfter = 15 * time.Second

// tellCopies has all islands know which copies are kept here.
func (m *membership) tellCopies(ctx context.Context) error {
	room := m.island.getRooms().replicate
	if self := m.self(); self == nil || !aggregates(self.Role) {
		<-ctx.Done()
		return nil
	}
	for {
		if err := m.tellFacts(ctx, room.Facts()); err != nil && ctx.Err() == nil {
			m.log.Warn("say which copies are kept here", "error", err)
		}
		select {
		case <-room.Changed():
		case <-time.After(retellAfter):
		case <-ctx.Done():
			return nil
		}
	}
}

func (m *membership) tellFacts(ctx context.Context, facts []replicate.Fact) error {
	held, err := m.documents.Get(m.copyDocument())
	if len(facts) == 0 {
		if err == nil {
			_, err = m.documents.Delete(ctx, m.copyDocument(), 0)
			return err
		}
		return nil
	}
	text, encoding := replicate.EncodeFacts(facts)
	if encoding != nil || err == nil && bytes.Equal(held.GetValue(), text) {
		return encoding
	}
	_, err = m.documents.Set(ctx, m.copyDocument(), text, 0)
	return err
}
