package enrol

import (
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
	"github.com/atoll-mesh/atoll/wire/trustpb"
)

// maxAnswer keeps an answer's documents far below the join protocol's 8 MiB: what
// is left out comes with the first comparison.
const maxAnswer = 900 << 10

// essentials gives the documents that a new member must have to trust anybody:
// the network, itself, who signs, the policy, who is gone; and as many members
// as there is room for. Who is gone comes before who is there: what does not fit
// arrives with the first anti-entropy, and until then is not trusted.
func (a *Authority) essentials(m *trust.Member) ([]*replicapb.Document, error) {
	var out []*replicapb.Document
	size := 0
	have := map[string]bool{}
	add := func(d *replicapb.Document) bool {
		n := proto.Size(d) + 8
		if have[d.GetKey()] {
			return true
		}
		if size+n > maxAnswer {
			return false
		}
		size += n
		have[d.GetKey()] = true
		out = append(out, d)
		return true
	}
	for _, key := range []string{trust.NetworkDocument, trust.MemberDocument(m.Key)} {
		d, err := a.opts.Documents.Get(key)
		if err != nil {
			return nil, err
		}
		add(d)
	}
	for _, kind := range []string{trust.KindSigner, trust.KindPolicy, trust.KindRevoked, trust.KindLeft, trust.KindMember} {
		for _, d := range a.opts.Documents.List(kind + "/") {
			if !add(d) && kind != trust.KindPolicy {
				return out, nil
			}
		}
	}
	return out, nil
}

func bootstrapMessages(all []trust.Bootstrap) []*trustpb.Bootstrap {
	out := make([]*trustpb.Bootstrap, 0, len(all))
	for _, b := range all {
		out = append(out, &trustpb.Bootstrap{Key: b.Key.Bytes(), Addresses: b.Addresses})
	}
	return out
}
