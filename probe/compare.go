package probe

import (
	"context"

	"github.com/atoll-mesh/atoll/probe/compare"
	"github.com/atoll-mesh/atoll/probe/guard"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// keep is what the probes of a definition keep beside their samples.
func (u *use) keep() protocol.Keep {
	if u.Compare == nil {
		return protocol.Keep{}
	}
	return compare.Keep(u.Compare)
}

// answer is what is compared of a result, nil for nothing. A flow that failed answered
// something else.
func (u *use) answer(r *protocol.Result) *compare.Answer {
	if u.Compare == nil || len(u.module.Flow) > 0 && !answered(r) {
		return nil
	}
	return compare.AnswerOf(u.Compare, r)
}

// answered tells that the answer is fine, if late.
func answered(r *protocol.Result) bool { return r.Up || r.Reason.Code == protocol.Slow }

// askOrigin asks what the edges of a definition's targets are compared with, as the
// targets themselves are asked. Where there is no answer that is fine it says why.
func (p *Prober) askOrigin(ctx context.Context, definition, url, host string) (*compare.Answer, string) {
	for _, u := range p.plan.Load().uses {
		if u.Name != definition || u.problem != "" {
			continue
		}
		r := p.probe(ctx, u.run, u.within, p.guard.For(guard.Defined), &protocol.Request{Target: url, Host: host, Module: u.module, Keep: u.keep()})
		if !answered(r) {
			return nil, r.Reason.Words
		}
		if a := u.answer(r); a != nil {
			return a, ""
		}
		return nil, "it did not end"
	}
	return nil, "this island cannot use the definition"
}
