package probe

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/wire/probepb"
)

// VantagesPath lists the islands that probe, and where they stand.
const VantagesPath = "/api/v1/probes/vantages"

const (
	// describeAge is for how long what an island said of itself counts as now, describeTime
	// how long it may take to say it; mostDescribed are asked at once.
	describeAge   = 10 * time.Second
	describeTime  = 3 * time.Second
	mostDescribed = 32
	// longestSaid bounds each text of another island, in bytes.
	longestSaid = 256
)

// Vantage is an island that probes, as the network's membership has it.
type Vantage struct {
	Name, ID, Role string
	Labels         map[string]string
	// Connected tells that it is now, LastSeen when it was last; zero if not known.
	Connected bool
	LastSeen  time.Time
}

// VantageInfo is where a vantage stands, and how it does.
type VantageInfo struct {
	Name string `json:"name"`
	// ID is the island's key, "" where there is no network.
	ID     string            `json:"id,omitempty"`
	Role   string            `json:"role,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	// Here is of the island that answers.
	Here      bool       `json:"here,omitempty"`
	Connected bool       `json:"connected"`
	LastSeen  *time.Time `json:"lastSeen,omitempty"`
	Region    string     `json:"region,omitempty"`
	Latitude  *float64   `json:"latitude,omitempty"`
	Longitude *float64   `json:"longitude,omitempty"`
	Geohash   string     `json:"geohash,omitempty"`
	Country   string     `json:"country,omitempty"`
	City      string     `json:"city,omitempty"`
	ISP       string     `json:"isp,omitempty"`
	ASN       uint32     `json:"asn,omitempty"`
	// Blind tells that its own way out is bad, Uplink says why.
	Blind  bool   `json:"blind"`
	Uplink string `json:"uplink,omitempty"`
	// Targets are probed from it, Failing of them are not up for it.
	Targets int `json:"targets"`
	Failing int `json:"failing"`
	// Told is when it said so itself: what is above from Region on is then, else only what
	// its labels tell. Problem is why it does not say it now.
	Told    *time.Time `json:"told,omitempty"`
	Problem string     `json:"problem,omitempty"`
}

// descriptions are what other islands said of themselves.
type descriptions struct {
	mu    sync.Mutex
	known map[string]description
}

type description struct {
	said *probepb.DescribeResponse // nil if it never said anything
	told time.Time
	// asked is when it was last, problem what came of it.
	asked   time.Time
	problem string
}

// Describe answers another island that wants to know where this one stands.
func (p *Prober) Describe() *probepb.DescribeResponse {
	at := p.surroundings().place
	targets, failing, blind, uplink := p.council.Standing()
	asn, _ := strconv.ParseUint(at["asn"], 10, 32) // "" is 0
	out := &probepb.DescribeResponse{
		Region: at["region"], Geohash: at["geohash"], Country: at["country"], City: at["city"], Isp: at["isp"], Asn: uint32(asn),
		Targets: uint32(targets), Failing: uint32(failing), Blind: uint32(blind), Uplink: uplink,
	}
	latitude, err := strconv.ParseFloat(at["latitude"], 64)
	longitude, err2 := strconv.ParseFloat(at["longitude"], 64)
	if err == nil && err2 == nil {
		out.Located, out.Latitude, out.Longitude = true, latitude, longitude
	}
	return out
}

// Vantages lists all of the network, by name.
func (p *Prober) Vantages(ctx context.Context) []VantageInfo {
	self := p.self()
	var all []Vantage
	if p.opts.Vantages != nil {
		all = p.opts.Vantages()
	}
	if !slices.ContainsFunc(all, func(v Vantage) bool { return v.Name == self.Name }) {
		all = append(all, Vantage{Name: self.Name, Labels: self.Labels})
	}
	told := p.describeAll(ctx, all, self.Name)
	out := make([]VantageInfo, len(all))
	for i, v := range all {
		d := told[v.Name]
		if v.Name == self.Name {
			now := time.Now()
			v.Connected, v.LastSeen, d = true, now, description{said: p.Describe(), told: now}
		}
		out[i] = v.info(d)
		out[i].Here = v.Name == self.Name
	}
	slices.SortFunc(out, func(a, b VantageInfo) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// describeAll asks those that are connected and were not asked just now.
func (p *Prober) describeAll(ctx context.Context, all []Vantage, self string) map[string]description {
	d := &p.descriptions
	now := time.Now()
	out := make(map[string]description, len(all))
	var ask []string
	d.mu.Lock()
	if d.known == nil {
		d.known = map[string]description{}
	}
	for _, v := range all {
		k := d.known[v.Name]
		if v.Name != self && v.Connected && p.opts.Describe != nil && now.Sub(k.asked) >= describeAge {
			k.asked = now
			d.known[v.Name] = k // others need not ask meanwhile
			ask = append(ask, v.Name)
		}
		if !v.Connected {
			k.problem = "not connected"
		}
		out[v.Name] = k
	}
	for name := range d.known {
		if _, still := out[name]; !still {
			delete(d.known, name)
		}
	}
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), describeTime) // the answer is for others, too
	defer cancel()
	var asking sync.WaitGroup
	slots := make(chan struct{}, mostDescribed)
	for _, name := range ask {
		asking.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			said, err := p.opts.Describe(ctx, name)
			d.mu.Lock()
			defer d.mu.Unlock()
			k := d.known[name]
			if k.problem = ""; err != nil {
				k.problem = clipSaid(status.Convert(err).Message())
			} else {
				k.said, k.told = said, time.Now()
			}
			d.known[name], out[name] = k, k
		})
	}
	asking.Wait()
	return out
}

// clipSaid makes a foreign text fit to be shown.
func clipSaid(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), longestSaid)], "")
}

func (v Vantage) info(d description) VantageInfo {
	out := VantageInfo{
		Name: v.Name, ID: v.ID, Role: v.Role, Labels: v.Labels, Connected: v.Connected, LastSeen: known(v.LastSeen),
		Region: v.Labels["region"], Country: v.Labels["country"], City: v.Labels["city"], ISP: v.Labels["isp"], Problem: d.problem, Told: known(d.told),
	}
	m := d.said
	if m == nil {
		return out
	}
	for _, part := range []struct {
		to   *string
		said string
	}{
		{&out.Geohash, m.GetGeohash()}, {&out.Country, m.GetCountry()}, {&out.City, m.GetCity()}, {&out.ISP, m.GetIsp()}, {&out.Uplink, m.GetUplink()},
	} {
		if part.said != "" {
			*part.to = clipSaid(part.said)
		}
	}
	if la, lo := m.GetLatitude(), m.GetLongitude(); m.GetLocated() && la >= -90 && la <= 90 && lo >= -180 && lo <= 180 {
		out.Latitude, out.Longitude = &la, &lo
	}
	out.ASN, out.Blind, out.Targets, out.Failing = m.GetAsn(), m.GetBlind() > 0, int(m.GetTargets()), int(m.GetFailing())
	return out
}

func (p *Prober) serveVantages(w http.ResponseWriter, r *http.Request) {
	reply(w, http.StatusOK, envelope{Status: "success", Data: p.Vantages(r.Context())})
}
