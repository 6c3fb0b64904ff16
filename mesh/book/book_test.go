package book

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/atoll-mesh/atoll/trust"
)

func key(n byte) trust.Key {
	k, err := trust.FromSeed(bytes.Repeat([]byte{n}, 32))
	if err != nil {
		panic(err)
	}
	return k.Public()
}

func addrs(n int) []ma.Multiaddr {
	var out []ma.Multiaddr
	for i := range n {
		out = append(out, ma.StringCast(fmt.Sprintf("/ip4/11.0.0.%d/tcp/59443", i)))
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	b, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	reached := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	b.Put(key(1), addrs(3), reached)
	b.Put(key(2), addrs(MaxAddresses+5), reached)
	b.Put(key(3), addrs(1), reached)
	b.Keep(func(k trust.Key) bool { return k != key(3) })
	if err := b.Save(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for k, n := range map[trust.Key]int{key(1): 3, key(2): MaxAddresses} {
		if e, ok := again.Get(k); !ok || len(e.Addresses) != n || !e.Reached.Equal(reached) || !e.Addresses[0].Equal(addrs(1)[0]) {
			t.Errorf("%s: %v %v", k.Short(), e, ok)
		}
	}
	if _, ok := again.Get(key(3)); ok {
		t.Error("a former member is remembered")
	}
}

func TestBadFileIsSetAside(t *testing.T) {
	for name, text := range map[string]string{"json": "{", "key": `{"me":{"addresses":[]}}`, "shape": `[1]`} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "peers.json")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			b, err := Open(path)
			if err == nil || !strings.Contains(err.Error(), ".bad") {
				t.Errorf("opened with %v", err)
			}
			if kept, err := os.ReadFile(path + ".bad"); err != nil || string(kept) != text {
				t.Errorf("set aside: %q, %v", kept, err)
			}
			b.Put(key(1), addrs(1), time.Now())
			if err := b.Save(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRunWritesSometimes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	synctest.Test(t, func(t *testing.T) {
		b, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { b.Run(ctx, func(err error) { t.Error(err) }); close(done) }()
		b.Put(key(1), addrs(1), time.Now())
		time.Sleep(debounce / 2)
		if _, err := os.Stat(path); err == nil {
			t.Error("written at once")
		}
		time.Sleep(debounce)
		if _, err := os.Stat(path); err != nil {
			t.Errorf("not written after %s: %v", debounce, err)
		}
		b.Put(key(2), addrs(1), time.Now())
		synctest.Wait()
		cancel()
		<-done
	})
	if b, err := Open(path); err != nil || len(b.entries) != 2 {
		t.Errorf("what was there at the end is not written: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"12D3KooWJScjcmnwm27si7XEVvQNbDAEVVsgYPS3eEMqEijK47yD":{"addresses":["/ip4/11.0.0.1/tcp/1","x"],"reached":"2026-11-22T12:00:00Z"}}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		entries, err := decode(bytes.NewReader(raw))
		if err != nil {
			return
		}
		for n, p := range entries {
			if e := p.entry(); len(e.Addresses) > MaxAddresses || pack(p.key, e) != p {
				t.Errorf("%s has %d addresses, packed as %v and then %v", p.key, len(e.Addresses), p, pack(p.key, e))
			}
			if n > 0 && entries[n-1].key.Compare(p.key) >= 0 {
				t.Errorf("%s comes after %s", p.key, entries[n-1].key)
			}
		}
		var out bytes.Buffer
		if err := write(&out, entries); err != nil {
			t.Fatal(err)
		}
		if again, err := decode(&out); err != nil || !slices.Equal(again, entries) {
			t.Errorf("%v is read again as %v: %v", entries, again, err)
		}
	})
}
