//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

const (
	// startLimit bounds how long an island may take to answer, seeLimit until all
	// see all, and how long `wait` waits. A loaded machine takes long.
	startLimit = time.Minute
	seeLimit   = 90 * time.Second
)

// archipelago is six islands and the network between them.
type archipelago struct {
	opts  options
	began time.Time
	dir   string
	lab   *lab.Lab
	boxes []*lab.NAT
	shop  *shop
	sites []*site // the first one founds the network and is its signer
}

// run brings everything up, obeys, and takes everything down.
func run(ctx context.Context, o options) (err error) {
	a := &archipelago{opts: o, began: time.Now()}
	if a.opts.atoll, err = filepath.Abs(o.atoll); err != nil {
		return fmt.Errorf("find the binary %q: %w", o.atoll, err)
	}
	if _, err := os.Stat(a.opts.atoll); err != nil {
		return fmt.Errorf("find the binary: %w; build it with `make build`, or name one with -atoll", err)
	}
	defer func() { err = errors.Join(err, a.close()) }()
	if err := a.bringUp(ctx); err != nil {
		return stopped(ctx, err)
	}
	a.printTable()
	return a.obey(ctx)
}

// stopped tells Ctrl-C from a failure.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("stopped before it was up")
	}
	return err
}

// say prints a line of progress with the time since the begin.
func (a *archipelago) say(format string, args ...any) {
	fmt.Fprintf(a.opts.out, "%5.1f s  %s\n", time.Since(a.began).Seconds(), fmt.Sprintf(format, args...))
}

func (a *archipelago) bringUp(ctx context.Context) (err error) {
	if a.dir, err = os.MkdirTemp("", "atoll-lab-"); err != nil {
		return fmt.Errorf("make a directory for the islands: %w", err)
	}
	a.say("laying out 3 regions, 2 NAT boxes, 6 hosts, 20 services")
	if err := a.layOut(); err != nil {
		return err
	}
	a.say("starting 6 islands")
	if err := each(a.sites, func(s *site) error { return s.up(ctx) }); err != nil {
		return err
	}
	first, others := a.sites[0], a.sites[1:]
	if _, err := first.atoll(ctx, "init", "lab"); err != nil {
		return err
	}
	a.say("%s has made the network", first.name)
	tokens := map[*site]string{}
	for _, s := range others {
		if tokens[s], err = first.atoll(ctx, "invite", "--label", "region="+s.region, "--label", "isp="+s.isp); err != nil {
			return err
		}
	}
	err = each(others, func(s *site) error {
		answer, err := s.atoll(ctx, "join", strings.TrimSpace(tokens[s]))
		if err == nil {
			a.say("%s: %s", s.name, strings.TrimSpace(answer))
		}
		return err
	})
	if err != nil {
		return err
	}
	a.say("waiting until all see all")
	err = each(a.sites, func(s *site) error { return s.waitFor(ctx, len(others)) })
	if err != nil {
		return err
	}
	a.say("all see all")
	if err := a.shop.define(ctx, first); err != nil {
		return err
	}
	a.say("every island probes the 20 services")
	return nil
}

// layOut makes the hosts and what belongs to the islands on them.
func (a *archipelago) layOut() (err error) {
	var hosts lab.Islands
	// Not ctx: it would take the hosts away while islands are being stopped.
	a.lab, err = lab.Up(context.Background(), lab.Options{Logger: a.opts.log, Build: func(l *lab.Lab) { hosts = lab.ThreeRegions(l) }})
	if err != nil {
		return err
	}
	a.boxes = hosts.Boxes
	if a.shop, err = openShop(a.lab, a.say); err != nil {
		return err
	}
	for _, node := range hosts.All {
		s := &site{name: node.Name(), node: node, dir: filepath.Join(a.dir, node.Name()), binary: a.opts.atoll, nat: "none, public", isp: isps[node.Name()], inbox: a.shop.inbox()}
		s.region, _, _ = strings.Cut(s.name, "-")
		for _, box := range hosts.Boxes {
			if box.Name() == s.region {
				s.nat = string(box.Kind())
			}
		}
		if err := errors.Join(s.write(), s.openDoor()); err != nil {
			return err
		}
		a.sites = append(a.sites, s)
	}
	return nil
}

// each runs fn for all sites at once and joins what went wrong.
func each(sites []*site, fn func(*site) error) error {
	errs := make([]error, len(sites))
	var wg sync.WaitGroup
	for n, s := range sites {
		wg.Go(func() { errs[n] = fn(s) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// close takes everything down; what was not made yet is skipped.
func (a *archipelago) close() error {
	var errs []error
	for _, s := range a.sites {
		s.closeDoor()
	}
	a.shop.close()
	if a.lab != nil {
		errs = append(errs, a.lab.Close()) // kills what runs in it
	}
	for _, s := range a.sites {
		s.reap()
	}
	if a.dir == "" {
		return errors.Join(errs...)
	}
	if a.opts.keep {
		a.say("stopped; kept %s", a.dir)
		return errors.Join(errs...)
	}
	if err := os.RemoveAll(a.dir); err != nil {
		errs = append(errs, fmt.Errorf("remove the islands' files: %w", err))
	}
	a.say("stopped; removed %s", a.dir)
	return errors.Join(errs...)
}
