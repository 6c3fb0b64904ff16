package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// sessionIdle is how long either side may stay silent in a comparison: time for
// one batch over a line of 32 kbit/s.
const sessionIdle = time.Minute

// Register puts the service replicapb.Replica on s.
func (r *Replica) Register(s grpc.ServiceRegistrar) { replicapb.RegisterReplicaServer(s, server{r: r}) }

type server struct {
	replicapb.UnimplementedReplicaServer
	r *Replica
}

// Sync serves one comparison. It answers one request after the other, so what is
// held in memory for a session is one request and one batch.
func (s server) Sync(stream grpc.BidiStreamingServer[replicapb.SyncRequest, replicapb.SyncResponse]) error {
	peer, quarantined, ok := s.r.o.Caller(stream.Context())
	if !ok {
		s.r.m.served.WithLabelValues("refused").Inc()
		return status.Error(codes.Unauthenticated, "compare documents: the caller is no member of this network")
	}
	if !s.r.sessions.serve(peer) {
		s.r.m.served.WithLabelValues("busy").Inc()
		return status.Error(codes.ResourceExhausted, "compare documents: enough comparisons are under way here; try again later")
	}
	defer s.r.sessions.served(peer)
	v := &serving{r: s.r, stream: stream, peer: peer, trustOnly: quarantined}
	err := v.run()
	v.codec.close()
	if err != nil {
		s.r.m.served.WithLabelValues("failed").Inc()
		s.r.logger.Debug("a comparison served broke off", "peer", peer, "err", err)
		return err
	}
	s.r.m.served.WithLabelValues("ok").Inc()
	return nil
}

type serving struct {
	r         *Replica
	stream    grpc.BidiStreamingServer[replicapb.SyncRequest, replicapb.SyncResponse]
	peer      trust.Key
	trustOnly bool
	compared  bool // an Open was answered, and both sides may take over from each other
	equal     bool // there was nothing to do: the caller may be gone without a word
	codec     codec
}

func (v *serving) run() (err error) {
	defer func() { err = errors.Join(err, asStatus(v.r.settleNow())) }()
	requests := make(chan *replicapb.SyncRequest)
	ended := make(chan error, 1)
	go receive(v.stream.Context(), v.stream.Recv, requests, ended)
	idle := time.NewTimer(sessionIdle)
	defer idle.Stop()
	for {
		select {
		case q := <-requests:
			if err := v.answer(q); err != nil {
				return err
			}
			idle.Reset(sessionIdle)
		case err := <-ended:
			if !errors.Is(err, io.EOF) && !v.equal {
				return err
			}
			if v.compared && !v.equal {
				v.r.comparedWith(v.peer)
			}
			return nil
		case <-idle.C:
			return status.Errorf(codes.DeadlineExceeded, "compare documents: nothing was heard for %s", sessionIdle)
		}
	}
}

// receive hands on what Recv returns until it fails, which it does at the latest
// when the handler returns and so ends ctx.
func receive[T any](ctx context.Context, recv func() (T, error), to chan<- T, ended chan<- error) {
	for {
		m, err := recv()
		if err != nil {
			ended <- err
			return
		}
		select {
		case to <- m:
		case <-ctx.Done():
			ended <- ctx.Err()
			return
		}
	}
}

func asStatus(err error) error {
	if err == nil {
		return nil
	}
	code := codes.Internal
	switch {
	case errors.Is(err, ErrStorage):
		code = codes.Unavailable
	case errors.Is(err, ErrClosed):
		code = codes.Unavailable
	}
	return status.Error(code, err.Error())
}

func malformed(err error) error {
	return status.Errorf(codes.InvalidArgument, "compare documents: %v", err)
}

func (v *serving) send(m *replicapb.SyncResponse) error {
	v.r.m.syncBytes.WithLabelValues("out").Add(float64(proto.Size(m)))
	return v.stream.Send(m)
}

func (v *serving) answer(q *replicapb.SyncRequest) error {
	v.r.m.syncBytes.WithLabelValues("in").Add(float64(proto.Size(q)))
	switch {
	case q.GetOpen() != nil:
		return v.open(q.GetOpen())
	case q.GetAsk() != nil:
		return v.ask(q.GetAsk())
	case q.GetFetch() != nil:
		return v.fetch(q.GetFetch())
	case q.GetPush() != nil:
		return v.push(q.GetPush())
	}
	return status.Error(codes.InvalidArgument, "compare documents: a request of no known kind; one of the islands needs a newer version")
}

func (v *serving) open(o *replicapb.Open) error {
	w := &replicapb.Welcome{Trust: v.r.index.summary(trustTree), Other: v.r.index.summary(otherTree),
		Stale: v.r.stale(), TrustOnly: v.trustOnly}
	if v.trustOnly {
		w.Other = nil
	}
	if w.Stale && !o.GetStale() {
		return v.send(&replicapb.SyncResponse{Response: &replicapb.SyncResponse_Welcome{Welcome: w}, Last: true})
	}
	v.compared = !v.trustOnly
	var follow []*entry
	section := func(s int, theirs, mine *replicapb.Tree) (sent bool) {
		switch {
		case mine.GetDigest() == theirs.GetDigest() || mine.GetDocuments() == 0:
		case theirs.GetDocuments() == 0 && o.GetFill():
			follow = append(follow, v.r.index.all(s)...)
			return true
		default:
			w.Subtrees = append(w.Subtrees, &replicapb.Subtrees{Trust: s == trustTree, Subtrees: v.r.index.opened(s, nil, 2)})
		}
		return false
	}
	w.TrustSent = section(trustTree, o.GetTrust(), w.GetTrust())
	if !v.trustOnly {
		// Documents of a tree follow at once only where rights are the same already.
		known := o.GetOther()
		if !w.TrustSent && o.GetTrust().GetDigest() != w.GetTrust().GetDigest() && known.GetDocuments() == 0 {
			known = &replicapb.Tree{Documents: 1}
		}
		w.OtherSent = section(otherTree, known, w.GetOther())
	}
	if v.equal = v.compared && same(o.GetTrust(), w.GetTrust()) && same(o.GetOther(), w.GetOther()); v.equal {
		v.r.comparedWith(v.peer)
	}
	if err := v.send(&replicapb.SyncResponse{Response: &replicapb.SyncResponse_Welcome{Welcome: w}, Last: len(follow) == 0}); err != nil {
		return err
	}
	if len(follow) == 0 {
		return nil
	}
	return v.documents(follow)
}

func same(a, b *replicapb.Tree) bool { return a.GetDigest() == b.GetDigest() }

func (v *serving) ask(a *replicapb.Ask) error {
	prefixes := a.GetPrefixes()
	most := askMost
	if a.GetLevels() == 2 {
		most = askDeepMost
	}
	if len(prefixes) > most || a.GetLevels() > 2 {
		return status.Errorf(codes.InvalidArgument, "compare documents: %d subtrees of %d levels asked for, at most %d are answered", len(prefixes), a.GetLevels(), most)
	}
	if v.trustOnly && !a.GetTrust() {
		return status.Error(codes.PermissionDenied, "compare documents: an island in quarantine gets documents of trust only; renew its certificate")
	}
	out := &replicapb.Subtrees{Trust: a.GetTrust()}
	size := 0
	for _, p := range prefixes {
		if err := checkPrefix(p); err != nil {
			return malformed(err)
		}
		for _, s := range v.r.index.opened(sectionOf(a.GetTrust()), p, a.GetLevels()) {
			if size += proto.Size(s); size > batchBytes && len(out.Subtrees) > 0 {
				if err := v.send(&replicapb.SyncResponse{Response: &replicapb.SyncResponse_Subtrees{Subtrees: out}}); err != nil {
					return err
				}
				out, size = &replicapb.Subtrees{Trust: a.GetTrust()}, proto.Size(s)
			}
			out.Subtrees = append(out.Subtrees, s)
		}
	}
	return v.send(&replicapb.SyncResponse{Response: &replicapb.SyncResponse_Subtrees{Subtrees: out}, Last: true})
}

func (v *serving) fetch(f *replicapb.Fetch) error {
	refs := f.GetRefs()
	if len(refs)%refBytes != 0 || len(refs)/refBytes > askMost {
		return status.Errorf(codes.InvalidArgument, "compare documents: %d bytes of references, must be at most %d of %d", len(refs), askMost, refBytes)
	}
	var found []*entry
	for ; len(refs) > 0; refs = refs[refBytes:] {
		place, hash := binary.BigEndian.Uint64(refs), binary.BigEndian.Uint64(refs[8:])
		if e := v.r.index.find(place, hash, v.trustOnly); e != nil {
			found = append(found, e)
		}
	}
	return v.documents(found)
}

func (x *index) find(place, hash uint64, trustOnly bool) *entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.trees[trustTree].find(place, hash)
	if e == nil && !trustOnly {
		e = x.trees[otherTree].find(place, hash)
	}
	return e
}

// documents sends documents batch by batch; the file is not held open meanwhile.
func (v *serving) documents(entries []*entry) error {
	batches := split(entries)
	if len(batches) == 0 {
		batches = [][]*entry{nil}
	}
	for i, batch := range batches {
		docs, err := v.r.read(batch)
		if err != nil {
			return asStatus(err)
		}
		b, err := v.codec.pack(docs)
		if err != nil {
			return asStatus(err)
		}
		v.r.m.syncDocs.WithLabelValues("out").Add(float64(len(docs)))
		if err := v.send(&replicapb.SyncResponse{Response: &replicapb.SyncResponse_Documents{Documents: b}, Last: i == len(batches)-1}); err != nil {
			return err
		}
	}
	return nil
}

func (v *serving) push(b *replicapb.Batch) error {
	docs, err := v.codec.unpack(b)
	if err != nil {
		return malformed(err)
	}
	if v.trustOnly {
		docs = slices.DeleteFunc(docs, func(d *replicapb.Document) bool { return !trust.IsTrustKind(d.GetKey()) })
	}
	v.r.m.syncDocs.WithLabelValues("in").Add(float64(len(docs)))
	req := v.r.offer(sourceSync, docs, true)
	out, err := outcome(req)
	if err != nil {
		return err
	}
	return v.send(&replicapb.SyncResponse{Response: &replicapb.SyncResponse_Stored{Stored: out}, Last: true})
}

// outcome tells the other side what became of its documents.
func outcome(req *request) (*replicapb.Stored, error) {
	out := &replicapb.Stored{}
	for _, it := range req.items {
		switch {
		case it.forged:
			return nil, malformed(it.err)
		case it.stored:
			out.Stored++
		case it.err == nil:
			out.Known++
		case errors.Is(it.err, ErrStorage) || errors.Is(it.err, ErrClosed):
			return nil, asStatus(it.err)
		default:
			out.Refused = binary.BigEndian.AppendUint64(out.Refused, hashOf(it.doc))
		}
	}
	return out, nil
}
