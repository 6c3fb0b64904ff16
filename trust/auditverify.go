package trust

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

const headSuffix = ".head"

// AuditHead is how far a log went. Together with a copy of the log it proves
// that nothing was cut off its end.
type AuditHead struct {
	Seq  uint64    `json:"seq"`
	Hash AuditHash `json:"hash"`
}

// AuditSummary is what a verified log says of itself.
type AuditSummary struct {
	Network NetworkID
	Entries uint64
	// FromMs and ToMs are the times of the first and the last entry.
	FromMs, ToMs int64
	// Keys signed the log, in the order of their time. That the first one is
	// the island's is for the reader to know.
	Keys []Key
	Head AuditHead
}

// VerifyAudit reads a log as OpenAudit writes it and checks that every entry is
// there, unchanged, in its place, and signed by a key the one before it named.
// network, if given, is the one it must be of. The error names the first line
// that is wrong. A log cut at the end of a line verifies, as far as it goes:
// compare the summary's Head with one kept elsewhere, or use VerifyAuditFile.
func VerifyAudit(r io.Reader, network *NetworkID) (AuditSummary, error) {
	chain, err := readAudit(r, network)
	if err != nil {
		return AuditSummary{}, fmt.Errorf("verify audit log: %w", err)
	}
	return chain.summary(), nil
}

// VerifyAuditFile is VerifyAudit of a file and the head kept beside it.
func VerifyAuditFile(path string, network *NetworkID) (AuditSummary, error) {
	chain, err := verifyAuditFile(path, network)
	if err != nil {
		return AuditSummary{}, fmt.Errorf("verify audit log %s: %w", path, err)
	}
	return chain.summary(), nil
}

func verifyAuditFile(path string, network *NetworkID) (auditChain, error) {
	f, err := os.Open(path)
	if err != nil {
		return auditChain{}, err
	}
	defer f.Close()
	chain, err := readAudit(f, network)
	if err != nil {
		return auditChain{}, err
	}
	head, err := readHead(path)
	if err != nil {
		return auditChain{}, err
	}
	return chain, chain.reaches(head)
}

// auditChain follows a log from entry to entry.
type auditChain struct {
	network  NetworkID
	known    bool // of network
	count    uint64
	last     AuditHash
	key      Key   // signed the last entry
	named    []Key // by key, as its successor
	keys     []Key
	from, to int64
}

func newAuditChain(network *NetworkID) auditChain {
	if network == nil {
		return auditChain{}
	}
	return auditChain{network: *network, known: true, last: AuditHash(*network)}
}

// mayGoOn reports whether k may sign the next entry.
func (c *auditChain) mayGoOn(k Key) bool {
	return c.count == 0 || k == c.key || slices.Contains(c.named, k)
}

func (c *auditChain) check(e *AuditEntry) error {
	if !c.known {
		c.network, c.known, c.last = NetworkID(e.Prev), true, e.Prev
	}
	switch {
	case e.Seq != c.count+1:
		return fmt.Errorf("is entry %d: entry %d must be here; one was taken out, put in or moved", e.Seq, c.count+1)
	case e.Prev != c.last && c.count == 0:
		return fmt.Errorf("begins the log of network %s, not %s", NetworkID(e.Prev), c.network)
	case e.Prev != c.last:
		return errors.New("does not follow the entry before it: that one, or this, is another")
	case e.hash(c.network) != e.Hash:
		return errors.New("was changed after it was written: its hash does not match")
	case !c.mayGoOn(e.Key):
		return fmt.Errorf("is signed by %s, which %s never named as its successor", e.Key, c.key)
	case !e.Key.Verify(auditContext, c.network, e.Hash[:], e.Signature[:]):
		return fmt.Errorf("signature is not %s's", e.Key)
	}
	return nil
}

func (c *auditChain) take(e *AuditEntry) {
	if c.count == 0 {
		c.from = e.TimeMs
	}
	if e.Key != c.key {
		c.named = nil
		c.keys = append(c.keys, e.Key)
	}
	c.count, c.last, c.key, c.to = e.Seq, e.Hash, e.Key, e.TimeMs
	if successor, err := ParseKey(e.Subject); err == nil && e.Action == AuditNewKey && len(c.named) < maxKeys {
		c.named = append(c.named, successor)
	}
}

func (c *auditChain) summary() AuditSummary {
	return AuditSummary{
		Network: c.network, Entries: c.count, FromMs: c.from, ToMs: c.to, Keys: c.keys,
		Head: AuditHead{Seq: c.count, Hash: c.last},
	}
}

// reaches says whether the log goes at least as far as head. A crash or a
// full disk may leave the head behind, never ahead, and never away.
func (c *auditChain) reaches(head *AuditHead) error {
	switch {
	case head == nil && c.count > 0:
		return errors.New("the head beside it is missing: its end may have been cut off")
	case head == nil:
		return nil
	case head.Seq > c.count:
		return fmt.Errorf("line %d: the log ends, but it went on to entry %d: its end was cut off", c.count+1, head.Seq)
	case head.Seq == c.count && c.count > 0 && head.Hash != c.last:
		return fmt.Errorf("line %d: is another entry than the one that was written last", c.count)
	}
	return nil
}

// readAudit verifies line by line; the error names the line.
func readAudit(r io.Reader, network *NetworkID) (auditChain, error) {
	chain := newAuditChain(network)
	lines := bufio.NewReaderSize(r, maxAuditLine)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return chain, nil
		case errors.Is(err, io.EOF):
			return chain, fmt.Errorf("line %d: is cut short", n)
		case errors.Is(err, bufio.ErrBufferFull):
			return chain, fmt.Errorf("line %d: is longer than %d bytes", n, maxAuditLine)
		case err != nil:
			return chain, fmt.Errorf("line %d: %w", n, err)
		}
		e, err := parseAuditLine(line[:len(line)-1])
		if err == nil {
			err = chain.check(&e)
		}
		if err != nil {
			return chain, fmt.Errorf("line %d: %w", n, err)
		}
		chain.take(&e)
	}
}

// parseAuditLine takes only what line writes, byte for byte: what is not in the
// hash, as spaces or a field's second value, cannot differ either.
func parseAuditLine(line []byte) (AuditEntry, error) {
	var e AuditEntry
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil {
		return AuditEntry{}, fmt.Errorf("is no entry: %w", err)
	}
	again, err := e.line()
	if err != nil || !bytes.Equal(again[:len(again)-1], line) {
		return AuditEntry{}, errors.New("was changed after it was written: it is not spelled as entries are")
	}
	return e, nil
}

func (a *Audit) writeHead() error {
	head := AuditHead{Seq: a.chain.count, Hash: a.chain.last}
	return a.disk.replace(a.path+headSuffix, head.line())
}

func (h AuditHead) line() []byte {
	return fmt.Appendf(nil, `{"seq":%d,"hash":"%s"}`+"\n", h.Seq, h.Hash)
}

// readHead returns nil where there is none.
func readHead(path string) (*AuditHead, error) {
	b, err := readBounded(path+headSuffix, maxAuditLine)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	h := &AuditHead{}
	if err := json.Unmarshal(b, h); err != nil {
		return nil, fmt.Errorf("head: %w", err)
	}
	return h, nil
}
