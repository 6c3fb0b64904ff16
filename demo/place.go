package demo

import (
	"strconv"
	"time"
)

// place is where an island stands.
type place struct {
	Name, Region, City, Country, ISP string
	ASN                              uint32
	Latitude, Longitude              float64
}

// places are the islands' cities; the first makes the network and is the one to look at.
func places() []place {
	return []place{
		{"beijing", "cn-north", "Beijing", "CN", "China Unicom", 4808, 39.9042, 116.4074},
		{"singapore", "ap-southeast", "Singapore", "SG", "Singtel", 7473, 1.3521, 103.8198},
		{"frankfurt", "eu-central", "Frankfurt am Main", "DE", "Deutsche Telekom", 3320, 50.1109, 8.6821},
	}
}

// labels are what the place is called by in the list of members.
func (p place) labels() map[string]string {
	degrees := func(f float64) string { return strconv.FormatFloat(f, 'f', 4, 64) }
	return map[string]string{
		"region": p.Region, "city": p.City, "country": p.Country, "isp": p.ISP, "asn": strconv.FormatUint(uint64(p.ASN), 10),
		"latitude": degrees(p.Latitude), "longitude": degrees(p.Longitude),
	}
}

// roundTrips are what packets take between two places and back, on cables that exist.
type roundTrips [][]time.Duration

func cables() roundTrips {
	const near, middle, far = 70 * time.Millisecond, 160 * time.Millisecond, 230 * time.Millisecond
	return roundTrips{
		{0, near, far},
		{near, 0, middle},
		{far, middle, 0},
	}
}

// anywhere is a place that is not known.
const anywhere = -1

// between is the time there and back; from a place that is not known, that from the
// farthest. Without cables everything is here.
func (r roundTrips) between(from, to int) time.Duration {
	if r == nil || to == anywhere {
		return 0
	}
	if from != anywhere {
		return r[from][to]
	}
	longest := time.Duration(0)
	for _, d := range r[to] {
		longest = max(longest, d)
	}
	return longest
}
