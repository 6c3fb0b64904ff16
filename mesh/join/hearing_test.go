package join

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	mss "github.com/multiformats/go-multistream"

	"github.com/atoll-mesh/atoll/mesh/frame"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/meshpb"
)

func testHearing(heard map[string]int) *Hearing {
	answer := func(context.Context, trust.Key, *meshpb.Word) *meshpb.Word { return &meshpb.Word{Taken: 1} }
	return NewHearing(answer, slog.New(slog.DiscardHandler), func(outcome string) { heard[outcome]++ })
}

func keyNumber(n byte) trust.Key { return trust.Key{1, n} }

// silent is a hearing of somebody who says nothing.
func silent(ctx context.Context, _ *seat) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestSeats has a crowd take all seats in silence: it loses them to who comes, one of
// many keys before one of few, and to time.
func TestSeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := map[string]int{}
		h := testHearing(heard)
		defer h.Close()
		for n := range 100 {
			h.begin(keyNumber(byte(n%5)), silent)
		}
		synctest.Wait()
		count := func() map[trust.Key]int {
			h.mu.Lock()
			defer h.mu.Unlock()
			out := map[trust.Key]int{}
			for _, s := range h.taken {
				out[s.key]++
			}
			return out
		}
		all := 0
		for k, n := range count() {
			if all += n; n > seatsOfOne {
				t.Errorf("%s holds %d seats", k.Short(), n)
			}
		}
		if all != seats || heard["displaced"] != 100-seats {
			t.Errorf("%d seats are taken, %d were displaced", all, heard["displaced"])
		}
		spoke := false
		honest := keyNumber(99)
		h.begin(honest, func(context.Context, *seat) error { spoke = true; return nil })
		synctest.Wait()
		if !spoke {
			t.Error("who came late was not heard")
		}
		time.Sleep(patienceForWord + time.Second)
		if left := count(); len(left) > 0 {
			t.Errorf("seats are still taken: %v", left)
		}
	})
}

// TestSpeakersStay displaces the silent before those whose word is being read.
func TestSpeakersStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := map[string]int{}
		h := testHearing(heard)
		defer h.Close()
		k := keyNumber(1)
		var spoke atomic.Bool
		h.begin(k, func(ctx context.Context, at *seat) error {
			if !h.allow(at) {
				t.Error("the first word was put off")
			}
			select {
			case <-time.After(time.Second):
				spoke.Store(true)
			case <-ctx.Done():
			}
			return nil
		})
		synctest.Wait()
		for range 3 * seatsOfOne {
			h.begin(k, silent)
		}
		time.Sleep(2 * time.Second)
		if !spoke.Load() {
			t.Error("who spoke was displaced by who is silent")
		}
	})
}

// TestWordsAreRationed reads a few words of one key, and of all, and then puts off.
func TestWordsAreRationed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := testHearing(map[string]int{})
		defer h.Close()
		allowed := func(k trust.Key) (n int) {
			for range 50 {
				if h.allow(&seat{key: k}) {
					n++
				}
			}
			return n
		}
		if n := allowed(keyNumber(1)); n != eachBurst {
			t.Errorf("%d words of one key", n)
		}
		all := eachBurst
		for n := range 2 * maxLimiters {
			if h.allow(&seat{key: trust.Key{2, byte(n), byte(n >> 8)}}) {
				all++
			}
		}
		if all != wordsBurst {
			t.Errorf("%d words of all at once", all)
		}
		if len(h.each) > maxLimiters {
			t.Errorf("%d keys are remembered", len(h.each))
		}
		time.Sleep(time.Minute)
		if n := allowed(keyNumber(1)); n != eachBurst {
			t.Errorf("%d words of one key a minute later", n)
		}
	})
}

// duplex is both directions of a stream, one of them said already.
type duplex struct {
	in  io.Reader
	out bytes.Buffer
}

func (d *duplex) Read(p []byte) (int, error)  { return d.in.Read(p) }
func (d *duplex) Write(p []byte) (int, error) { return d.out.Write(p) }

// TestAgree takes the one protocol and ends at the first other one.
func TestAgree(t *testing.T) {
	var word bytes.Buffer
	rw := mss.NewMSSelect(struct {
		io.Reader
		io.Writer
		io.Closer
	}{strings.NewReader(""), &word, io.NopCloser(nil)}, string(WordProtocol))
	if err := frame.Write(rw, MaxWord, &meshpb.Word{Taken: 7}); err != nil {
		t.Fatal(err)
	}
	d := &duplex{in: bytes.NewReader(word.Bytes())}
	if err := agree(d); err != nil {
		t.Fatal(err)
	}
	var got meshpb.Word
	if err := frame.Read(d, MaxWord, &got); err != nil || got.GetTaken() != 7 {
		t.Errorf("behind the protocol: %v, %v", &got, err)
	}
	if want := string(token(mss.ProtocolID)) + string(token(string(WordProtocol))); d.out.String() != want {
		t.Errorf("said %q, want %q", d.out.String(), want)
	}
	for name, said := range map[string]string{
		"another protocol": string(token(mss.ProtocolID)) + string(token("/ipfs/ping/1.0.0")),
		"no multistream":   "GET / HTTP/1.1\r\n\r\n",
		"too long":         string(token(mss.ProtocolID)) + "\xff\xff\xff\x7f" + strings.Repeat("x", 1<<16),
		"nothing":          "",
	} {
		d := &duplex{in: strings.NewReader(said)}
		if err := agree(d); err == nil || strings.Contains(d.out.String(), string(WordProtocol)) {
			t.Errorf("%s: %v, said %q", name, err, d.out.String())
		}
	}
}

func FuzzHear(f *testing.F) {
	good := append(token(mss.ProtocolID), token(string(WordProtocol))...)
	f.Add(append(bytes.Clone(good), 2, 0x18, 7))
	f.Add(append(bytes.Clone(good), 0xff, 0xff, 0xff, 0x7f))
	f.Add(good[:9])
	f.Fuzz(func(t *testing.T, said []byte) {
		d := &duplex{in: bytes.NewReader(said)}
		if agree(d) != nil {
			return
		}
		d.out.Reset()
		h := testHearing(map[string]int{})
		defer h.Close()
		if h.hear(t.Context(), &seat{}, d) != nil {
			return
		}
		var answer meshpb.Word
		if err := frame.Read(&d.out, MaxWord, &answer); err != nil || answer.GetTaken() != 1 {
			t.Errorf("the answer cannot be read: %v, %v", &answer, err)
		}
	})
}
