package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

const (
	maxPrefixes = 1 << 20 // subtrees asked for in one session
	deepMost    = 4       // differing subtrees up to which two levels are asked for at once
)

// handle takes one answer. Answers come in the order of the questions.
func (c *comparing) handle(m *replicapb.SyncResponse) error {
	now := c.awaited[0]
	var err error
	switch {
	case m.GetWelcome() != nil && now.kind == awaitWelcome:
		now, err = c.welcome(m.GetWelcome(), now, m.GetLast())
	case m.GetSubtrees() != nil && now.kind == awaitSubtrees:
		err = c.subtrees(now.section, m.GetSubtrees())
	case m.GetDocuments() != nil && now.kind == awaitDocuments:
		err = c.documents(m.GetDocuments())
	case m.GetStored() != nil && now.kind == awaitStored:
		err = c.stored(m.GetStored())
	default:
		err = errors.New("an answer came that does not fit the question")
	}
	if err != nil {
		return err
	}
	c.awaited[0] = now
	if m.GetLast() {
		c.awaited = c.awaited[1:]
		c.parts[now.section].open--
	}
	return c.advance()
}

func (c *comparing) welcome(w *replicapb.Welcome, now awaited, last bool) (awaited, error) {
	c.res.Rounds++
	if w.GetStale() && !c.stale {
		c.res.Stale, c.trusted = true, true
		c.parts[trustTree].moved, c.parts[otherTree].moved = true, true
		return now, nil
	}
	c.stale = c.stale && !w.GetStale()
	c.trustOnly = c.trustOnly || w.GetTrustOnly()
	equal := c.same(trustTree, w.GetTrust(), w.GetTrustSent())
	if c.trustOnly {
		c.parts[otherTree].moved = true
	} else {
		equal = c.same(otherTree, w.GetOther(), w.GetOtherSent()) && equal
	}
	c.res.Equal = equal
	for _, s := range w.GetSubtrees() {
		if !s.GetTrust() && c.trustOnly {
			continue
		}
		if err := c.subtrees(sectionOf(s.GetTrust()), s); err != nil {
			return now, err
		}
	}
	if !last {
		// What follows holds both trees, documents of trust first; the other tree's
		// own exchange need not wait for it, but for the settling after it.
		now.kind = awaitDocuments
	}
	return now, nil
}

// same notes what is clear from the roots alone.
func (c *comparing) same(section int, theirs *replicapb.Tree, sent bool) bool {
	mine := c.r.index.summary(section)
	if mine.GetDigest() == theirs.GetDigest() {
		return true
	}
	if theirs.GetDocuments() == 0 && !sent {
		c.parts[section].found.absent = c.r.index.all(section)
	}
	return false
}

func (c *comparing) subtrees(section int, in *replicapb.Subtrees) error {
	if in.GetTrust() != (section == trustTree) {
		return errors.New("subtrees of the wrong tree came")
	}
	p := &c.parts[section]
	for _, s := range in.GetSubtrees() {
		if err := checkSubtree(s); err != nil {
			return err
		}
		if !s.GetLeaf() {
			c.r.index.compare(section, s, &p.found)
			continue
		}
		heads := parseHeads(s.GetHeads())
		if c.heads += len(heads); c.heads > maxPrefixes {
			return fmt.Errorf("more than %d documents came", maxPrefixes)
		}
		key := string(s.GetPrefix())
		heads = append(p.partial[key], heads...)
		if s.GetMore() {
			if p.partial == nil {
				p.partial = map[string][]head{}
			}
			p.partial[key] = heads
			continue
		}
		delete(p.partial, key)
		c.r.index.compareHeads(section, s.GetPrefix(), heads, &p.found)
	}
	return nil
}

// advance asks what follows from the answers so far.
func (c *comparing) advance() error {
	for section := range c.parts {
		c.descend(section)
	}
	if err := c.move(trustTree); err != nil {
		return err
	}
	if t := &c.parts[trustTree]; !c.trusted && t.moved && t.open == 0 {
		if err := c.r.settleNow(); err != nil {
			return err
		}
		c.trusted = true
	}
	if c.trusted {
		return c.move(otherTree)
	}
	return nil
}

func (c *comparing) descend(section int) {
	f := &c.parts[section].found
	deeper, heads := f.deeper, f.heads
	f.deeper, f.heads = nil, nil
	if c.prefixes += len(deeper) + len(heads); c.prefixes > maxPrefixes || len(deeper)+len(heads) == 0 {
		return
	}
	c.res.Rounds++
	levels := uint32(1)
	if len(deeper) <= deepMost {
		levels = 2
	}
	for chunk := range slices.Chunk(deeper, askMost) {
		c.askSubtrees(section, chunk, levels)
	}
	for chunk := range slices.Chunk(heads, askMost) {
		c.askSubtrees(section, chunk, 0)
	}
}

func (c *comparing) askSubtrees(section int, prefixes [][]byte, levels uint32) {
	c.ask(awaitSubtrees, section, &replicapb.SyncRequest{Request: &replicapb.SyncRequest_Ask{Ask: &replicapb.Ask{
		Trust: section == trustTree, Prefixes: prefixes, Levels: levels}}})
}

// move asks for and offers documents once a tree is compared. Offers of a tree
// wait for its comparison because a stale island must know all that is absent.
func (c *comparing) move(section int) error {
	p := &c.parts[section]
	if p.moved || p.open > 0 {
		return nil
	}
	p.moved = true
	c.want(section, p.found.want)
	absent := p.found.absent
	if c.stale && !c.trustOnly {
		var err error
		if absent, err = c.r.giveUp(absent); err != nil {
			return err
		}
	}
	offer := slices.DeleteFunc(append(p.found.newer, absent...), func(e *entry) bool {
		return e.deleted && c.r.expired(e.time) || c.r.sessions.snubbed(c.peer, e.hash)
	})
	for _, batch := range split(offer) {
		c.awaited = append(c.awaited, awaited{awaitStored, section})
		p.open++
		c.outbox.put(job{push: batch})
	}
	if len(p.found.want)+len(offer) > 0 {
		c.res.Rounds++
	}
	p.found = findings{}
	return nil
}

func (c *comparing) want(section int, heads []head) {
	var refs []byte
	flush := func() {
		if len(refs) > 0 {
			c.ask(awaitDocuments, section, &replicapb.SyncRequest{Request: &replicapb.SyncRequest_Fetch{Fetch: &replicapb.Fetch{Refs: refs}}})
			refs = nil
		}
	}
	for _, h := range heads {
		if c.r.unwanted(h.hash) {
			continue
		}
		refs = binary.BigEndian.AppendUint64(refs, h.place)
		refs = binary.BigEndian.AppendUint64(refs, h.hash)
		if len(refs) == askMost*refBytes {
			flush()
		}
	}
	flush()
}

func (c *comparing) documents(b *replicapb.Batch) error {
	docs, err := c.unpacking.unpack(b)
	if err != nil {
		return err
	}
	if c.trustOnly {
		docs = slices.DeleteFunc(docs, func(d *replicapb.Document) bool { return !trust.IsTrustKind(d.GetKey()) })
	}
	c.r.m.syncDocs.WithLabelValues("in").Add(float64(len(docs)))
	for _, it := range c.r.offer(sourceSync, docs, true).items {
		switch {
		case it.forged, errors.Is(it.err, ErrStorage), errors.Is(it.err, ErrClosed):
			return it.err
		case it.stored:
			c.res.Pulled++
		case it.err != nil:
			c.res.Refused++
		}
	}
	return nil
}

func (c *comparing) stored(s *replicapb.Stored) error {
	refused := s.GetRefused()
	if len(refused)%8 != 0 || len(refused) > 8*batchMost {
		return fmt.Errorf("%d bytes of refused hashes came: must be at most %d of 8", len(refused), batchMost)
	}
	c.res.Pushed += int(min(s.GetStored(), batchMost))
	c.res.Refused += len(refused) / 8
	for ; len(refused) > 0; refused = refused[8:] {
		c.r.sessions.snub(c.peer, binary.BigEndian.Uint64(refused))
	}
	return nil
}
