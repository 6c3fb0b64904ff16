package demo

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
)

// scenery is everything but the islands: what they watch, what is between them, and
// who hears their notifications.
type scenery struct {
	world *world
	shop  *shop
	sites *sites
	inbox *inbox

	authority string // the path of a certificate
	closers   []func()
}

func (s *scenery) onClose(f func()) { s.closers = append(s.closers, f) }

// close ends all of it, the last first.
func (s *scenery) close() {
	for _, f := range slices.Backward(s.closers) {
		f()
	}
}

func (d *Demo) openScenery(dir string, screen *screen, log *slog.Logger) (_ *scenery, err error) {
	s := &scenery{world: newWorld(d.trips(), log), authority: filepath.Join(dir, "authority.pem")}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.shop, err = openShop(s.world, log); err != nil {
		return nil, err
	}
	s.onClose(s.shop.close)
	if s.sites, err = openSites(log); err != nil {
		return nil, err
	}
	s.onClose(s.sites.close)
	s.world.put(s.sites.secure.Addr(), cartAt)
	if err := os.WriteFile(s.authority, s.sites.authority, 0o600); err != nil {
		return nil, fmt.Errorf("write the demo's certificate: %w", err)
	}
	if s.inbox, err = openInbox(screen, log); err != nil {
		return nil, err
	}
	s.onClose(s.inbox.close)
	return s, nil
}

// furnish gives each island its ways to the others, and its files.
func (s *scenery) furnish(isles []isle, p pace) error {
	for n := range isles {
		s.world.put(isles[n].Addr, n)
		out, err := openEgress(s.world, n)
		if err != nil {
			return err
		}
		s.onClose(out.close)
		isles[n].Egress = out.url()
		if isles[n].config, err = writeFiles(isles[n], s.inbox.url(), s.authority, p); err != nil {
			return err
		}
	}
	return openStraits(isles, s)
}

// scene is what the documents are about.
type scene struct {
	Isles                         []isle
	Faraway                       string // who at times does not reach the shop
	Frontend, Cart, Secure, Names string // addresses
	Ping                          bool
	Pace                          map[string]string
}

func (s *scenery) scene(isles []isle, p pace) scene {
	return scene{
		Isles: isles, Faraway: isles[len(isles)-1].City, Frontend: s.shop.entrance().Addr(), Cart: s.shop.in(cartAt)[0].Addr(),
		Secure: s.sites.secure.Addr(), Names: s.sites.namesAddr(), Ping: mayPing(), Pace: p.texts(),
	}
}
