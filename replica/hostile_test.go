package replica

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// forgeries are versions of a genuine document that must not get in.
func forgeries(f *fleet, x *isle) map[string]*replicapb.Document {
	genuine := f.sign(x.key, "rules/a", []byte("genuine"), x.Now())
	change := func(how func(*replicapb.Document)) *replicapb.Document {
		d := proto.CloneOf(genuine)
		how(d)
		return d
	}
	other := trust.NetworkOf(keyOf(f.t, "another root").Public())
	return map[string]*replicapb.Document{
		"another value":   change(func(d *replicapb.Document) { d.Value = []byte("forged") }),
		"another time":    change(func(d *replicapb.Document) { d.Time++ }),
		"another key":     change(func(d *replicapb.Document) { d.Key = "rules/b" }),
		"deleted":         change(func(d *replicapb.Document) { d.Deleted, d.Value = true, nil }),
		"another author":  change(func(d *replicapb.Document) { d.Author = f.signer.Public().Bytes() }),
		"no signature":    change(func(d *replicapb.Document) { d.Signature = nil }),
		"no author":       change(func(d *replicapb.Document) { d.Author = nil }),
		"odd key":         f.sign(x.key, "rules/a b", []byte("x"), x.Now()),
		"oversize":        f.sign(x.key, "rules/a", make([]byte, trust.MaxDocumentValue+1), x.Now()),
		"no text":         f.sign(x.key, "rules/a", []byte{0xff}, x.Now()),
		"no time":         f.sign(x.key, "rules/a", []byte("x"), 0),
		"another network": trust.NewDocument(other, x.key, "rules/a", []byte("x"), x.Now(), false),
		"nothing at all":  {},
	}
}

func TestForgeries(t *testing.T) {
	f := newFleet(t, 2)
	x := f.nodes[0]
	before := x.Root()
	for name, d := range forgeries(f, f.nodes[1]) {
		if err := x.Put(t.Context(), d); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
		hint, err := proto.Marshal(&replicapb.Hint{Documents: []*replicapb.Document{d}})
		f.must(err)
		x.hear(f.nodes[1].key.Public(), hint)
	}
	if !bytes.Equal(before, x.Root()) || x.refusals.len() != 0 {
		t.Errorf("the replica changed, or %d forgeries are remembered, which bars the genuine one", x.refusals.len())
	}
	// A forged value beside a genuine signature must not keep the genuine one out.
	genuine := f.sign(f.nodes[1].key, "rules/a", []byte("genuine"), x.Now())
	forged := proto.CloneOf(genuine)
	forged.Value = []byte("forged")
	x.Put(t.Context(), forged)
	f.must(x.Put(t.Context(), genuine))
}

// open starts a raw session of b with a.
func rawSession(t *testing.T, a, b *isle) grpc.BidiStreamingClient[replicapb.SyncRequest, replicapb.SyncResponse] {
	t.Helper()
	conn, err := peersOf{b}.Conn(a.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	s, err := replicapb.NewReplicaClient(conn).Sync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// malformedRequests are what no honest island sends.
func malformedRequests(t testing.TB, f *fleet) map[string]*replicapb.SyncRequest {
	bomb, err := zstd.NewWriter(nil)
	f.must(err)
	defer bomb.Close()
	ask := func(a *replicapb.Ask) *replicapb.SyncRequest {
		return &replicapb.SyncRequest{Request: &replicapb.SyncRequest_Ask{Ask: a}}
	}
	push := func(b *replicapb.Batch) *replicapb.SyncRequest {
		return &replicapb.SyncRequest{Request: &replicapb.SyncRequest_Push{Push: b}}
	}
	many := make([][]byte, askMost+1)
	forged := f.sign(f.nodes[1].key, "rules/a", []byte("x"), f.nodes[1].Now())
	forged.Signature[3] ^= 1
	batch, err := (&codec{}).pack([]*replicapb.Document{forged})
	f.must(err)
	return map[string]*replicapb.SyncRequest{
		"nothing":          {},
		"too many":         ask(&replicapb.Ask{Prefixes: many, Levels: 1}),
		"too deep":         ask(&replicapb.Ask{Prefixes: many[:1], Levels: 3}),
		"too many deep":    ask(&replicapb.Ask{Prefixes: many[:askDeepMost+1], Levels: 2}),
		"long prefix":      ask(&replicapb.Ask{Prefixes: [][]byte{make([]byte, 17)}, Levels: 1}),
		"digit over 15":    ask(&replicapb.Ask{Prefixes: [][]byte{{16}}, Levels: 1}),
		"half a reference": {Request: &replicapb.SyncRequest_Fetch{Fetch: &replicapb.Fetch{Refs: make([]byte, 17)}}},
		"many references":  {Request: &replicapb.SyncRequest_Fetch{Fetch: &replicapb.Fetch{Refs: make([]byte, refBytes*(askMost+1))}}},
		"bomb":             push(&replicapb.Batch{Zstd: bomb.EncodeAll(make([]byte, 64<<20), nil)}),
		"no zstd":          push(&replicapb.Batch{Zstd: []byte("not compressed")}),
		"no documents":     push(&replicapb.Batch{Plain: []byte("not documents")}),
		"forged document":  push(batch),
	}
}

func TestMalformedRequests(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.nodes[0], f.nodes[1]
	for name, q := range malformedRequests(t, f) {
		s := rawSession(t, a, b)
		f.must(s.Send(q))
		if _, err := s.Recv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: answered with %v, want invalid argument", name, err)
		}
	}
	b.set("rules/after", "x")
	f.settle()
}

func TestServedSessionsAreBounded(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.nodes[0], f.nodes[1]
	for range maxPerPeer {
		s := rawSession(t, a, b)
		f.must(s.Send(&replicapb.SyncRequest{Request: &replicapb.SyncRequest_Fetch{Fetch: &replicapb.Fetch{}}}))
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Sync(t.Context(), a.key.Public()); !errors.Is(err, ErrBusy) {
		t.Errorf("one session more than allowed: %v, want busy", err)
	}
}

// lying answers a comparison with whatever the test says.
type lying struct {
	replicapb.UnimplementedReplicaServer
	answers []*replicapb.SyncResponse
}

func (l lying) Sync(s grpc.BidiStreamingServer[replicapb.SyncRequest, replicapb.SyncResponse]) error {
	for i, m := range l.answers {
		if i == 0 || l.answers[i-1].GetLast() {
			if _, err := s.Recv(); err != nil {
				return nil
			}
		}
		if err := s.Send(m); err != nil {
			return err
		}
	}
	<-s.Context().Done()
	return nil
}

func subtreesOf(s ...*replicapb.Subtree) *replicapb.SyncResponse {
	return &replicapb.SyncResponse{Last: true, Response: &replicapb.SyncResponse_Welcome{Welcome: &replicapb.Welcome{
		Trust: &replicapb.Tree{Digest: 7, Documents: 9}, Other: &replicapb.Tree{Digest: 7, Documents: 9},
		Subtrees: []*replicapb.Subtrees{{Trust: true, Subtrees: s}}}}}
}

// TestLyingServer: an asking side survives every lie, soon, and changes nothing.
func TestLyingServer(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.nodes[0], f.nodes[1]
	forged := f.sign(a.key, "rules/a", []byte("x"), a.Now())
	forged.Signature[3] ^= 1
	batch, err := (&codec{}).pack([]*replicapb.Document{forged})
	f.must(err)
	before := b.Root()
	for name, answers := range map[string][]*replicapb.SyncResponse{
		"nothing in it":    {{}},
		"unasked":          {{Response: &replicapb.SyncResponse_Stored{Stored: &replicapb.Stored{}}, Last: true}},
		"digit over 15":    {subtreesOf(&replicapb.Subtree{Prefix: []byte{99}, Leaf: true})},
		"odd heads":        {subtreesOf(&replicapb.Subtree{Heads: make([]byte, 23), Leaf: true})},
		"foreign heads":    {subtreesOf(&replicapb.Subtree{Prefix: []byte{15}, Heads: make([]byte, headBytes), Leaf: true})},
		"missing digests":  {subtreesOf(&replicapb.Subtree{Children: 3, Digests: make([]byte, 8)})},
		"17 children":      {subtreesOf(&replicapb.Subtree{Children: 1 << 16, Digests: make([]byte, 8)})},
		"below the bottom": {subtreesOf(&replicapb.Subtree{Prefix: make([]byte, 16), Children: 1, Digests: make([]byte, 8)})},
		"forged": {{Response: &replicapb.SyncResponse_Welcome{Welcome: &replicapb.Welcome{TrustSent: true, Trust: &replicapb.Tree{Digest: 1, Documents: 1}}}},
			{Response: &replicapb.SyncResponse_Documents{Documents: batch}, Last: true}},
	} {
		srv := grpc.NewServer()
		replicapb.RegisterReplicaServer(srv, lying{answers: answers})
		a.hangUp()
		b.hangUp()
		a.srv.Stop()
		a.lis, a.srv = newWireListener(), srv
		go srv.Serve(a.lis)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if _, err := b.Sync(ctx, a.key.Public()); err == nil || ctx.Err() != nil {
			t.Errorf("%s: ended with %v, context %v: want an error at once", name, err, ctx.Err())
		}
		cancel()
	}
	if !bytes.Equal(before, b.Root()) {
		t.Error("a lie changed what is held")
	}
}

// scripted is a server stream fed from a list, for fuzzing.
type scripted struct {
	ctx  context.Context
	in   []*replicapb.SyncRequest
	sent int
}

func (s *scripted) Recv() (*replicapb.SyncRequest, error) {
	if len(s.in) == 0 {
		return nil, io.EOF
	}
	q := s.in[0]
	s.in = s.in[1:]
	return q, nil
}
func (s *scripted) Send(m *replicapb.SyncResponse) error {
	if s.sent += proto.Size(m); proto.Size(m) > MaxMessage {
		return errors.New("an answer over the limit")
	}
	return nil
}
func (s *scripted) Context() context.Context     { return s.ctx }
func (s *scripted) SetHeader(metadata.MD) error  { return nil }
func (s *scripted) SendHeader(metadata.MD) error { return nil }
func (s *scripted) SetTrailer(metadata.MD)       {}
func (s *scripted) SendMsg(any) error            { return nil }
func (s *scripted) RecvMsg(any) error            { return io.EOF }

// FuzzServe: whatever requests come, the server answers or refuses; nothing foreign
// gets in and no answer is over the limit.
func FuzzServe(fz *testing.F) {
	f := newFleet(fz, 2)
	a, b := f.nodes[0], f.nodes[1]
	for i := range 40 {
		a.set("rules/"+string(rune('a'+i%26))+string(rune('a'+i/26)), "x")
	}
	f.genesis = nil
	for _, q := range malformedRequests(fz, f) {
		if raw, err := proto.Marshal(q); err == nil && len(raw) < 4096 {
			fz.Add(frame(raw))
		}
	}
	open, err := proto.Marshal(&replicapb.SyncRequest{Request: &replicapb.SyncRequest_Open{Open: &replicapb.Open{Fill: true}}})
	f.must(err)
	ask, err := proto.Marshal(&replicapb.SyncRequest{Request: &replicapb.SyncRequest_Ask{Ask: &replicapb.Ask{Prefixes: [][]byte{{}, {1}}}}})
	f.must(err)
	fz.Add(append(frame(open), frame(ask)...))
	want := a.Root()
	fz.Fuzz(func(t *testing.T, raw []byte) {
		s := &scripted{ctx: t.Context()}
		for len(raw) >= 2 && len(s.in) < 20 {
			n := min(int(binary.BigEndian.Uint16(raw)), len(raw)-2)
			q := &replicapb.SyncRequest{}
			if proto.Unmarshal(raw[2:2+n], q) == nil {
				s.in = append(s.in, q)
			}
			raw = raw[2+n:]
		}
		v := &serving{r: a.Replica, stream: s, peer: b.key.Public()}
		v.run()
		v.codec.close()
		if !bytes.Equal(want, a.Root()) {
			t.Fatal("something foreign got in")
		}
	})
}

func frame(raw []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...)
}

// FuzzHint: whatever comes by gossip, nothing unsigned gets in, and what is wanted
// because of it is bounded.
func FuzzHint(fz *testing.F) {
	f := newFleet(fz, 2)
	a, b := f.nodes[0], f.nodes[1]
	d := f.sign(b.key, "rules/known", []byte("x"), past())
	f.must(a.Put(fz.Context(), d))
	h := &replicapb.Hint{More: true, Documents: []*replicapb.Document{d}, Heads: []*replicapb.Head{{Key: "rules/other", Time: 1, Hash: 2}}}
	raw, err := proto.Marshal(h)
	f.must(err)
	fz.Add(raw)
	d = proto.CloneOf(d)
	d.Value = []byte("forged")
	raw, err = proto.Marshal(&replicapb.Hint{Documents: []*replicapb.Document{d, {}, nil}})
	f.must(err)
	fz.Add(raw)
	want := a.Root()
	fz.Fuzz(func(t *testing.T, raw []byte) {
		wishes, _ := a.hear(b.key.Public(), raw)
		if len(wishes) > hintHeads || !bytes.Equal(want, a.Root()) {
			t.Fatalf("%d wishes; root changed: %v", len(wishes), !bytes.Equal(want, a.Root()))
		}
	})
}
