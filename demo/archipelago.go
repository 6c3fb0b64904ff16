package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/control"
)

// isle is one island of the demo's network.
type isle struct {
	Name, Region string
	// Addr is host:port of HTTP, MeshPort where the others reach it.
	Addr     string
	MeshPort int
	// First is the address in the mesh of the island that made the network; it
	// knows nobody beforehand itself.
	First string
	// Services are what it scrapes.
	Services []*service

	dir, config string
}

// data is the island's data directory.
func (i isle) data() string { return filepath.Join(i.dir, "data") }

// cast lists the islands and what each watches; the first has the whole shop, the
// host and the rules.
func (d *Demo) cast(dir string, shop *shop) ([]isle, error) {
	isles := []isle{{Name: "demo", Region: "laptop", Services: shop.services, dir: dir}}
	if d.opts.Start == nil {
		cart, frontend := shop.services[1:2], shop.services[2:3]
		isles = append(isles,
			isle{Name: "reef", Region: "north", Services: frontend, dir: filepath.Join(dir, "reef")},
			isle{Name: "lagoon", Region: "south", Services: cart, dir: filepath.Join(dir, "lagoon")})
	}
	addrs, err := freeAddrs(d.opts.Listen, len(isles))
	if err != nil {
		return nil, err
	}
	first := mesh.Port
	if _, port, _ := net.SplitHostPort(d.opts.Listen); port == "0" {
		first = 0
	}
	ports, err := freePorts(loopback, first, len(isles))
	if err != nil {
		return nil, fmt.Errorf("find ports for the mesh: %w", err)
	}
	for n := range isles {
		isles[n].Addr, isles[n].MeshPort = addrs[n], ports[n]
		if n > 0 {
			isles[n].First = net.JoinHostPort(loopback, strconv.Itoa(ports[0]))
		}
	}
	return isles, nil
}

const loopback = "127.0.0.1"

// crew runs the islands until ctx ends. When one ends, the others are stopped.
func (d *Demo) crew(ctx context.Context, st stage) error {
	start := d.opts.Start
	if start == nil {
		start = d.startIsland(st.log)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(st.isles))
	var wg sync.WaitGroup
	for n, i := range st.isles {
		wg.Go(func() {
			defer cancel()
			if errs[n] = start(ctx, i.dir, i.config); errs[n] != nil && n > 0 {
				errs[n] = fmt.Errorf("%s: %w", i.Name, errs[n])
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// unite makes one network of islands that run. Those that an earlier run in the
// same directory united are left as they are.
func unite(ctx context.Context, isles []isle) error {
	if len(isles) < 2 {
		return nil
	}
	first := control.NewClient(isles[0].data())
	for n, i := range isles {
		client := control.NewClient(i.data())
		at, err := control.Ask[control.NetworkStatus](ctx, client, "network")
		switch {
		case err != nil:
		case at.Joined:
		case n == 0:
			_, err = control.Act[control.InitRequest, control.InitResult](ctx, client, "init", control.InitRequest{Network: "acme"})
		default:
			err = join(ctx, first, client, i)
		}
		if err != nil {
			return fmt.Errorf("make a network of the demo's islands: %s: %w", i.Name, err)
		}
	}
	return nil
}

// join does what `atoll invite` on the first island and `atoll join` on another do.
func join(ctx context.Context, first, client *control.Client, i isle) error {
	invitation, err := control.Act[control.InviteRequest, control.InviteResult](ctx, first, "invite", control.InviteRequest{
		Role: "island", Labels: map[string]string{"region": i.Region}, Uses: 1, ExpiresSeconds: time.Minute.Seconds(),
	})
	if err != nil {
		return err
	}
	_, err = control.Act[control.JoinRequest, control.JoinResult](ctx, client, "join", control.JoinRequest{Token: invitation.Token})
	return err
}
