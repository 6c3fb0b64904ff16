package place

import "testing"

// The values are those of geohash.org.
func TestGeohash(t *testing.T) {
	for _, tc := range []struct {
		lat, lon float64
		want     string
	}{
		{57.64911, 10.40744, "u4pruydqqvj"},
		{42.6, -5.6, "ezs42"},
		{-25.382708, -49.265506, "6gkzwgjzn820"},
		{39.9042, 116.4074, "wx4g0"},
		{90, 180, "zzzzz"},
		{-90, -180, "00000"},
	} {
		if got := Geohash(tc.lat, tc.lon, len(tc.want)); got != tc.want {
			t.Errorf("%v %v is %s, want %s", tc.lat, tc.lon, got, tc.want)
		}
	}
}

func TestConfig(t *testing.T) {
	at := func(v float64) *float64 { return &v }
	for _, tc := range []struct {
		c    Config
		good bool
		hash string
	}{
		{Config{}, true, ""},
		{Config{Latitude: at(0), Longitude: at(0)}, true, "s0000"},
		{Config{Latitude: at(91), Longitude: at(0)}, false, ""},
		{Config{Latitude: at(0), Longitude: at(-181)}, false, ""},
		{Config{Latitude: at(1)}, false, ""},
		{Config{Address: "2001:db8::1"}, true, ""},
		{Config{Address: "example.com"}, false, ""},
	} {
		if err := tc.c.Validate(); (err == nil) != tc.good {
			t.Errorf("%+v: %v", tc.c, err)
		} else if err == nil && tc.c.Geohash() != tc.hash {
			t.Errorf("geohash %q, want %q", tc.c.Geohash(), tc.hash)
		}
	}
}
