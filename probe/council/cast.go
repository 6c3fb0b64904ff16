package council

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/probe/verdict"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

const (
	// mostVotes, mostAsked and mostWithdrawn bound one message.
	mostVotes     = 400
	mostAsked     = 200
	mostWithdrawn = 20_000
	enoughBytes   = 256 << 10
	// castTimeout bounds one call, patience all that fail in a row until another island
	// judges instead, for a while.
	castTimeout = 5 * time.Second
	retry       = 2 * time.Second
	patience    = 6 * time.Second
	shunFor     = 30 * time.Second
	// mute is for how long one is left alone that does not know what votes are.
	mute = 10 * time.Minute
)

// toward is what another judge knows of this island's votes.
type toward struct {
	name    string
	session uint64
	begin   bool // the next message begins the session
	// held are the votes that it has, dirty those to be told at once, later those to be
	// told with the next call, gone those to be withdrawn.
	held         map[uint64]bool
	dirty, later map[uint64]*seat
	gone         map[uint64]bool
	// soon asks for a call although nothing is dirty.
	soon   bool
	flying bool
	next   time.Time // not before this, if nothing is dirty; when it failed, not before at all
	failed time.Time // since when, zero if not
	// shunned is until when it does not count as one that judges.
	shunned time.Time
	// refused are definitions of which it counts no votes of this island.
	refused map[string]refusal
}

func (c *Council) toward(judge string) *toward {
	t := c.towards[judge]
	if t == nil {
		t = &toward{name: judge}
		t.restart()
		c.towards[judge] = t
	}
	return t
}

// restart has everything told anew; what that is, the caller adds.
func (t *toward) restart() {
	t.session, t.begin = newSession(), true
	t.held, t.gone = map[uint64]bool{}, map[uint64]bool{}
	t.dirty, t.later = map[uint64]*seat{}, map[uint64]*seat{}
}

func (t *toward) drop(s *seat) {
	delete(t.dirty, s.id)
	delete(t.later, s.id)
	delete(t.held, s.id)
	t.gone[s.id] = true
}

// call is one message on its way.
type call struct {
	to        *toward
	request   *probepb.CastRequest
	votes     []*seat
	withdrawn []uint64
}

// casts are the calls that are due.
func (c *Council) casts(now time.Time) (all []call) {
	if c.o.Mesh == nil {
		return nil
	}
	for name, t := range c.towards {
		idle := len(t.held)+len(t.dirty)+len(t.gone) == 0
		urgent := (t.soon || len(t.dirty) > 0) && t.failed.IsZero()
		if t.flying || idle || !urgent && now.Before(t.next) || now.Before(t.shunned) {
			continue
		}
		if now.Sub(c.seen[name]) > leeway {
			c.outOfReach(t)
			continue
		}
		t.flying, t.soon = true, false
		all = append(all, c.message(t, now))
	}
	return all
}

// outOfReach forgets what one knows that is not there: should it come back, it is told
// anew.
func (c *Council) outOfReach(t *toward) {
	delete(c.towards, t.name)
	for _, s := range c.seats {
		if s.first == t.name || s.second == t.name {
			c.moved = true
		}
	}
}

func (c *Council) message(t *toward, now time.Time) call {
	r := &probepb.CastRequest{Session: t.session, Begin: t.begin, Uplink: c.uplink, Country: c.self.Country, Isp: c.self.ISP}
	out := call{to: t, request: r}
	for id, s := range t.later {
		if t.held[id] {
			t.dirty[id] = s
		}
	}
	clear(t.later)
	size := 0
	for id, s := range t.dirty {
		if len(out.votes) == mostVotes || size > enoughBytes {
			break
		}
		m := s.message(c, now)
		size += proto.Size(m)
		out.votes = append(out.votes, s)
		r.Votes = append(r.Votes, m)
		t.held[id] = true
		delete(t.dirty, id)
	}
	for id := range t.gone {
		if len(out.withdrawn) == mostWithdrawn {
			break
		}
		out.withdrawn = append(out.withdrawn, id)
		delete(t.gone, id)
	}
	r.Withdrawn, r.Held = out.withdrawn, uint32(len(t.held))
	for id := range t.held {
		if len(r.Asked) == mostAsked {
			break
		}
		if s := c.byID[id]; s != nil && s.first == t.name && s.view.State() > verdict.Up {
			r.Asked = append(r.Asked, id)
		}
	}
	return out
}

// cast makes one call.
func (c *Council) cast(ctx context.Context, out call) {
	ctx, cancel := context.WithTimeout(ctx, castTimeout)
	defer cancel()
	c.m.sentBytes.Add(float64(proto.Size(out.request)))
	c.m.sent.Add(float64(len(out.votes)))
	answer, err := c.o.Mesh.Cast(ctx, out.to.name, out.request)
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	t := out.to
	t.flying = false
	if c.towards[t.name] != t || t.session != out.request.GetSession() {
		return
	}
	if err != nil {
		c.failed(out, err, now)
		return
	}
	c.m.casts.WithLabelValues(resultOK).Inc()
	t.begin, t.failed, t.next = false, time.Time{}, now.Add(told)
	if answer.GetAgain() {
		c.m.again.Inc()
		t.restart()
		for _, s := range c.seats {
			if s.first == t.name || s.second == t.name {
				t.dirty[s.id] = s
			}
		}
	}
	c.learn(answer.GetSeen(), now)
	c.rebuffed(t, answer.GetRefused(), now)
	if len(t.dirty) > 0 {
		c.stir()
	}
}

func (c *Council) failed(out call, err error, now time.Time) {
	t := out.to
	c.m.casts.WithLabelValues(resultFailed).Inc()
	for _, s := range out.votes {
		if c.seats[s.target] == s && (s.first == t.name || s.second == t.name) {
			t.dirty[s.id] = s
			delete(t.held, s.id)
		}
	}
	for _, id := range out.withdrawn {
		t.gone[id] = true
	}
	t.next = now.Add(retry)
	if t.failed.IsZero() {
		t.failed = now
	}
	mutes := grpcstatus.Code(err) == codes.Unimplemented
	if now.Sub(t.failed) < patience && !mutes {
		return
	}
	c.log.Debug("island does not take votes, another one judges", "island", t.name, "err", err)
	t.restart()
	t.failed, t.shunned = time.Time{}, now.Add(shunFor)
	if mutes {
		t.shunned = now.Add(mute)
	}
	c.moved = true
	c.stir()
}

// learn takes what others see.
func (c *Council) learn(all []*probepb.Seen, now time.Time) {
	c.shifted = c.shifted || len(all) > 0
	const most = mostVotes + mostAsked
	for _, m := range all[:min(len(all), most)] {
		s := c.byID[m.GetId()]
		if s == nil {
			continue
		}
		names := m.GetNames()
		s.seen = seen{
			state: stateOf(m.GetState()), others: int(min(m.GetOthers(), mostVoters)), fine: int(min(m.GetFine(), mostVoters)),
			names: names[:min(len(names), nearest)], at: now,
		}
	}
}

func (s *seat) message(c *Council, now time.Time) *probepb.Vote {
	v := s.vote(c)
	m := &probepb.Vote{
		Id: s.id, Target: s.target.message(), State: uint32(v.State), SinceMs: age(now, v.Since), AtMs: age(now, v.Measured),
		Code: v.Code, Words: short(v.Words), Bad: uint32(v.Bad), Of: uint32(v.Of), TookUs: micro(v.Took), Expires: s.expires,
		Answer: answerMessage(s.answer), PhasesUs: phasesMessage(v.Phases), Failure: v.Failure,
	}
	for _, t := range v.Turns {
		m.Turns = append(m.Turns, &probepb.Turn{AgoMs: age(now, t.At), State: uint32(t.State)})
	}
	s.figure, s.figured = v.Took, now
	return m
}

// phasesMessage leaves out the last ones that did not happen.
func phasesMessage(phases []time.Duration) (us []uint64) {
	for len(phases) > 0 && phases[len(phases)-1] == 0 {
		phases = phases[:len(phases)-1]
	}
	for _, p := range phases {
		us = append(us, micro(p))
	}
	return us
}

func age(now, at time.Time) uint64 { return uint64(max(now.Sub(at), 0).Milliseconds()) }

func micro(d time.Duration) uint64 { return uint64(max(d, 0).Microseconds()) }

func stateOf(n uint32) verdict.State {
	if n > uint32(verdict.Down) {
		return verdict.Unknown
	}
	return verdict.State(n)
}
