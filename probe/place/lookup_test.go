package place

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// database writes one with a record for a prefix.
func database(t *testing.T, name, prefix string, record mmdbtype.Map) string {
	t.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: name, IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	_, network, err := net.ParseCIDR(prefix)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Insert(network, record); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name+".mmdb")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := tree.WriteTo(f); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFind(t *testing.T) {
	city := database(t, "GeoLite2-City", "203.0.113.0/24", mmdbtype.Map{
		"country":  mmdbtype.Map{"iso_code": mmdbtype.String("CN")},
		"city":     mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String("Beijing"), "zh-CN": mmdbtype.String("北京")}},
		"location": mmdbtype.Map{"latitude": mmdbtype.Float64(39.9042), "longitude": mmdbtype.Float64(116.4074)},
	})
	asn := database(t, "GeoLite2-ASN", "203.0.113.0/24", mmdbtype.Map{
		"autonomous_system_number": mmdbtype.Uint32(4808), "autonomous_system_organization": mmdbtype.String("China Unicom"),
	})
	both := []string{city, asn}
	at := func(lat, lon float64) Config {
		return Config{Latitude: &lat, Longitude: &lon}
	}
	found := at(39.9042, 116.4074)
	found.Country, found.City, found.ISP, found.ASN, found.Databases = "CN", "Beijing", "China Unicom", 4808, both

	written := at(1, 2)
	written.City, written.Databases, written.Address = "Here", both, "203.0.113.9"
	mixed := written
	mixed.Country, mixed.ISP, mixed.ASN = "CN", "China Unicom", 4808
	for name, tc := range map[string]struct {
		c    Config
		addr string
		want Config
	}{
		"all is found":            {Config{Databases: both}, "203.0.113.7", found},
		"what is written wins":    {written, "198.51.100.1", mixed},
		"an address of nowhere":   {Config{Databases: both}, "198.51.100.1", Config{Databases: both}},
		"IPv6 is not in them":     {Config{Databases: both}, "2001:db8::1", Config{Databases: both}},
		"no address":              {Config{Databases: both}, "", Config{Databases: both}},
		"without a database":      {Config{ISP: "a"}, "203.0.113.7", Config{ISP: "a"}},
		"the address as it is v6": {Config{Databases: both}, "::ffff:203.0.113.7", found},
	} {
		addr, _ := netip.ParseAddr(tc.addr)
		got, err := tc.c.Find(addr.Unmap())
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if found.Geohash() != "wx4g0" {
		t.Errorf("the geohash is %s", found.Geohash())
	}
}

func TestFindInBrokenFiles(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.mmdb")
	if err := os.WriteFile(broken, []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := database(t, "GeoLite2-ASN", "2001:db8::/32", mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(1)})
	c := Config{Databases: []string{broken, filepath.Join(t.TempDir(), "absent.mmdb"), good}}
	got, err := c.Find(netip.MustParseAddr("2001:db8::1"))
	if err == nil || !strings.Contains(err.Error(), "broken.mmdb") || !strings.Contains(err.Error(), "absent.mmdb") {
		t.Errorf("the error is %v", err)
	}
	if got.ASN != 1 {
		t.Error("a broken database hides a good one")
	}
	if Check(good) != nil || Check(broken) == nil {
		t.Error("a broken database is taken for one, or a good one is not")
	}
}
