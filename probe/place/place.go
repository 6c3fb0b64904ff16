// Package place says where an island stands.
//
// In: coordinates and names that an operator wrote down. Out: the geohash and the
// labels of probe series. Guaranteed: nothing is asked of the network.
package place

import (
	"errors"
	"fmt"
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
