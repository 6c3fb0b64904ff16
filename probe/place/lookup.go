package place

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/oschwald/maxminddb-golang/v2"
)

// record is what the databases City, Country, ISP and ASN of MaxMind, and those that
// others make in their form, say of an address. Source: MaxMind's GeoIP2 binary database
// documentation.
type record struct {
	Country struct {
		Code string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	City struct {
		Names map[string]string `maxminddb:"names"`
	} `maxminddb:"city"`
	Location struct {
		Latitude  *float64 `maxminddb:"latitude"`
		Longitude *float64 `maxminddb:"longitude"`
	} `maxminddb:"location"`
	ISP          string `maxminddb:"isp"`
	ASN          uint32 `maxminddb:"autonomous_system_number"`
	Organization string `maxminddb:"autonomous_system_organization"`
}

// Check reports whether file is a database.
func Check(file string) error {
	db, err := maxminddb.Open(file)
	if err != nil {
		return err
	}
	return db.Close()
}

// Find fills in what c leaves open from its databases, of which the first that knows a
// thing wins. They are opened anew each time: whoever brings them up to date replaces
// the files. Without an address, and with an error, what the other databases know is
// there all the same.
func (c Config) Find(addr netip.Addr) (Config, error) {
	if c.Address != "" {
		addr, _ = netip.ParseAddr(c.Address) // it is valid
	}
	if !addr.IsValid() {
		return c, nil
	}
	var errs []error
	for _, file := range c.Databases {
		r, err := look(file, addr)
		if err != nil {
			errs = append(errs, fmt.Errorf("look up %s in %s: %w", addr, file, err))
		}
		c = c.or(r)
	}
	return c, errors.Join(errs...)
}

func look(file string, addr netip.Addr) (r record, err error) {
	db, err := maxminddb.Open(file)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.Lookup(addr).Decode(&r)
	return r, err
}

func (c Config) or(r record) Config {
	if at := r.Location; c.Latitude == nil && at.Latitude != nil && at.Longitude != nil {
		c.Latitude, c.Longitude = at.Latitude, at.Longitude
	}
	for _, f := range []struct {
		field *string
		found string
	}{{&c.Country, r.Country.Code}, {&c.City, r.City.Names["en"]}, {&c.ISP, r.ISP}, {&c.ISP, r.Organization}} {
		if *f.field == "" {
			*f.field = f.found
		}
	}
	if c.ASN == 0 {
		c.ASN = r.ASN
	}
	return c
}
