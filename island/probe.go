package island

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/storage"
	"google.golang.org/grpc"

	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/rpc"
	"github.com/atoll-mesh/atoll/mesh/witness"
	"github.com/atoll-mesh/atoll/probe"
	"github.com/atoll-mesh/atoll/probe/schedule"
	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

// buildProbe makes the room that probes. Its samples go through aggregation, as
// scraped ones do.
func (i *Island) buildProbe(r *rooms, cfg *config.Config, door storage.AppendableV2) (err error) {
	r.probe, err = probe.New(probe.Options{
		Config: cfg.Probe, Set: cfg.Probes, Store: door, Labels: i.labels, Members: i.vantages, Own: (&meshAddresses{island: i}).list,
		Public: i.seenFrom, Votes: votes{i}, Runs: i.runsOf, Audit: i.auditProbe, Evidence: i.evidenceOf, Dir: filepath.Join(cfg.Island.DataDir, "probe"),
		Vantages: i.vantageList, Describe: i.describe, Reserve: func(total uint64) uint64 { return i.Config().Budget.Disk.Reserve.Of(total) },
		Discovery: r.collect.SDMetrics(), Logger: i.room("probe"), Registerer: i.registry, Health: i.health,
	})
	return err
}

// seenFrom is the public address from which others see this island come.
func (i *Island) seenFrom() netip.Addr {
	if m := i.membership.Load(); m != nil {
		if running := m.mesh.Load(); running != nil {
			return running.Seen()
		}
	}
	return netip.Addr{}
}

// labels are this island's: what its configuration says, and its network.
func (i *Island) labels() map[string]string {
	if m := i.membership.Load(); m != nil {
		return m.labels()
	}
	cfg := i.Config()
	out := map[string]string{config.IslandLabel: cfg.Island.Name}
	maps.Copy(out, cfg.Island.Labels)
	return out
}

// vantages are the islands from which is probed: all but observers, and but those
// of which a statement says that they are lost. One that is merely out of reach
// probes on.
func (i *Island) vantages() (out []schedule.Member) {
	m := i.membership.Load()
	if m == nil {
		return nil
	}
	lost := map[trust.Key]bool{}
	for _, d := range m.documents.List(statementPrefix) {
		if s, err := witness.DecodeStatement(d.GetValue()); err == nil && s.Kind == witness.KindLost {
			lost[s.Target] = true
		}
	}
	self := m.home.Node().Public()
	for _, member := range m.state.Load().Members() {
		switch {
		case !aggregates(member.Role) && member.Role != trust.RoleVantage:
		case member.Key == self:
			out = append(out, schedule.Member{Name: member.Name, Labels: m.labels()})
		case !lost[member.Key]:
			ls := map[string]string{}
			maps.Copy(ls, member.Labels)
			ls[config.IslandLabel] = member.Name
			out = append(out, schedule.Member{Name: member.Name, Labels: ls})
		}
	}
	return out
}

// vantageConn reaches a member by its name, in a class.
func (i *Island) vantageConn(vantage string, class rpc.Class) (grpc.ClientConnInterface, error) {
	m := i.membership.Load()
	if m == nil {
		return nil, mesh.ErrNotReady
	}
	member, err := m.find(vantage)
	if err != nil {
		return nil, err
	}
	return m.askerBy(member.Key, class)()
}

// meshAddresses are those at which the island's mesh listens.
type meshAddresses struct {
	island *Island

	mu    sync.Mutex
	asked time.Time
	addrs []netip.AddrPort
}

// meshAddressesAge is for how long a list is used again: it is asked for with each
// connection of each probe.
const meshAddressesAge = 10 * time.Second

func (a *meshAddresses) list() []netip.AddrPort {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.asked) < meshAddressesAge {
		return a.addrs
	}
	a.asked, a.addrs = time.Now(), nil
	m := a.island.membership.Load()
	if m == nil {
		return nil
	}
	running := m.mesh.Load()
	if running == nil {
		return nil
	}
	for _, text := range running.Addresses() {
		if at, ok := socketOf(text.String()); ok {
			// Whatever address it has outside, inside it is all of this machine's.
			a.addrs = append(a.addrs, at, netip.AddrPortFrom(netip.IPv6Unspecified(), at.Port()))
		}
	}
	return a.addrs
}

// socketOf reads /ip4/192.0.2.1/tcp/4001/… and the like.
func socketOf(multiaddr string) (netip.AddrPort, bool) {
	parts := strings.Split(multiaddr, "/")
	const address, port = 2, 4
	if len(parts) <= port {
		return netip.AddrPort{}, false
	}
	a, err := netip.ParseAddr(parts[address])
	n, err2 := strconv.ParseUint(parts[port], 10, 16)
	return netip.AddrPortFrom(a, uint16(n)), err == nil && err2 == nil
}

// probesHere reports whether a shared definition is for this island: one that says
// "this" is its author's alone. Among which of the others it is spread is the
// room's to say.
func (m *membership) probesHere(shared config.Shared, d *replicapb.Document) bool {
	return shared.Probe == nil || !shared.Probe.From.This || bytes.Equal(d.GetAuthor(), m.home.Node().Public().Bytes())
}

// validateProbe also refuses a module that this island does not have: it is most
// likely mistyped.
func (i *Island) validateProbe(value []byte) error {
	shared, err := config.ReadShared(config.SharedProbe, config.SharedProbe, value)
	if err != nil {
		return err
	}
	modules := i.Config().Probes.All()
	if _, ok := shared.Probe.Resolve(modules); !ok {
		return fmt.Errorf("module: %q: this island has none of that name; write the module into the definition, or use one of %s", shared.Probe.Module.Name, strings.Join(modules.Names(), ", "))
	}
	return nil
}
