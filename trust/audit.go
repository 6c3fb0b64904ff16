package trust

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	auditContext   = "atoll audit 1"
	maxAuditLine   = 64 << 10
	maxAuditText   = 8 << 10
	maxAuditAnswer = 10_000
)

// AuditNewKey is the action by which the key that signs the log names its
// successor, as the subject. A key that was not named so may not go on with a log.
const AuditNewKey = "audit.key"

// AuditEntry is one line of the log.
type AuditEntry struct {
	// Seq counts from 1.
	Seq    uint64 `json:"seq"`
	TimeMs int64  `json:"time_ms"`
	// Prev is the hash of the entry before it; of the first one, the network's ID.
	Prev AuditHash `json:"prev"`
	// Actor did Action to Subject.
	Actor   string `json:"actor"`
	Action  string `json:"action"`
	Subject string `json:"subject"`
	Detail  string `json:"detail"`
	// Key signed Hash, which is over all the fields before it.
	Key       Key       `json:"key"`
	Hash      AuditHash `json:"hash"`
	Signature Signature `json:"signature"`
}

// AuditHash is a SHA-256, hexadecimal in text.
type AuditHash [sha256.Size]byte

func (h AuditHash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText is String.
func (h AuditHash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what String wrote.
func (h *AuditHash) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err == nil && len(b) != len(h) {
		err = fmt.Errorf("%d bytes: must be %d", len(b), len(h))
	}
	if err != nil {
		return fmt.Errorf("hash: %w", err)
	}
	copy(h[:], b)
	return nil
}

// hash frames every field with its length, so that none runs into the next.
func (e *AuditEntry) hash(network NetworkID) AuditHash {
	b := append([]byte("atoll audit\n"), network[:]...)
	b = binary.BigEndian.AppendUint64(b, e.Seq)
	b = binary.BigEndian.AppendUint64(b, uint64(e.TimeMs))
	b = append(b, e.Prev[:]...)
	for _, s := range []string{e.Actor, e.Action, e.Subject, e.Detail} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return sha256.Sum256(append(b, e.Key[:]...))
}

func (e *AuditEntry) seal(network NetworkID, k PrivateKey) {
	e.Key = k.Public()
	e.Hash = e.hash(network)
	copy(e.Signature[:], k.Sign(auditContext, network, e.Hash[:]))
}

func (e *AuditEntry) line() ([]byte, error) {
	b, err := json.Marshal(e)
	return append(b, '\n'), err
}

// Audit is a log to which every entry is bound by hash and signature: what was
// written cannot be changed, moved or taken out unnoticed. Its newest entry is
// remembered in a second file, path.head, so that a cut end is noticed too, by
// all but those who can put both files back. Safe for many at once.
type Audit struct {
	path    string
	network NetworkID
	key     func() PrivateKey
	disk    disk

	mu    sync.Mutex
	file  *os.File
	size  int64
	chain auditChain
	// signed is the private key of the last entry of this process: it can still
	// name its successor when the node key was replaced meanwhile.
	signed PrivateKey
}

// OpenAudit opens the log of one island in one network and verifies it. A torn
// last line, from a crash while it was written, is taken away. A log that
// another key kept and that does not name key's as its successor, or that is of
// a network that the island left, is put aside as path.until-<its last entry>,
// and a new one begins.
func OpenAudit(path string, network NetworkID, key func() PrivateKey) (*Audit, error) {
	a := &Audit{path: path, network: network, key: key}
	if err := a.open(); err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	return a, nil
}

func (a *Audit) open() error {
	whole, err := a.mend()
	if err == nil {
		err = a.finishPuttingAside()
	}
	if err != nil {
		return err
	}
	if err := a.verify(); err != nil {
		return err
	}
	if a.chain.count > 0 && (a.chain.network != a.network || !a.chain.mayGoOn(a.key().Public())) {
		if err := a.putAside(); err != nil {
			return err
		}
		whole = 0
	}
	f, err := os.OpenFile(a.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	a.file, a.size = f, whole
	return errors.Join(a.writeHead(), a.disk.syncDir(filepath.Dir(a.path)))
}

// mend cuts off what comes after the last line's end and returns the length
// of the rest. Entries are synced before anybody is told of them: what is torn
// was never promised.
func (a *Audit) mend() (int64, error) {
	f, err := os.OpenFile(a.path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	tail := make([]byte, min(size, maxAuditLine+1))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil {
		return 0, err
	}
	torn := int64(len(tail) - 1 - bytes.LastIndexByte(tail, '\n'))
	if torn == 0 {
		return size, nil
	}
	if torn == int64(len(tail)) && size > torn {
		return 0, fmt.Errorf("%s: no line ends in its last %d bytes: it is no audit log", a.path, torn)
	}
	return size - torn, errors.Join(f.Truncate(size-torn), f.Sync())
}

func (a *Audit) verify() error {
	f, err := os.Open(a.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		a.chain = newAuditChain(&a.network)
	case err != nil:
		return err
	default:
		defer f.Close()
		if a.chain, err = readAudit(f, nil); err != nil {
			return fmt.Errorf("%s: %w: keep the file as evidence, move it away, and a new log begins", a.path, err)
		}
		if a.chain.count == 0 {
			a.chain = newAuditChain(&a.network)
		}
	}
	head, err := readHead(a.path)
	if err == nil {
		err = a.chain.reaches(head)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: keep it and %s as evidence, move both away, and a new log begins", a.path, err, a.path+headSuffix)
	}
	return nil
}

// putAside gives the log another name. The head goes last: as long as it is
// there, a log that is not there is missed, or found under its other name.
func (a *Audit) putAside() error {
	head := AuditHead{Seq: a.chain.count, Hash: a.chain.last}
	aside := a.asideOf(head)
	if err := a.disk.replace(aside+headSuffix, head.line()); err != nil {
		return err
	}
	if err := a.disk.rename(a.path, aside); err != nil {
		return err
	}
	a.chain = newAuditChain(&a.network)
	return a.finishPuttingAside()
}

func (a *Audit) asideOf(head AuditHead) string {
	return fmt.Sprintf("%s.until-%d-%.8s", a.path, head.Seq, head.Hash)
}

func (a *Audit) finishPuttingAside() error {
	if _, err := os.Stat(a.path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	head, err := readHead(a.path)
	if err != nil || head == nil {
		return err
	}
	if _, err := os.Stat(a.asideOf(*head)); err != nil {
		return nil // the log is missing, which verify will say
	}
	return errors.Join(a.disk.remove(a.path+headSuffix), a.disk.syncDir(filepath.Dir(a.path)))
}

// Append writes an entry durably and returns it as written. Seq, Prev, Key,
// Hash and Signature are filled in, and TimeMs where it is zero.
func (a *Audit) Append(e AuditEntry) (AuditEntry, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	written, err := a.append(e)
	if err != nil {
		return AuditEntry{}, fmt.Errorf("append to audit log: %w", err)
	}
	return written, nil
}

func (a *Audit) append(e AuditEntry) (AuditEntry, error) {
	if a.file == nil {
		return AuditEntry{}, os.ErrClosed
	}
	k := a.key()
	if k.IsZero() {
		return AuditEntry{}, errors.New("there is no key to sign with")
	}
	if a.chain.count > 0 && !a.chain.mayGoOn(k.Public()) {
		if a.signed.IsZero() {
			return AuditEntry{}, fmt.Errorf("key %s was not named by %s, which kept the log so far: reopen it", k.Public(), a.chain.key)
		}
		if _, err := a.write(AuditEntry{Actor: a.chain.key.String(), Action: AuditNewKey, Subject: k.Public().String()}, a.signed); err != nil {
			return AuditEntry{}, err
		}
	}
	return a.write(e, k)
}

func (a *Audit) write(e AuditEntry, k PrivateKey) (AuditEntry, error) {
	for _, s := range []*string{&e.Actor, &e.Action, &e.Subject, &e.Detail} {
		*s = strings.ToValidUTF8(*s, "\uFFFD")
		if len(*s) > maxAuditText {
			return AuditEntry{}, fmt.Errorf("%.40q…: %d bytes: at most %d per field", *s, len(*s), maxAuditText)
		}
	}
	if e.TimeMs == 0 {
		e.TimeMs = time.Now().UnixMilli()
	}
	e.Seq, e.Prev = a.chain.count+1, a.chain.last
	e.seal(a.network, k)
	line, err := e.line()
	if err != nil {
		return AuditEntry{}, err
	}
	if len(line) > maxAuditLine {
		return AuditEntry{}, fmt.Errorf("entry of %d bytes: at most %d", len(line), maxAuditLine)
	}
	if _, err = a.file.Write(line); err == nil {
		err = a.file.Sync()
	}
	if err != nil {
		return AuditEntry{}, errors.Join(err, a.file.Truncate(a.size))
	}
	a.size += int64(len(line))
	a.chain.take(&e)
	a.signed = k
	return e, a.writeHead()
}

// Entries returns entries whose Seq is greater than after, the oldest first, at
// most 10,000: ask again after the last of them.
func (a *Audit) Entries(after uint64) ([]AuditEntry, error) {
	a.mu.Lock()
	size := a.size
	a.mu.Unlock()
	f, err := os.Open(a.path)
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	defer f.Close()
	var entries []AuditEntry
	lines := bufio.NewScanner(io.LimitReader(f, size))
	lines.Buffer(nil, maxAuditLine)
	for lines.Scan() && len(entries) < maxAuditAnswer {
		e, err := parseAuditLine(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("read audit log %s: %w", a.path, err)
		}
		if e.Seq > after {
			entries = append(entries, e)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read audit log %s: %w", a.path, err)
	}
	return entries, nil
}

// Head is the newest entry's number and hash, to keep where the log's keeper
// cannot reach.
func (a *Audit) Head() AuditHead {
	a.mu.Lock()
	defer a.mu.Unlock()
	return AuditHead{Seq: a.chain.count, Hash: a.chain.last}
}

// Close closes the file.
func (a *Audit) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return nil
	}
	err := a.file.Close()
	a.file = nil
	return err
}
