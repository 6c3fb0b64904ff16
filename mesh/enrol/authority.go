package enrol

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

// Authority admits, renews, revokes and rotates with the keys that this island
// holds. On an island without a signer key it passes guests on and refuses the
// rest with ErrNoSigner. It is safe for concurrent use; changes go one by one.
type Authority struct {
	opts    AuthorityOptions
	metrics *authorityMetrics

	// mu makes reading the state and changing it one step: it is what makes an
	// invitation single-use and a name unique here.
	mu sync.Mutex
	// issued keeps the newest certificate of each member that asked lately.
	issued map[trust.Key]issued
}

type issued struct {
	message *trustpb.Certificate
	at      time.Time
	// member is what the certificate was made of.
	member *trust.Member
}

// reissueAfter is for how long a repeated request for a renewal gets the same
// certificate again, so that a busy caller costs neither signatures nor audit.
const reissueAfter = time.Minute

// maxIssued bounds what is remembered for that.
const maxIssued = 4096

// NewAuthority checks its options and does nothing else.
func NewAuthority(o AuthorityOptions) (*Authority, error) {
	if o.Home == nil || o.Documents == nil || o.Trust == nil || o.Log == nil {
		return nil, errors.New("BUG: enrol.NewAuthority: Home, Documents, Trust and Log are required")
	}
	if o.Config == (Config{}) {
		o.Config = Default()
	}
	if err := o.Config.Validate(); err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Bootstrap == nil {
		o.Bootstrap = func() []trust.Bootstrap { return nil }
	}
	return &Authority{opts: o, metrics: newAuthorityMetrics(o.Registerer), issued: map[trust.Key]issued{}}, nil
}

// now is the wall clock without Go's monotonic reading, to the millisecond.
func (a *Authority) now() time.Time { return a.opts.Now().Round(0).UTC().Truncate(time.Millisecond) }

// signer gives this island's signer key if the network trusts it.
func (a *Authority) signer() (trust.PrivateKey, error) {
	k, ok := a.opts.Home.Signer()
	if !ok {
		return k, fmt.Errorf("%w: it has no signer key; ask an island of role %s", ErrNoSigner, trust.RoleAdmin)
	}
	if !a.opts.Trust().IsSigner(k.Public()) {
		return k, fmt.Errorf("%w: no root trusts its signer key %s; on an island with a root key run atoll signer add",
			ErrNoSigner, k.Public())
	}
	return k, nil
}

// root gives this island's root key if the network trusts it.
func (a *Authority) root() (trust.PrivateKey, error) {
	k, ok := a.opts.Home.Root()
	if !ok {
		return k, fmt.Errorf("%w: it has no root key; go to the island where the network was made, or recover the root", ErrNoSigner)
	}
	if !a.opts.Trust().IsRoot(k.Public()) {
		return k, fmt.Errorf("%w: its root key %s was retired", ErrNoSigner, k.Public())
	}
	return k, nil
}

// change is one thing to write down and the documents that make it so.
type change struct {
	actor, action, subject, detail string
	// first, if any, is on disk before docs are written.
	first *replicapb.Document
	docs  []*replicapb.Document
}

// apply writes the audit entry, then the documents. The entry comes first: a
// change that nobody can read up must not happen, one that was announced and
// did not happen is written down as such.
func (a *Authority) apply(ctx context.Context, c change) error {
	if err := a.record(c); err != nil {
		return err
	}
	if len(c.docs) == 0 {
		return nil
	}
	var err error
	if c.first != nil {
		err = a.opts.Documents.Put(ctx, c.first)
	}
	if err == nil {
		err = a.opts.Documents.Put(ctx, c.docs...)
	}
	if err == nil {
		a.opts.Logger.Info("trust changed", "action", c.action, "subject", c.subject, "actor", c.actor, "detail", c.detail)
		return nil
	}
	err = fmt.Errorf("%s %s: write documents: %w", c.action, c.subject, err)
	c.action, c.detail = c.action+"-failed", err.Error()
	return errors.Join(err, a.record(c))
}

func (a *Authority) record(c change) error {
	_, err := a.opts.Log.Append(trust.AuditEntry{
		TimeMs: a.now().UnixMilli(), Actor: c.actor, Action: c.action, Subject: c.subject, Detail: auditText(c.detail),
	})
	if err != nil {
		return fmt.Errorf("%s %s: nothing was changed because the audit log cannot be written: %w", c.action, c.subject, err)
	}
	return nil
}

const maxAuditText = 512

func auditText(s string) string {
	if len(s) > maxAuditText {
		return s[:maxAuditText] + "…"
	}
	return s
}

type actorKey struct{}

// WithActor names who wants what is done under ctx, for the audit log: a person
// that the island's API knows. Without it the island itself is named.
func WithActor(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, actorKey{}, name)
}

// self names who acts here in the audit log.
func (a *Authority) self(ctx context.Context) string {
	if name, ok := ctx.Value(actorKey{}).(string); ok && name != "" {
		return name + " on " + a.island()
	}
	return a.island()
}

func (a *Authority) island() string {
	key := a.opts.Home.Node().Public()
	if m, ok := a.opts.Trust().MemberByKey(key); ok {
		return m.Name
	}
	return key.String()
}

func (a *Authority) document(by trust.PrivateKey, key string, value []byte) *replicapb.Document {
	return trust.NewDocument(a.opts.Home.Network(), by, key, value, a.opts.Documents.Now(), false)
}

func (a *Authority) tombstone(by trust.PrivateKey, key string) *replicapb.Document {
	return trust.NewDocument(a.opts.Home.Network(), by, key, nil, a.opts.Documents.Now(), true)
}

// certify signs a certificate for one of a member's keys, of which the current
// one may live as long as configured, an earlier one until its end.
func (a *Authority) certify(signer trust.PrivateKey, m *trust.Member, key trust.Key) *trustpb.Certificate {
	now := a.now()
	end := now.Add(time.Duration(a.opts.Config.CertificateLifetime))
	for _, previous := range m.PreviousKeys {
		if previous.Key == key && previous.Until.Before(end) {
			end = previous.Until
		}
	}
	c := trust.Issue(signer, trust.Certificate{
		Network: a.opts.Home.Network(), Key: key, Name: m.GivenName, Role: m.Role, Labels: m.Labels,
		Serial: a.opts.Documents.Now(), NotBefore: now, NotAfter: end,
	})
	a.metrics.issued.Inc()
	if len(a.issued) >= maxIssued {
		clear(a.issued)
	}
	a.issued[key] = issued{message: c, at: now, member: m}
	return c
}
