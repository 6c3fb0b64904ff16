package probe

import (
	"cmp"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/probe/place"
	"github.com/atoll-mesh/atoll/probe/schedule"
)

// stand is where this island stands: what is configured, and what databases say of its
// address.
type stand struct {
	mu    sync.Mutex
	asked place.Config
	addr  netip.Addr
	at    time.Time
	found place.Config
}

// standAge is how long what a database said counts: its file may be replaced.
const standAge = time.Hour

// place looks up where the island stands, at most once an hour unless its address or
// the configuration changes.
func (p *Prober) place(cfg place.Config) place.Config {
	var addr netip.Addr
	if p.opts.Public != nil {
		addr = p.opts.Public()
	}
	s := &p.stand
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.at.IsZero() && time.Since(s.at) < standAge && addr == s.addr && reflect.DeepEqual(cfg, s.asked) {
		return s.found
	}
	found, err := cfg.Find(addr)
	s.asked, s.addr, s.at, s.found = cfg, addr, time.Now(), found
	if err != nil {
		p.warnings.place.Set("%v", err)
	} else {
		p.warnings.place.Clear()
	}
	return found
}

// placeLabels are those of the place of a vantage, of which it may have some itself.
func placeLabels(self schedule.Member, at place.Config) map[string]string {
	ls := at.Labels()
	ls["vantage"], ls["region"] = self.Name, self.Labels["region"]
	for _, name := range []string{"isp", "country", "city"} {
		ls[name] = cmp.Or(ls[name], self.Labels[name])
	}
	return ls
}

// vantageInfo are the labels of atoll_probe_vantage_info.
var vantageInfo = [...]string{"vantage", "region", "geohash", "country", "city", "isp", "asn", "latitude", "longitude"}

// tell puts the island's place into its metrics: maps are drawn from them.
func (m *metrics) tell(labels map[string]string) {
	values := prometheus.Labels{}
	for _, name := range vantageInfo {
		values[name] = labels[name]
	}
	m.vantage.Reset()
	m.vantage.With(values).Set(1)
}
