package island

import (
	"context"
	"fmt"
	"strings"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// word is what the roots said, for islands that keep this one out.
func (m *membership) word() []*replicapb.Document {
	var docs []*replicapb.Document
	for _, kind := range []string{trust.KindNetwork, trust.KindSigner, trust.KindRevoked} {
		held, err := m.documents.TrustHeld(kind + "/")
		if err != nil {
			m.log.Warn("read what the roots said", "error", err)
			return nil
		}
		docs = append(docs, held...)
	}
	return m.state.Load().Word(docs)
}

// hear takes over what is news of a word of the roots, whoever brought it, as if it
// had come by comparison, and writes down that it did.
func (m *membership) hear(ctx context.Context, from trust.Key, word []*replicapb.Document) (int, error) {
	m.hearing.Lock() // else two who bring the same are both written down
	defer m.hearing.Unlock()
	fresh, err := m.state.Load().Hear(word, m.documents.Held, m.documents.Horizon())
	if err != nil || len(fresh) == 0 {
		return 0, err
	}
	keys := make([]string, len(fresh))
	for i, d := range fresh {
		keys[i] = d.GetKey()
	}
	if err := m.record(from.String(), "hear-roots", fmt.Sprintf("%d documents", len(fresh)), strings.Join(keys, " ")); err != nil {
		return 0, err
	}
	if err := m.documents.Put(ctx, fresh...); err != nil {
		return 0, fmt.Errorf("keep a word of the roots: %w", err)
	}
	m.log.Info("a word of the roots was heard past the roster", "from", from, "documents", keys)
	return len(fresh), nil
}

// mostDetail bounds what one audit entry lists.
const mostDetail = 512

// record writes into the audit log what is about to change.
func (m *membership) record(actor, action, subject, detail string) error {
	_, err := m.audit.Append(trust.AuditEntry{Actor: actor, Action: action, Subject: subject, Detail: detail[:min(len(detail), mostDetail)]})
	if err != nil {
		return fmt.Errorf("nothing was changed because the audit log cannot be written: %w", err)
	}
	return nil
}
