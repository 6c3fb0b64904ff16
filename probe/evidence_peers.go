package probe

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/probe/evidence"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

const (
	// othersTime is how long it may take until those who judge have said who is fine.
	othersTime = 800 * time.Millisecond
	othersLook = 50 * time.Millisecond
	// mostAsked vantages are asked to gather, askedAtOnce of them at a time; the next one
	// when one declines, or has not answered after askNext.
	mostAsked   = 12
	askedAtOnce = 3
	askNext     = 500 * time.Millisecond
	// findTime is how long an island may take to list what it keeps, mostFinds are asked at once.
	findTime  = 5 * time.Second
	mostFinds = 32
	// fetchTime bounds the way of a bundle.
	fetchTime = time.Minute
	// mostTargetLabels are names and values of a target that somebody asks for.
	mostTargetLabels = 128
	// mostManifests are believed of one island.
	mostManifests = 1000
)

// counterpart has a vantage for which the target is fine gather the same, or says why none does.
func (k *keeper) counterpart(ctx context.Context, o *order) (*evidence.Reference, string) {
	switch {
	case !o.job.use.shared:
		return nil, "no other island has this definition"
	case k.p.opts.Evidence == nil:
		return nil, "this island is in no network"
	}
	names := k.candidates(ctx, o)
	if len(names) == 0 {
		return nil, "no other island probes this target"
	}
	return k.askAround(ctx, o, names)
}

// candidates are vantages to ask: those that are fine by what the judges say, then others
// that probe the target, the nearest first.
func (k *keeper) candidates(ctx context.Context, o *order) []string {
	names := slices.Clone(k.named(ctx, o))
	for _, name := range k.neighbours(o) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names[:min(len(names), mostAsked)]
}

// named are those of whom the judges say that they are fine, once they have said it.
func (k *keeper) named(ctx context.Context, o *order) []string {
	p, j := k.p, o.job
	tick := time.NewTicker(othersLook)
	defer tick.Stop()
	for begun := time.Now(); time.Since(begun) < othersTime; {
		if names := p.council.Others(j.subject); len(names) > 0 {
			return names
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// neighbours are those that probe the target, the nearest first.
func (k *keeper) neighbours(o *order) []string {
	p, j := k.p, o.job
	p.mu.RLock()
	spread, ok := p.spreads[j.use.Name]
	p.mu.RUnlock()
	if !ok || p.opts.Members == nil {
		return nil
	}
	self, chosen := p.self(), spread.Chosen(j.key())
	type candidate struct {
		name string
		far  int
	}
	var all []candidate
	for _, m := range p.opts.Members() {
		if _, probes := slices.BinarySearch(chosen, m.Name); !probes || m.Name == self.Name {
			continue
		}
		far := 0
		if m.Labels["region"] != self.Labels["region"] {
			far = 2
		} else if m.Labels["isp"] == self.Labels["isp"] {
			far = 1
		}
		all = append(all, candidate{m.Name, far})
	}
	rand.Shuffle(len(all), func(a, b int) { all[a], all[b] = all[b], all[a] })
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.far, b.far) })
	var names []string
	for _, c := range all {
		names = append(names, c.name)
	}
	return names
}

type answerOf struct {
	name string
	r    *probepb.GatherResponse
	err  error
}

// askAround asks one after the other until one gathers.
func (k *keeper) askAround(ctx context.Context, o *order, names []string) (*evidence.Reference, string) {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	answers := make(chan answerOf, len(names))
	patience := time.NewTicker(askNext)
	defer patience.Stop()
	var declined []string
	for next, open, now := 0, 0, true; next < len(names) || open > 0; {
		if now && next < len(names) && open < askedAtOnce {
			name := names[next]
			asking.Go(func() { r, err := k.ask(ctx, name, o); answers <- answerOf{name, r, err} })
			next, open = next+1, open+1
		}
		select {
		case a := <-answers:
			if f := a.fine(); f != nil {
				return f, ""
			}
			declined = append(declined, a.name+": "+a.why())
			open, now = open-1, true
		case <-patience.C:
			now = true
			continue
		case <-ctx.Done():
			return nil, "there was no time to ask: " + strings.Join(declined, "; ")
		}
	}
	return nil, "none gathers it: " + strings.Join(declined, "; ")
}

func (k *keeper) ask(ctx context.Context, name string, o *order) (*probepb.GatherResponse, error) {
	client, err := k.p.opts.Evidence(name, false)
	if err != nil {
		return nil, err
	}
	return client.Gather(ctx, &probepb.GatherRequest{
		Failure: o.id, Definition: o.job.use.Name, Instance: o.job.instance, Address: textOf(o.job.address), FailedMs: o.at.UnixMilli(),
		Labels: pairsOf(o.job.own),
	})
}

// fine is where to find what the vantage gathers, nil if it does not.
func (a answerOf) fine() *evidence.Reference {
	if a.err != nil || a.r.GetAnswer() != probepb.GatherResponse_STARTED && a.r.GetAnswer() != probepb.GatherResponse_RECENT {
		return nil
	}
	if _, err := evidence.ReadID(a.r.GetFailure()); err != nil {
		return nil
	}
	return &evidence.Reference{Vantage: a.name, Failure: a.r.GetFailure()}
}

func (a answerOf) why() string {
	const most = 200 // bytes
	switch {
	case a.err != nil:
		text := status.Convert(a.err).Message()
		return text[:min(len(text), most)]
	case a.r.GetAnswer() == probepb.GatherResponse_NOT_FINE:
		return "the target is not fine there either"
	case a.r.GetAnswer() == probepb.GatherResponse_NOT_HERE:
		return "does not probe the target"
	case a.r.GetAnswer() == probepb.GatherResponse_BUSY:
		return "gathers too much already"
	case a.r.GetAnswer() == probepb.GatherResponse_OFF:
		return "keeps no evidence"
	}
	return "answered what this version does not know"
}

// evidenceServer answers other islands.
type evidenceServer struct {
	probepb.UnimplementedEvidenceServer
	k      *keeper
	caller func(context.Context) string
}

// EvidenceServer answers other islands. caller names the island that made a call.
func (p *Prober) EvidenceServer(caller func(context.Context) string) probepb.EvidenceServer {
	return evidenceServer{k: p.keeper, caller: caller}
}

// Gather implements probepb.EvidenceServer. Nothing is probed that a definition of this
// island does not probe anyway, and each target at most once in gatherGap.
func (s evidenceServer) Gather(ctx context.Context, r *probepb.GatherRequest) (*probepb.GatherResponse, error) {
	id, answer, err := s.k.gatherFor(s.caller(ctx), r)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	s.k.m.asked.WithLabelValues(strings.ToLower(answer.String())).Inc()
	return &probepb.GatherResponse{Answer: answer, Failure: id}, nil
}

// mostSkew is how far an island's clock may be from this one's.
const mostSkew = 5 * time.Minute

func (k *keeper) gatherFor(caller string, r *probepb.GatherRequest) (id string, answer probepb.GatherResponse_Answer, err error) {
	made, err := evidence.ReadID(r.GetFailure())
	if err != nil {
		return "", 0, err
	}
	if off := time.Since(made).Abs(); off > mostSkew {
		return "", 0, fmt.Errorf("failure %s is %s off this island's clock: at most %s", r.GetFailure(), off.Round(time.Second), mostSkew)
	}
	at := time.UnixMilli(r.GetFailedMs())
	if time.Since(at).Abs() > 2*mostSkew {
		at = made
	}
	if len(r.GetLabels())%2 != 0 || len(r.GetLabels()) > mostTargetLabels {
		return "", 0, fmt.Errorf("failure %s: the target has %d names and values of labels: must be even, at most %d", r.GetFailure(), len(r.GetLabels()), mostTargetLabels)
	}
	j, l := k.p.find(r.GetDefinition(), r.GetInstance(), r.GetAddress(), labels.FromStrings(r.GetLabels()...))
	switch {
	case j == nil || !j.use.shared || j.use.Evidence.Off:
		return "", probepb.GatherResponse_NOT_HERE, nil
	case l == nil || !l.up || time.Since(l.at) > 2*time.Duration(j.use.Interval)+j.use.within:
		return "", probepb.GatherResponse_NOT_FINE, nil
	}
	f, err := k.begin(&order{failure: failure{r.GetFailure(), at}, role: evidence.Healthy, job: j, address: l.address})
	switch {
	case errors.Is(err, errRecent):
		return f.id, probepb.GatherResponse_RECENT, nil
	case errors.Is(err, errReserve):
		k.m.skipped.WithLabelValues(err.Error()).Inc()
		return "", probepb.GatherResponse_BUSY, nil
	case errors.Is(err, errBusy):
		return "", probepb.GatherResponse_BUSY, nil
	case err != nil:
		return "", probepb.GatherResponse_OFF, nil
	}
	k.p.log.Info("evidence is gathered for another island", "island", caller, "failure", f.id, "definition", j.use.Name, "target", j.instance)
	return f.id, probepb.GatherResponse_STARTED, nil
}

// pairsOf are names and values in turn.
func pairsOf(ls labels.Labels) (pairs []string) {
	ls.Range(func(l labels.Label) { pairs = append(pairs, l.Name, l.Value) })
	return pairs
}

// find looks a target of this island up: of those that go by that name the one that
// fits the labels best.
func (p *Prober) find(definition, instance, address string, ls labels.Labels) (found *job, result *last) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	best := 0
	for _, t := range p.targets {
		j := t.job.Load()
		if j.use.Name != definition || j.instance != instance || textOf(j.address) != address {
			continue
		}
		if score, fits := j.subject.Fit(ls); fits && (found == nil || score > best) {
			found, result, best = j, t.last.Load(), score
		}
	}
	return found, result
}

// Find implements probepb.EvidenceServer.
func (s evidenceServer) Find(_ context.Context, r *probepb.FindRequest) (*probepb.FindResponse, error) {
	const most = 4 << 20 // bytes of an answer
	out, size := &probepb.FindResponse{}, 0
	for _, m := range s.k.list(query{failure: r.GetFailure(), definition: r.GetDefinition(), instance: r.GetInstance(), limit: int(r.GetLimit())}) {
		text, err := m.Encode()
		if err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		if size += len(text); size > most {
			break
		}
		out.Manifests = append(out.Manifests, text)
	}
	return out, nil
}

// Fetch implements probepb.EvidenceServer.
func (s evidenceServer) Fetch(r *probepb.FetchRequest, out probepb.Evidence_FetchServer) error {
	if s.k.store == nil {
		return status.Error(codes.NotFound, evidence.ErrGone.Error())
	}
	content, _, err := s.k.store.Archive(r.GetFailure())
	if errors.Is(err, evidence.ErrGone) {
		return status.Error(codes.NotFound, err.Error())
	}
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	defer content.Close()
	const part = 64 << 10
	for {
		buf := make([]byte, part) // each is sent later than Send returns
		n, err := io.ReadFull(content, buf)
		if n > 0 {
			if err := out.Send(&probepb.FetchPart{Content: buf[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return status.Error(codes.Internal, err.Error())
		}
	}
}

// fetch brings a bundle of another island here. What comes is that failure's, or an error.
func (k *keeper) fetch(ctx context.Context, island, failure string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	client, err := k.p.opts.Evidence(island, true)
	if err != nil {
		return nil, err
	}
	stream, err := client.Fetch(ctx, &probepb.FetchRequest{Failure: failure})
	if err != nil {
		return nil, err
	}
	var out []byte
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if out = append(out, part.GetContent()...); len(out) > evidence.MostArchive {
			k.m.refused.Inc()
			return nil, fmt.Errorf("%s sends more than %d bytes as one bundle", island, evidence.MostArchive)
		}
	}
	m, err := evidence.ReadManifest(bytes.NewReader(out), int64(len(out)))
	if err == nil && m.Failure != failure {
		err = fmt.Errorf("it is of failure %s", m.Failure)
	}
	if err != nil {
		k.m.refused.Inc()
		return nil, fmt.Errorf("%s sends what is not evidence of %s: %w", island, failure, err)
	}
	return out, nil
}

// findAt lists what another island keeps.
func (k *keeper) findAt(ctx context.Context, island string, q query) ([]*evidence.Manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	client, err := k.p.opts.Evidence(island, false)
	if err != nil {
		return nil, err
	}
	r, err := client.Find(ctx, &probepb.FindRequest{Failure: q.failure, Definition: q.definition, Instance: q.instance, Limit: uint32(q.limit)})
	if status.Code(err) == codes.Unimplemented {
		return nil, nil // a version that keeps none
	}
	if err != nil {
		return nil, err
	}
	var out []*evidence.Manifest
	for _, text := range r.GetManifests()[:min(len(r.GetManifests()), mostManifests)] {
		m, err := evidence.Decode(text)
		if err == nil && !q.match(m) {
			err = errors.New("it is none of those asked for")
		}
		if err != nil {
			k.m.refused.Inc()
			return nil, fmt.Errorf("%s says of evidence what cannot be believed: %w", island, err)
		}
		out = append(out, m)
	}
	return out, nil
}
