package island

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/atoll-mesh/atoll/alert"
	common "github.com/atoll-mesh/atoll/alert/global"
	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/flow/durable"
	"github.com/atoll-mesh/atoll/mesh/witness"
	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/portal/access"
	"github.com/atoll-mesh/atoll/portal/dashboard"
	"github.com/atoll-mesh/atoll/replica"
	"github.com/atoll-mesh/atoll/replicate"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// statementPrefix is where what is said of islands begins.
const statementPrefix = "statement/"

// sharedKinds are the documents that islands obey as if they were local files.
var sharedKinds = [...]string{config.SharedRules, config.SharedScrape, config.SharedAggregate, config.SharedProbe}

// sharedDir holds the files that shared documents of a kind become.
func sharedDir(dataDir, kind string) string {
	return filepath.Join(dataDir, "replica", "applied", kind)
}

// withShared adds the applied documents to a configuration that was just loaded.
func (i *Island) withShared(c *config.Config) *config.Config {
	applied := func(kind string) []string {
		files, _ := filepath.Glob(filepath.Join(sharedDir(c.Island.DataDir, kind), "*.yml")) // the pattern is well-formed
		return files
	}
	next, left := c.WithShared(config.Applied{
		Rules:  filepath.Join(sharedDir(c.Island.DataDir, config.SharedRules), "*.yml"),
		Scrape: applied(config.SharedScrape), Aggregate: applied(config.SharedAggregate), Probe: applied(config.SharedProbe),
	})
	if len(left) == 0 {
		i.sharedLeft.Clear()
		return next
	}
	i.sharedLeft.Set("%v", errors.Join(left...))
	return next
}

// validateDocument judges what is written on this island, before it is signed.
func (i *Island) validateDocument(kind string, value []byte) error {
	switch kind {
	case config.SharedRules, config.SharedScrape, config.SharedAggregate:
		_, err := config.ReadShared(kind, kind, value)
		return err
	case config.SharedProbe:
		return i.validateProbe(value)
	case dashboard.Kind:
		return dashboard.Check(value)
	case strings.TrimSuffix(silencePrefix, "/"):
		return alert.CheckSilence(value)
	case common.KindRules:
		_, err := alert.ParseGlobal("document", value, i.getRooms().query.Parser())
		return err
	case common.KindState:
		return common.CheckState(value)
	case access.KindUsers, access.KindTokens:
		return access.CheckDocument(kind, value)
	case trust.KindPrimary:
		_, err := readPrimary(value)
		return err
	case trust.KindPolicy:
		_, err := policy.Parse(trust.PolicyDocument, value)
		return err
	case strings.TrimSuffix(statementPrefix, "/"):
		_, err := witness.DecodeStatement(value)
		return err
	case strings.TrimSuffix(copyPrefix, "/"):
		_, err := replicate.DecodeFacts(value)
		return err
	}
	return nil
}

// applyShared keeps what this island obeys equal to the documents, until ctx ends.
func (m *membership) applyShared(ctx context.Context) error {
	events, stop := m.documents.Watch("")
	defer stop()
	for _, kind := range sharedKinds {
		for _, d := range m.documents.List(kind + "/") {
			m.apply(d.GetKey(), d)
		}
	}
	for _, d := range m.documents.List(statementPrefix) {
		m.hearStatement(d.GetKey(), d)
	}
	m.removeStale()
	m.reload(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-events:
			if !ok {
				return nil
			}
			changed := m.applyEvent(e.Key, e.Document)
			for more := true; more; { // a batch of documents is one reload
				select {
				case e := <-events:
					changed = m.applyEvent(e.Key, e.Document) || changed
				default:
					more = false
				}
			}
			if changed {
				m.reload(ctx)
			}
		}
	}
}

// silencePrefix is where shared silences begin.
const silencePrefix = "silence/"

// shareSilences keeps this island's silences and the network's equal.
func (m *membership) shareSilences(ctx context.Context) error {
	select {
	case <-m.island.ready:
	case <-ctx.Done():
		return nil
	}
	events, stop := m.documents.Watch(silencePrefix)
	for _, d := range m.documents.List(silencePrefix) {
		m.learnSilence(ctx, d.GetKey(), d)
	}
	var learning sync.WaitGroup
	learning.Go(func() {
		for e := range events {
			m.learnSilence(ctx, e.Key, e.Document)
		}
	})
	defer learning.Wait()
	defer stop()
	return m.island.getRooms().alert.ShareSilences(ctx, func(ctx context.Context, id string, text []byte) error {
		held, err := m.documents.Get(silencePrefix + id)
		if err == nil && bytes.Equal(held.GetValue(), text) {
			return nil
		}
		_, err = m.documents.Set(ctx, silencePrefix+id, text, 0)
		return err
	})
}

// learnSilence takes in what the network knows of a silence, and forgets for all
// islands one whose time is over.
func (m *membership) learnSilence(ctx context.Context, key string, d *replicapb.Document) {
	if d == nil || d.GetDeleted() {
		return // it ends by itself, or was over
	}
	over, err := m.island.getRooms().alert.LearnSilence(d.GetValue())
	if err == nil && over {
		_, err = m.documents.Delete(ctx, key, d.GetTime())
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, replica.ErrConflict) && !errors.Is(err, replica.ErrNotFound) {
		m.log.Warn("shared silence is not obeyed", "document", key, "error", err)
	}
}

func (m *membership) applyEvent(key string, d *replicapb.Document) bool {
	if strings.HasPrefix(key, statementPrefix) {
		m.hearStatement(key, d)
		return false
	}
	return m.apply(key, d)
}

// apply writes or removes the file of one document and reports whether that
// changed anything.
func (m *membership) apply(key string, d *replicapb.Document) bool {
	kind, name, err := trust.ParseDocumentKey(key)
	if err != nil || !slices.Contains(sharedKinds[:], kind) {
		return false
	}
	file := filepath.Join(sharedDir(m.island.Config().Island.DataDir, kind), name+".yml")
	var content []byte
	if d != nil && !d.GetDeleted() {
		shared, err := config.ReadShared(kind, key, d.GetValue())
		if err != nil {
			m.log.Warn("shared document is not obeyed", "document", key, "error", err)
		} else if shared.For(m.labels()) && m.probesHere(shared, d) {
			content = shared.Content
		}
	}
	changed, err := replaceFile(file, content)
	if err != nil {
		m.log.Error("apply a shared document", "document", key, "error", err)
	}
	return changed
}

// replaceFile makes file hold content, or not exist where that is nil.
func replaceFile(file string, content []byte) (changed bool, err error) {
	before, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if existed := err == nil; existed == (content != nil) && bytes.Equal(before, content) {
		return false, nil
	}
	if content == nil {
		return true, os.Remove(file)
	}
	return true, durable.Write(file, 0o644, content)
}

// removeStale removes files whose document went away while this island was down.
func (m *membership) removeStale() {
	for _, kind := range sharedKinds {
		files, _ := filepath.Glob(filepath.Join(sharedDir(m.island.Config().Island.DataDir, kind), "*.yml")) // the pattern is well-formed
		for _, f := range files {
			key := kind + "/" + strings.TrimSuffix(filepath.Base(f), ".yml")
			if _, err := m.documents.Get(key); err != nil {
				m.apply(key, nil)
			}
		}
	}
}

// reload has the rooms take over what changed. A document that does not go
// together with this island's own files is refused by all of them, with a warning.
func (m *membership) reload(ctx context.Context) {
	select {
	case <-m.island.ready:
	case <-ctx.Done():
		return
	}
	_ = m.island.reapply() // it logs, warns and counts by itself
}

// clearShared ends the rule of documents of a network that was left.
func (i *Island) clearShared() error {
	for _, kind := range sharedKinds {
		if err := os.RemoveAll(sharedDir(i.Config().Island.DataDir, kind)); err != nil {
			return fmt.Errorf("remove shared documents: %w", err)
		}
	}
	return i.reapply()
}

// hearStatement tells the witness what the network says of an island.
func (m *membership) hearStatement(key string, d *replicapb.Document) {
	target, err := trust.ParseKey(strings.TrimPrefix(key, statementPrefix))
	if err != nil {
		return
	}
	if d == nil || d.GetDeleted() {
		by, _ := trust.KeyOf(d.GetAuthor()) // zero where the document fell
		m.run.witness.Gone(target, by)
		return
	}
	s, err := witness.DecodeStatement(d.GetValue())
	if err != nil || s.Target != target {
		m.log.Warn("statement is not understood", "document", key, "error", err)
		return
	}
	m.run.witness.Seen(s)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
