package island

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/query"
	"github.com/atoll-mesh/atoll/query/global"
	"github.com/atoll-mesh/atoll/query/peer"
	"github.com/atoll-mesh/atoll/replicate"
	"github.com/atoll-mesh/atoll/trust"
)

// copiesRoute answers which streams this island sends and which copies it keeps.
const copiesRoute = "GET " + control.Prefix + "copies"

func (i *Island) showCopies(w http.ResponseWriter, _ *http.Request) {
	r := i.getRooms()
	if r == nil || r.replicate == nil {
		refuseStarting(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(r.replicate.Status()) // the client went away
}

// holders are the islands that say to keep copies of others, as of a moment ago.
type holders struct {
	m *membership

	mu    sync.Mutex
	asked time.Time
	held  map[string][]heldCopy // by the origin's ID, the best first
}

// heldCopy is a copy and who keeps it.
type heldCopy struct {
	replicate.Fact
	holder *trust.Member
}

// list reads the documents of members about copies, at most once a second.
func (h *holders) list() map[string][]heldCopy {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held != nil && time.Since(h.asked) < membersAge {
		return h.held
	}
	h.asked, h.held = time.Now(), map[string][]heldCopy{}
	state, lost := h.m.state.Load(), h.m.lost()
	for _, d := range h.m.documents.List(copyPrefix) {
		holder, err := trust.ParseKey(strings.TrimPrefix(d.GetKey(), copyPrefix))
		author, other := trust.KeyOf(d.GetAuthor())
		member, here := state.MemberByKey(holder)
		if err != nil || other != nil || author != holder || !here || lost[member.Key] {
			continue // nobody speaks for another one
		}
		facts, err := replicate.DecodeFacts(d.GetValue())
		if err != nil {
			h.m.log.Warn("document about copies is not understood", "document", d.GetKey(), "error", err)
			continue
		}
		for _, f := range facts {
			h.held[f.Origin] = append(h.held[f.Origin], heldCopy{f, member})
		}
	}
	for _, list := range h.held {
		slices.SortFunc(list, func(a, b heldCopy) int {
			if whole := len(a.Match) == 0; whole != (len(b.Match) == 0) {
				if whole {
					return -1
				}
				return 1
			}
			return b.Opened.Compare(a.Opened)
		})
	}
	return h.held
}

// copyName names a copy to who keeps it.
func copyName(origin, stream string) string { return origin + "/" + stream }

// copiesOf are the copies that can answer for an island.
func (m *membership) copiesOf(facts global.Facts, held []heldCopy) (out []global.Copy) {
	i, own := m.island, m.home.Node().Public()
	for _, h := range held {
		one := global.Copy{Holder: h.holder.Name, Match: h.Selectors()}
		name := copyName(h.Origin, h.Stream)
		if h.holder.Key == own {
			here, ok := i.keptCopy(name, facts.Name)
			if !ok {
				continue
			}
			one.Catalog = here
		} else {
			one.Catalog = m.client(facts, h.holder.Key).CopyOf(name, facts)
		}
		out = append(out, one)
	}
	return out
}

// departed are the islands that left the network, or were dismissed, as far as
// others still have copies of them. One whose name is another's now is not shown.
func (m *membership) departed(held map[string][]heldCopy, names map[string]bool) (out []global.Island) {
	ids := make([]string, 0, len(held))
	for id := range held {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		name := held[id][0].Name
		if _, here := m.account(id); here || names[name] {
			continue
		}
		names[name] = true
		facts := global.Facts{Name: name, External: labels.FromMap(held[id][0].External)}
		out = append(out, global.WithCopies(global.Departed(facts, "it left the network"), m.copiesOf(facts, held[id])))
	}
	return out
}

// keptCopy is a copy that this island keeps, under the name that its origin goes by.
func (i *Island) keptCopy(name, origin string) (global.Catalog, bool) {
	r := i.getRooms()
	for _, c := range r.replicate.Copies() {
		if copyName(c.Origin.ID, c.Stream) != name {
			continue
		}
		if origin == "" {
			origin = c.Origin.Name
		}
		return r.query.CopyOf(query.Held{Name: origin, External: labels.FromMap(c.External), Storage: c.Store, Span: c.Store.Span}), true
	}
	return nil, false
}

// askedCopy answers others out of a copy that is kept here.
func (m *membership) askedCopy(name string) (peer.Answerer, error) {
	origin := ""
	if id, _, ok := strings.Cut(name, "/"); ok {
		if member, here := m.account(id); here {
			origin = member.Name
		}
	}
	c, ok := m.island.keptCopy(name, origin)
	if !ok {
		return nil, grpcstatus.Errorf(codes.NotFound, "no copy %.200q is kept here", name)
	}
	return c, nil
}
