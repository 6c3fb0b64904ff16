package frame

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/meshpb"
)

func TestRoundTrip(t *testing.T) {
	for _, size := range []int{0, 1, 127, 128, chunk - 1, chunk, 3*chunk + 7} {
		want := &meshpb.Hello{ReplicaRoot: bytes.Repeat([]byte{7}, size)}
		var b bytes.Buffer
		if err := Write(&b, 1<<20, want); err != nil {
			t.Fatal(err)
		}
		b.WriteString("rest")
		var got meshpb.Hello
		if err := Read(&b, 1<<20, &got); err != nil || !proto.Equal(&got, want) {
			t.Errorf("size %d: %v", size, err)
		}
		if rest := b.String(); rest != "rest" {
			t.Errorf("size %d: %q is left", size, rest)
		}
	}
}

func TestLimits(t *testing.T) {
	m := &meshpb.Hello{ReplicaRoot: make([]byte, 100)}
	var b bytes.Buffer
	if err := Write(&b, 50, m); !errors.Is(err, ErrTooLong) || b.Len() > 0 {
		t.Errorf("wrote %d bytes: %v", b.Len(), err)
	}
	if err := Write(&b, 1000, m); err != nil {
		t.Fatal(err)
	}
	if err := Read(&b, 50, m); !errors.Is(err, ErrTooLong) {
		t.Errorf("read: %v", err)
	}
}

// TestAClaimCostsNothing says that 8 MiB follow, and sends none.
func TestAClaimCostsNothing(t *testing.T) {
	raw := []byte{0x80, 0x80, 0x80, 0x04}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const n = 100
	for range n {
		if err := Read(bytes.NewReader(raw), 8<<20, &meshpb.Hello{}); !errors.Is(err, io.EOF) {
			t.Fatalf("read: %v", err)
		}
	}
	runtime.ReadMemStats(&after)
	if per := (after.TotalAlloc - before.TotalAlloc) / n; per > 4*chunk {
		t.Errorf("each claim made %d bytes be allocated", per)
	}
}

func FuzzReadHello(f *testing.F) {
	f.Add([]byte{0})
	f.Add([]byte{0xff, 0xff, 0x7f})
	f.Add([]byte{3, 0x10, 0x96, 0x01})
	f.Fuzz(func(t *testing.T, raw []byte) {
		fuzz(t, raw, &meshpb.Hello{}, &meshpb.Hello{})
	})
}

func FuzzReadJoinRequest(f *testing.F) {
	f.Add([]byte{5, 0x1a, 3, 'n', 'e', 'w'})
	f.Add([]byte{2, 0x1a, 9})
	f.Fuzz(func(t *testing.T, raw []byte) {
		fuzz(t, raw, &meshpb.JoinRequest{}, &meshpb.JoinRequest{})
	})
}

func FuzzReadJoinResponse(f *testing.F) {
	f.Add([]byte{4, 0x0a, 2, 'n', 'o'})
	f.Fuzz(func(t *testing.T, raw []byte) {
		fuzz(t, raw, &meshpb.JoinResponse{}, &meshpb.JoinResponse{})
	})
}

// fuzz reads foreign bytes: what can be read is what would be written.
func fuzz(t *testing.T, raw []byte, m, again proto.Message) {
	const limit = 1 << 16
	if Read(bytes.NewReader(raw), limit, m) != nil {
		return
	}
	var b bytes.Buffer
	if err := Write(&b, 2*limit, m); err != nil {
		t.Fatal(err)
	}
	if err := Read(&b, 2*limit, again); err != nil || !proto.Equal(m, again) {
		t.Errorf("%v became %v: %v", m, again, err)
	}
}
