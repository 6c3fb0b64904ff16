// Package place says where an island stands.
//
// In: coordinates and names that an operator wrote down, or databases in MaxMind's form
// and the island's public address. Out: the geohash and the labels of probe series.
// Guaranteed: nothing is asked of the network; what is written down goes before what
// is looked up.
package place

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
)

// Config is the section "probe.place". Everything may be left out.
type Config struct {
	// Latitude and Longitude are in degrees, north and east being positive.
	Latitude  *float64 `yaml:"latitude,omitempty"`
	Longitude *float64 `yaml:"longitude,omitempty"`
	Country   string   `yaml:"country,omitempty"`
	City      string   `yaml:"city,omitempty"`
	// ISP becomes the label isp; "" takes the island's own label of that name.
	ISP string `yaml:"isp,omitempty"`
	ASN uint32 `yaml:"asn,omitempty"`
	// Databases are files in MaxMind's form in which all that is left out is looked up.
	Databases []string `yaml:"databases,omitempty"`
	// Address is what to look up; "" takes that from which others see the island come.
	Address string `yaml:"address,omitempty"`
}

// Validate reports every value that cannot be used.
func (c Config) Validate() error {
	var errs []error
	if (c.Latitude == nil) != (c.Longitude == nil) {
		errs = append(errs, errors.New("place: has one of latitude and longitude; write both or none"))
	}
	for _, f := range []struct {
		name  string
		value *float64
		most  float64
	}{{"latitude", c.Latitude, 90}, {"longitude", c.Longitude, 180}} {
		if f.value != nil && !(*f.value >= -f.most && *f.value <= f.most) {
			errs = append(errs, fmt.Errorf("place.%s: %v: must be between -%g and %g degrees", f.name, *f.value, f.most, f.most))
		}
	}
	if c.Address != "" {
		if _, err := netip.ParseAddr(c.Address); err != nil {
			errs = append(errs, fmt.Errorf("place.address: %q: must be an IP address, such as 203.0.113.7", c.Address))
		}
	}
	return errors.Join(errs...)
}

// precision of a geohash in characters: 5 are a box of about 5 by 5 km, a city's quarter.
const precision = 5

// Geohash of the coordinates, "" without them.
func (c Config) Geohash() string {
	if c.Latitude == nil || c.Longitude == nil {
		return ""
	}
	return Geohash(*c.Latitude, *c.Longitude, precision)
}

// Geohash is the name of the box that a point lies in: bits that halve longitude
// and latitude in turn, five to a character. Source: G. Niemeyer, geohash.org, 2008.
func Geohash(latitude, longitude float64, characters int) string {
	const (
		alphabet = "0123456789bcdefghjkmnpqrstuvwxyz"
		bits     = 5
	)
	type span struct{ low, high, at float64 }
	axes := [2]span{{-180, 180, longitude}, {-90, 90, latitude}}
	out := make([]byte, characters)
	for i := range characters {
		index := 0
		for b := range bits {
			a := &axes[(i*bits+b)%2]
			index <<= 1
			if middle := (a.low + a.high) / 2; a.at >= middle {
				index |= 1
				a.low = middle
			} else {
				a.high = middle
			}
		}
		out[i] = alphabet[index]
	}
	return string(out)
}

// Labels are what the place is called by in series, without those that are not known.
func (c Config) Labels() map[string]string {
	out := map[string]string{}
	for name, value := range map[string]string{"geohash": c.Geohash(), "country": c.Country, "city": c.City, "isp": c.ISP} {
		if value != "" {
			out[name] = value
		}
	}
	if c.ASN != 0 {
		out["asn"] = strconv.FormatUint(uint64(c.ASN), 10)
	}
	if c.Latitude != nil && c.Longitude != nil {
		const digits = 4 // some ten metres
		out["latitude"] = strconv.FormatFloat(*c.Latitude, 'f', digits, 64)
		out["longitude"] = strconv.FormatFloat(*c.Longitude, 'f', digits, 64)
	}
	return out
}
