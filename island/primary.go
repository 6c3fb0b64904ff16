package island

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/rules"

	"github.com/atoll-mesh/atoll/alert"
	common "github.com/atoll-mesh/atoll/alert/global"
	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/query/global"
	"github.com/atoll-mesh/atoll/replica"
	"github.com/atoll-mesh/atoll/trust"
)

// primaryValue is a document that says whether an island is a primary. One for each
// island, so that promotions on both sides of a partition are both kept.
type primaryValue struct {
	Primary bool `json:"primary"`
	// Account is the island's accountName: another island that comes by the same
	// name later is not promoted with it.
	Account string `json:"account"`
}

func primaryKey(name string) string { return trust.KindPrimary + "/" + name }

func readPrimary(text []byte) (primaryValue, error) {
	var v primaryValue
	if err := json.Unmarshal(text, &v); err != nil {
		return v, fmt.Errorf("primary: %w; write it with `atoll promote` and `atoll demote`", err)
	}
	if v.Account == "" {
		return v, errors.New("primary: account is empty; write it with `atoll promote` and `atoll demote`")
	}
	return v, nil
}

// primaries are the names of the members that are primaries, sorted.
func (m *membership) primaries() []string {
	var out []string
	for _, d := range m.documents.List(trust.KindPrimary + "/") {
		v, err := readPrimary(d.GetValue())
		if err != nil || !v.Primary {
			continue
		}
		member, ok := m.state.Load().Member(strings.TrimPrefix(d.GetKey(), trust.KindPrimary+"/"))
		if ok && aggregates(member.Role) && accountName(member) == v.Account {
			out = append(out, member.Name)
		}
	}
	return out
}

// promote makes islands primaries, or ends that: none where one of the names is
// wrong. Each is written into the audit log first.
func (i *Island) promote(ctx context.Context, req control.PromoteRequest) (res control.PromoteResult, err error) {
	m, _, err := i.member()
	if err != nil {
		return res, err
	}
	names := req.Names
	if len(names) == 0 {
		names = []string{m.labels()["island"]}
	}
	members := make([]*trust.Member, len(names))
	for k, name := range names { // all of them, before the first is written
		if members[k], err = m.find(name); err != nil {
			return res, err
		}
		if role := members[k].Role; !req.Demote && !aggregates(role) {
			return res, fmt.Errorf("promote %s: is of role %s, which holds no samples and evaluates no rules; name one of role island or admin", name, role)
		}
	}
	for _, member := range members {
		if slices.Contains(m.primaries(), member.Name) != req.Demote {
			continue // it is so already
		}
		if err := m.writePrimary(ctx, member, !req.Demote); err != nil {
			return res, err
		}
		res.Changed = append(res.Changed, member.Name)
	}
	res.Primaries = m.primaries()
	if groups := m.run.common.Status(); len(res.Primaries) == 0 && len(groups) > 0 {
		res.Note = fmt.Sprintf("no primary is left: %d global rule groups are not evaluated until you promote one", len(groups))
	}
	return res, nil
}

// writePrimary says whether a member is a primary, first in the audit log.
func (m *membership) writePrimary(ctx context.Context, member *trust.Member, primary bool) error {
	action := "promote"
	if !primary {
		action = "demote"
	}
	entry := trust.AuditEntry{Actor: m.labels()["island"], Action: action, Subject: member.Name}
	if _, err := m.audit.Append(entry); err != nil {
		return fmt.Errorf("%s %s: it stays as it was because the audit log cannot be written: %w", action, member.Name, err)
	}
	text, err := json.Marshal(primaryValue{Primary: primary, Account: accountName(member)})
	if err == nil {
		_, err = m.documents.Set(ctx, primaryKey(member.Name), append(text, '\n'), 0)
	}
	if err == nil {
		return nil
	}
	entry.Action += "-refused"
	_, logged := m.audit.Append(entry)
	return errors.Join(fmt.Errorf("%s %s: %w", action, member.Name, err), logged)
}

// sharedAlerts is common.Documents and common.Reach.
type sharedAlerts struct {
	m       *membership
	changes chan struct{}
}

// List implements common.Documents.
func (s sharedAlerts) List(prefix string) []common.Document {
	docs := s.m.documents.List(prefix)
	out := make([]common.Document, len(docs))
	for i, d := range docs {
		out[i] = common.Document{Key: d.GetKey(), Time: d.GetTime(), Value: d.GetValue()}
	}
	return out
}

// Set implements common.Documents.
func (s sharedAlerts) Set(ctx context.Context, key string, value []byte) (uint64, error) {
	d, err := s.m.documents.Set(ctx, key, value, 0)
	return d.GetTime(), err
}

// Delete implements common.Documents.
func (s sharedAlerts) Delete(ctx context.Context, key string) error {
	_, err := s.m.documents.Delete(ctx, key, 0)
	if errors.Is(err, replica.ErrNotFound) {
		return nil
	}
	return err
}

// Changes implements common.Documents.
func (s sharedAlerts) Changes() <-chan struct{} { return s.changes }

// follow tells of changes until ctx ends.
func (s sharedAlerts) follow(ctx context.Context) {
	events, stop := s.m.documents.Watch("")
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				return
			}
			if kind, _, _ := strings.Cut(e.Key, "/"); kind == common.KindRules || kind == common.KindState || kind == trust.KindPrimary {
				select {
				case s.changes <- struct{}{}:
				default:
				}
			}
		}
	}
}

func (s sharedAlerts) key(name string) (trust.Key, error) {
	member, ok := s.m.state.Load().Member(name)
	if !ok {
		return trust.Key{}, fmt.Errorf("look at primary %s: no member goes by that name", name)
	}
	return member.Key, nil
}

// Look implements common.Reach.
func (s sharedAlerts) Look(ctx context.Context, name string) error {
	key, err := s.key(name)
	if err != nil {
		return err
	}
	running := s.m.mesh.Load()
	if running == nil {
		return mesh.ErrNotReady
	}
	_, err = running.Look(ctx, key)
	return err
}

// Vouch implements common.Reach: the word of an island that is cut off itself does
// not count.
func (s sharedAlerts) Vouch(ctx context.Context, via, name string) (bool, error) {
	through, err := s.key(via)
	if err != nil {
		return false, err
	}
	target, err := s.key(name)
	if err != nil {
		return false, err
	}
	answer, err := s.m.askWitness(ctx, through, target)
	return answer.GetReached() && !answer.GetAlone(), err
}

// Sync implements common.Reach.
func (s sharedAlerts) Sync(ctx context.Context, name string) error {
	key, err := s.key(name)
	if err == nil {
		_, err = s.m.documents.Sync(ctx, key)
	}
	return err
}

// buildCommon makes what evaluates the network's rules while this island is a primary.
func (m *membership) buildCommon(health *health.List) (err error) {
	i, r := m.island, m.island.getRooms()
	shared := sharedAlerts{m: m, changes: make(chan struct{}, 1)}
	m.run.common, err = common.New(common.Options{
		Self: func() string { return m.labels()["island"] }, Primaries: m.primaries, Reach: shared, Documents: shared,
		Parse: func(name string, text []byte) ([]common.Group, error) {
			return alert.ParseGlobal(name, text, r.query.Parser())
		},
		Ask: i.askReceipted, Store: r.door,
		Send:        func(group string, out []common.Outgoing) { r.alert.SendCommon(group, out) },
		Withdraw:    func(group string) { r.alert.WithdrawCommon(group) },
		Interval:    func() time.Duration { return time.Duration(i.Config().Prometheus.GlobalConfig.EvaluationInterval) },
		Resend:      func() time.Duration { return time.Duration(i.Config().Alert.ResendDelay) },
		ExternalURL: r.portal.URL(),
		Logger:      i.room("primary"), Registerer: m.registry, Health: health,
	})
	m.run.alerts = shared
	return err
}

// runCommon evaluates the network's rules once this island answers questions.
func (m *membership) runCommon(ctx context.Context) error {
	select {
	case <-m.island.ready:
	case <-ctx.Done():
		return nil
	}
	rooms := m.island.getRooms()
	rooms.alert.SetTeller(m.run.common)
	defer rooms.alert.SetTeller(nil)
	following := make(chan struct{})
	go func() {
		defer close(following)
		m.run.alerts.follow(ctx)
	}()
	defer func() { <-following }()
	return m.run.common.Run(ctx)
}

// askReceipted is common.Ask.
func (i *Island) askReceipted(ctx context.Context, expr string, at time.Time, deadline time.Duration) (common.Answer, error) {
	q := i.getRooms().query
	receipt := &global.Receipt{}
	ctx = global.WithAsk(ctx, global.Ask{Scope: global.ScopeAll, Deadline: deadline, Receipt: receipt})
	vector, err := rules.EngineQueryFunc(q.Everywhere(), q.Queryable())(ctx, expr, at)
	answer := common.Answer{Vector: vector, Receipt: receipt}
	for _, island := range receipt.Islands {
		if island.State == global.StateFailed {
			answer.Missing = append(answer.Missing, common.MissingIsland{Island: island.Name, Why: island.Why})
		}
	}
	return answer, err
}
