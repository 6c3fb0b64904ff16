package island

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	common "github.com/atoll-mesh/atoll/alert/global"
	"github.com/atoll-mesh/atoll/asset"
	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/replica"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// islands are this one and the other members.
func (l *listing) islands(_ context.Context, yield func(*asset.Item)) error {
	m := l.island.membership.Load()
	if m == nil {
		yield(&asset.Item{Kind: asset.KindIsland, Name: l.island.ownName(), State: "here", Summary: "belongs to no network", Labels: labels.FromMap(l.island.labels())})
		return nil
	}
	peers := map[trust.Key]mesh.PeerStatus{}
	if running := m.mesh.Load(); running != nil {
		for _, p := range running.Peers() {
			peers[p.Key] = p
		}
	}
	self := m.home.Node().Public()
	for _, member := range m.state.Load().Members() {
		b := labels.NewBuilder(labels.FromMap(member.Labels))
		b.Set("role", member.Role)
		it := asset.Item{Kind: asset.KindIsland, Common: true, Key: member.Key.String(), Name: member.Name, Summary: member.Role}
		if member.Key == self {
			for name, value := range m.labels() {
				b.Set(name, value)
			}
			it.State = "here"
		} else if p, ok := peers[member.Key]; ok {
			it.State, it.More = string(p.State), addressesOf(p.Addresses)
			it.Summary = strings.TrimSpace(member.Role + " " + p.Path + " " + p.Verdict)
		}
		it.Labels = b.Labels()
		yield(&it)
	}
	return nil
}

// addressesOf are the distinct IP addresses among multiaddresses.
func addressesOf(multiaddrs []string) labels.Labels {
	b, seen := labels.NewScratchBuilder(0), map[string]bool{}
	for _, text := range multiaddrs {
		at, ok := socketOf(text)
		if ip := at.Addr().String(); ok && !seen[ip] {
			seen[ip] = true
			b.Add(fmt.Sprintf("ip%d_address", len(seen)), ip) // found by address: too
		}
	}
	b.Sort()
	return b.Labels()
}

// kindDashboard is of documents that say what a dashboard shows.
const kindDashboard = "dashboard"

// unlistedKind is of documents that islands write for each other and nobody looks for.
func unlistedKind(kind string) bool {
	return kind == common.KindState || kind+"/" == copyPrefix || kind+"/" == statementPrefix
}

// documents are what the network shares.
func (l *listing) documents(_ context.Context, yield func(*asset.Item)) error {
	m := l.island.membership.Load()
	if m == nil {
		l.of, l.held, l.root = nil, nil, nil
		return nil
	}
	// Reading them all is for when one changed; then only those parts are kept that
	// are listed.
	if root := m.documents.Root(); l.of != m || !bytes.Equal(root, l.root) {
		l.of, l.root, l.held = m, root, nil
		for _, d := range m.documents.List("") {
			if it, ok := documentItem(d, m); ok {
				l.held = append(l.held, it)
			}
		}
	}
	for k := range l.held {
		yield(&l.held[k])
	}
	return nil
}

func documentItem(d *replicapb.Document, m *membership) (it asset.Item, ok bool) {
	kind, name, err := trust.ParseDocumentKey(d.GetKey())
	if err != nil || unlistedKind(kind) {
		return it, false
	}
	it = asset.Item{Kind: asset.KindDocument, Common: true, Name: d.GetKey()}
	author := "somebody who is no member"
	if key, err := trust.KeyOf(d.GetAuthor()); err == nil {
		if member, ok := m.state.Load().MemberByKey(key); ok {
			author = member.Name
		}
	}
	at := replica.TimeOf(d.GetTime()).UTC().Format(time.RFC3339)
	it.Summary = "written by " + author + " at " + at
	it.Labels = labels.FromStrings("author", author, "document", kind)
	if kind == kindDashboard {
		it.Kind, it.Key, it.Ref = asset.KindDashboard, name, name
		it.Name = cmp.Or(titleOf(d.GetValue()), name)
	}
	return it, true
}

// titleOf is the title in a dashboard, "" where it has none.
func titleOf(value []byte) string {
	var v struct {
		Title string `json:"title"`
	}
	if json.Unmarshal(value, &v) != nil {
		return ""
	}
	return v.Title
}
