// Package book remembers where members were last reached, across restarts.
//
// In: addresses that worked or that members told. Out: the same after a restart.
// Guaranteed: at most MaxAddresses per member; the file is replaced atomically,
// not oftener than every half minute; a file that cannot be read is set aside and
// reported, never an obstacle: it is a cache of what can be found out again.
package book

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/atoll-mesh/atoll/flow/durable"
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
	entries []packed // by key: a map of them would take twice the room
}

// packed is an Entry in half its room: there is one for each member, and few
// are asked for.
type packed struct {
	key       trust.Key
	addresses string // each in its binary form, after its length in two bytes
	reached   int64  // Unix s
}

func byKey(p packed, k trust.Key) int { return p.key.Compare(k) }

func pack(k trust.Key, e Entry) packed {
	var b []byte
	for _, a := range e.Addresses[:min(len(e.Addresses), MaxAddresses)] {
		if raw := a.Bytes(); len(raw) <= math.MaxUint16 {
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(raw))), raw...)
		}
	}
	return packed{k, string(b), e.Reached.Unix()}
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
	b := &Book{path: path, dirty: make(chan struct{}, 1)}
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
	if err := b.read(); err != nil {
		return b, errors.Join(fmt.Errorf("read the address book %s (set aside as .bad): %w", path, err), os.Rename(path, path+".bad"))
	}
	return b, nil
}

func (b *Book) read() error {
	f, err := os.Open(b.path)
	if err != nil {
		return err
	}
	defer f.Close()
	entries, err := decode(f)
	if err == nil {
		b.entries = entries
	}
	return err
}

// decode reads an object of lines, one after the other: all of a large network at
// once would take many times the room of what is kept.
func decode(r io.Reader) ([]packed, error) {
	d := json.NewDecoder(r)
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.Join(fmt.Errorf("it begins with %v, want an object", t), err)
	}
	var out []packed
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		text, _ := t.(string) // keys of objects are
		k, err := trust.ParseKey(text)
		if err != nil {
			return nil, err
		}
		var l line
		if err := d.Decode(&l); err != nil {
			return nil, err
		}
		e := Entry{Reached: l.Reached}
		for _, text := range l.Addresses {
			if a, err := ma.NewMultiaddr(text); err == nil {
				e.Addresses = append(e.Addresses, a)
			}
		}
		out = append(out, pack(k, e))
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(out, func(p, q packed) int { return p.key.Compare(q.key) })
	return slices.Clip(slices.CompactFunc(out, func(p, q packed) bool { return p.key == q.key })), nil
}

func (p packed) encode() ([]byte, error) {
	e := p.entry()
	l := line{Reached: e.Reached.UTC(), Addresses: make([]string, len(e.Addresses))}
	for i, a := range e.Addresses {
		l.Addresses[i] = a.String()
	}
	return json.Marshal(l)
}

// Get returns what is remembered of a member.
func (b *Book) Get(k trust.Key) (Entry, bool) {
	b.mu.Lock()
	i, ok := slices.BinarySearchFunc(b.entries, k, byKey)
	var p packed
	if ok {
		p = b.entries[i]
	}
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
	now := pack(k, Entry{Addresses: addresses, Reached: reached})
	var old packed
	b.mu.Lock()
	i, had := slices.BinarySearchFunc(b.entries, k, byKey)
	if had {
		old, b.entries[i] = b.entries[i], now
	} else {
		b.entries = slices.Insert(b.entries, i, now)
	}
	b.mu.Unlock()
	if !had || old.addresses != now.addresses || now.reached-old.reached > 3600 {
		b.touch()
	}
}

// Keep forgets everybody for whom ok is false.
func (b *Book) Keep(ok func(trust.Key) bool) {
	b.mu.Lock()
	before := len(b.entries)
	b.entries = slices.DeleteFunc(b.entries, func(p packed) bool { return !ok(p.key) })
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
	entries := slices.Clone(b.entries)
	b.mu.Unlock()
	if err := durable.WriteFrom(b.path, 0o600, func(w io.Writer) error { return write(w, entries) }); err != nil {
		return fmt.Errorf("write the address book: %w", err)
	}
	return nil
}

// write is decode's opposite, a member a line.
func write(w io.Writer, entries []packed) error {
	b := bufio.NewWriter(w)
	between := "{\n"
	for _, p := range entries {
		l, err := p.encode()
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "%s\t%q: %s", between, p.key, l)
		between = ",\n"
	}
	if len(entries) == 0 {
		fmt.Fprint(b, "{")
	}
	fmt.Fprint(b, "\n}\n")
	return b.Flush() // which has what went wrong before
}
