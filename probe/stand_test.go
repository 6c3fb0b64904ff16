package probe

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/probe/definition"
)

// writeISPs writes a database of who provides which prefix.
func writeISPs(t *testing.T, path string, isps map[string]string) {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "GeoIP2-ISP", IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for prefix, isp := range isps {
		_, network, err := net.ParseCIDR(prefix)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(network, mmdbtype.Map{"isp": mmdbtype.String(isp)}); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := tree.WriteTo(f); err != nil {
		t.Fatal(err)
	}
}

func TestPlaceIsLookedUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "isp.mmdb")
	writeISPs(t, path, map[string]string{"203.0.113.0/24": "Unicom", "198.51.100.0/24": "Telecom"})
	synctest.Test(t, func(t *testing.T) {
		var seen atomic.Pointer[netip.Addr]
		seen.Store(&netip.Addr{})
		web := define(t, "web", "targets: [a]\ninterval: 1s")
		warnings := health.New(prometheus.NewRegistry())
		r := begin(t, "berlin", Set{Local: []*definition.Definition{web}}, func(o *Options) {
			o.Config.Place.Databases, o.Health = []string{path}, warnings
			o.Public = func() netip.Addr { return *seen.Load() }
		})
		defer r.end()
		comes := func(from string) {
			addr := netip.MustParseAddr(from)
			seen.Store(&addr)
			time.Sleep(5 * time.Second)
		}
		time.Sleep(3 * time.Second)
		r.wantLive("nobody has seen it", `{instance="a", job="web", region="eu", vantage="berlin"} 1`)
		comes("203.0.113.7")
		r.wantLive("its address is known", `{instance="a", isp="Unicom", job="web", region="eu", vantage="berlin"} 1`)
		comes("198.51.100.9")
		r.wantLive("it has another address", `{instance="a", isp="Telecom", job="web", region="eu", vantage="berlin"} 1`)

		writeISPs(t, path, map[string]string{"198.51.100.0/24": "Mobile"})
		time.Sleep(standAge)
		r.wantLive("the database was replaced", `{instance="a", isp="Mobile", job="web", region="eu", vantage="berlin"} 1`)

		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		comes("203.0.113.7")
		r.wantLive("the database is gone", `{instance="a", job="web", region="eu", vantage="berlin"} 1`)
		if a := warnings.Active(); len(a) != 1 || a[0].Code != "probe-place-unknown" {
			t.Errorf("the warnings are %+v", a)
		}
	})
}
