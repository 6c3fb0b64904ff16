package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/control"
)

// isle is one island of the demo's network.
type isle struct {
	place
	// First tells the island that makes the network, and is looked at.
	First bool
	// Addr is host:port of HTTP, MeshPort where the mesh listens.
	Addr     string
	MeshPort int
	// Announce is where the others reach its mesh, if that is elsewhere. A name: islands
	// that have one keep their loopback addresses, past the distance, to themselves.
	Announce string
	// Services are what it scrapes, Egress its way to other cities.
	Services []*service
	Egress   string

	dir, config, outside string
}

// data is the island's data directory.
func (i isle) data() string { return filepath.Join(i.dir, "data") }

// cast lists the islands and where they listen. Each watches the service that runs in
// its city; one that is alone has the whole shop.
func (d *Demo) cast(dir string, shop *shop) ([]isle, error) {
	cities := places()
	if d.opts.start != nil {
		cities = cities[:1]
	}
	addrs, err := freeAddrs(d.opts.Listen, len(cities))
	if err != nil {
		return nil, err
	}
	outside, inside := mesh.Port, mesh.Port+insideOffset
	if _, port, _ := net.SplitHostPort(d.opts.Listen); port == "0" {
		outside, inside = 0, 0
	}
	ports, err := freePorts(loopback, outside, len(cities))
	if err != nil {
		return nil, fmt.Errorf("find ports for the mesh: %w", err)
	}
	announced := ports
	if d.trips() != nil {
		if ports, err = freePorts(loopback, inside, len(cities)); err != nil {
			return nil, fmt.Errorf("find ports for the mesh: %w", err)
		}
	}
	isles := make([]isle, len(cities))
	for n, city := range cities {
		isles[n] = isle{place: city, First: n == 0, Addr: addrs[n], MeshPort: ports[n], Services: shop.in(n), dir: filepath.Join(dir, city.Name)}
		if d.trips() != nil {
			isles[n].Announce = net.JoinHostPort("localhost", strconv.Itoa(announced[n]))
			isles[n].outside = net.JoinHostPort(loopback, strconv.Itoa(announced[n]))
		}
	}
	if len(isles) == 1 {
		isles[0].Services, isles[0].dir = shop.services, dir
	}
	return isles, nil
}

const (
	loopback = "127.0.0.1"
	anyPort  = loopback + ":0"
	// insideOffset keeps the ports that only the emulated distance knows apart from
	// those that islands announce.
	insideOffset = 10
)

// openStraits puts the distance between islands; none without.
func openStraits(isles []isle, scenery *scenery) error {
	owner := map[uint16]int{}
	for n, i := range isles {
		owner[uint16(i.MeshPort)] = n
	}
	from := func(a netip.AddrPort) int {
		if n, ok := owner[a.Port()]; ok {
			return n
		}
		return anywhere
	}
	for n, i := range isles {
		if i.Announce == "" {
			continue
		}
		s, err := openStrait(n, i.outside, net.JoinHostPort(loopback, strconv.Itoa(i.MeshPort)), scenery.world.trips, from, scenery.world.log)
		if err != nil {
			return err
		}
		scenery.onClose(s.close)
	}
	return nil
}

// crew runs the islands until ctx ends. When one ends, the others are stopped.
func (d *Demo) crew(ctx context.Context, st stage) error {
	start := d.opts.start
	if start == nil {
		start = runProcess
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(st.isles))
	var wg sync.WaitGroup
	for n, i := range st.isles {
		wg.Go(func() {
			defer cancel()
			if errs[n] = start(ctx, i.dir, i.config); errs[n] != nil {
				errs[n] = fmt.Errorf("%s: %w", i.Name, errs[n])
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// unite makes one network of islands that run, and has them obey the documents. Those
// that an earlier run in the same directory united are left as they are.
func unite(ctx context.Context, isles []isle, documents []document, step func(string)) error {
	if len(isles) < 2 {
		return nil
	}
	first := control.NewClient(isles[0].data())
	wrong := func(i isle, err error) error {
		return fmt.Errorf("make a network of the demo's islands: %s: %w", i.Name, err)
	}
	at, err := control.Ask[control.NetworkStatus](ctx, first, "network")
	if err == nil && !at.Joined {
		step("making a network")
		_, err = control.Act[control.InitRequest, control.InitResult](ctx, first, "init", control.InitRequest{Network: "acme"})
	}
	if err == nil {
		_, err = control.Act[control.PromoteRequest, control.PromoteResult](ctx, first, "promote", control.PromoteRequest{Names: []string{isles[0].Name}})
	}
	if err == nil {
		step("writing documents")
		err = publish(ctx, first, documents)
	}
	if err != nil {
		return wrong(isles[0], err)
	}
	step("inviting " + isles[1].Name + " and others")
	errs := make([]error, len(isles))
	var wg sync.WaitGroup
	for n, i := range isles[1:] {
		wg.Go(func() {
			if err := join(ctx, first, control.NewClient(i.data()), i); err != nil {
				errs[n] = wrong(i, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// join does what `atoll invite` on the first island and `atoll join` on another do.
func join(ctx context.Context, first, client *control.Client, i isle) error {
	at, err := control.Ask[control.NetworkStatus](ctx, client, "network")
	if err != nil || at.Joined {
		return err
	}
	invitation, err := control.Act[control.InviteRequest, control.InviteResult](ctx, first, "invite", control.InviteRequest{
		Role: "island", Labels: i.labels(), Uses: 1, ExpiresSeconds: time.Minute.Seconds(),
	})
	if err != nil {
		return err
	}
	_, err = control.Act[control.JoinRequest, control.JoinResult](ctx, client, "join", control.JoinRequest{Token: invitation.Token})
	return err
}
