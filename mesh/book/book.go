// Package book remembers where members were last reached, across restarts.
//
// In: addresses that worked or that members told. Out: the same after a restart.
// Guaranteed: at most MaxAddresses per member; the file is replaced atomically,
// not oftener than every half minute; a file that cannot be read is set aside and
// reported, never an obstacle: it is a cache of what can be found out again.
package book

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/atoll-mesh/atoll/trust"
)

const (
	// MaxAddresses is how many are kept of one member.
	MaxAddresses = 16
	// maxFile bounds what is read from the disk: 20,000 members.
	maxFile  = 32 << 20
	debounce = 30 * time.Second
)

// Entry is what is remembered of one member.
type Entry struct {
	Addresses []ma.Multiaddr
	// Reached is when a connection was last open, in whole seconds.
	Reached time.Time
}

type line struct {
	Addresses []string  `json:"addresses"`
	Reached   time.Time `json:"reached"`
}

// Book is an address book. All methods are safe for concurrent use.
type Book struct {
	path  string
	dirty chan struct{}

	mu      sync.Mutex
	entries map[trust.Key]packed
}

// packed is an Entry in half its room: there is one for each member, and few
// are asked for.
type packed struct {
	addresses string // each in its binary form, after its length in two bytes
	reached   int64  // Unix s
}

func pack(e Entry) packed {
	var b []byte
	for _, a := range e.Addresses[:min(len(e.Addresses), MaxAddresses)] {
		if raw := a.Bytes(); len(raw) <= math.MaxUint16 {
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(raw))), raw...)
		}
	}
	return packed{string(b), e.Reached.Unix()}
}

func (p packed) entry() Entry {
	e := Entry{Reached: time.Unix(p.reached, 0)}
	for b := []byte(p.addresses); len(b) > 0; {
		n := 2 + int(binary.BigEndian.Uint16(b))
		if a, err := ma.NewMultiaddrBytes(b[2:n]); err == nil {
			e.Addresses = append(e.Addresses, a)
		}
		b = b[n:]
	}
	return e
}

// Open reads the book at path, which may not exist yet. With an error comes an
// empty book that is as good.
func Open(path string) (*Book, error) {
	b := &Book{path: path, dirty: make(chan struct{}, 1), entries: map[trust.Key]packed{}}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err == nil && info.Size() > maxFile {
		err = fmt.Errorf("%d bytes, at most %d are read", info.Size(), maxFile)
	}
	if err != nil {
		return b, fmt.Errorf("read the address book: %w", err)
	}
	raw, err := os.ReadFile(path)
	if err == nil {
		err = b.decode(raw)
	}
	if err != nil {
		return b, errors.Join(fmt.Errorf("read the address book %s (set aside as .bad): %w", path, err), os.Rename(path, path+".bad"))
	}
	return b, nil
}

func (b *Book) decode(raw []byte) error {
	var lines map[trust.Key]line
	if err := json.Unmarshal(raw, &lines); err != nil {
		return err
	}
	for k, l := range lines {
		e := Entry{Reached: l.Reached}
		for _, text := range l.Addresses {
			if a, err := ma.NewMultiaddr(text); err == nil {
				e.Addresses = append(e.Addresses, a)
			}
		}
		b.entries[k] = pack(e)
	}
	return nil
}

// Get returns what is remembered of a member.
func (b *Book) Get(k trust.Key) (Entry, bool) {
	b.mu.Lock()
	p, ok := b.entries[k]
	b.mu.Unlock()
	if !ok {
		return Entry{}, false
	}
	return p.entry(), true
}

// Put remembers a member's addresses, the best first.
func (b *Book) Put(k trust.Key, addresses []ma.Multiaddr, reached time.Time) {
	if len(addresses) == 0 {
		return
	}
	now := pack(Entry{Addresses: addresses, Reached: reached})
	b.mu.Lock()
	old, had := b.entries[k]
	b.entries[k] = now
	b.mu.Unlock()
	if !had || old.addresses != now.addresses || now.reached-old.reached > 3600 {
		b.touch()
	}
}

// Keep forgets everybody for whom ok is false.
func (b *Book) Keep(ok func(trust.Key) bool) {
	b.mu.Lock()
	before := len(b.entries)
	maps.DeleteFunc(b.entries, func(k trust.Key, _ packed) bool { return !ok(k) })
	changed := len(b.entries) != before
	b.mu.Unlock()
	if changed {
		b.touch()
	}
}

func (b *Book) touch() {
	select {
	case b.dirty <- struct{}{}:
	default:
	}
}

// Run writes the book after changes, and once more when ctx ends. failed is told
// when it could not be written.
func (b *Book) Run(ctx context.Context, failed func(error)) {
	for {
		select {
		case <-ctx.Done():
			select {
			case <-b.dirty:
				if err := b.Save(); err != nil {
					failed(err)
				}
			default:
			}
			return
		case <-b.dirty:
		}
		t := time.NewTimer(debounce)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
		if err := b.Save(); err != nil {
			failed(err)
		}
	}
}

// Save writes the book now.
func (b *Book) Save() error {
	b.mu.Lock()
	lines := make(map[trust.Key]line, len(b.entries))
	for k, p := range b.entries {
		e := p.entry()
		l := line{Reached: e.Reached.UTC().Truncate(time.Second), Addresses: make([]string, len(e.Addresses))}
		for i, a := range e.Addresses {
			l.Addresses[i] = a.String()
		}
		lines[k] = l
	}
	b.mu.Unlock()
	raw, err := json.MarshalIndent(lines, "", "\t")
	if err != nil {
		return fmt.Errorf("write the address book: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(b.path), filepath.Base(b.path)+".*.tmp")
	if err != nil {
		return fmt.Errorf("write the address book: %w", err)
	}
	_, err = tmp.Write(raw)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), b.path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("write the address book: %w", err)
	}
	return nil
}
