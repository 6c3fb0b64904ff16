// Package fleet makes the scrapes of an imaginary site, to measure encodings on.
//
// In: a seed. Out: a list of series and, scrape by scrape, their values: 12 hosts
// of 600 series and 32 services of 300, every 15 s, 16,800 series together. Each
// target's series share one timestamp, 5 % of scrapes are off by 3 to 30 ms, about
// 40 % of the samples do not change, about 6 % of the series have full mantissas.
// Guaranteed: the same seed gives the same fleet; every value that a target would
// print in decimals is the float that parsing them gives. For tests and benchmarks.
package fleet

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"
)

// Sizes of the site.
const (
	Hosts         = 12
	HostSeries    = 600
	Services      = 32
	ServiceSeries = 300
	Targets       = Hosts + Services
	Series        = Hosts*HostSeries + Services*ServiceSeries
	IntervalMs    = 15_000
)

// next gives the value of a series at its next scrape.
type next func(r *rand.Rand) float64

// Target is what is scraped at once.
type Target struct {
	Labels []labels.Labels
	Values []float64 // as of the newest scrape
	T      int64     // of the newest scrape, Unix ms

	offset int64
	scrape int64
	step   []next
	group  []func(r *rand.Rand) // histograms: they fill several values at once
}

// Fleet is a site.
type Fleet struct {
	Targets []*Target
	rand    *rand.Rand
	start   int64
}

// New makes a site whose first scrapes follow start, Unix ms.
func New(seed uint64, start int64) *Fleet {
	f := &Fleet{rand: rand.New(rand.NewPCG(seed, 1)), start: start}
	for i := range Hosts {
		f.Targets = append(f.Targets, f.host(i))
	}
	for i := range Services {
		f.Targets = append(f.Targets, f.service(i))
	}
	return f
}

// Scrape takes the target's next scrape.
func (f *Fleet) Scrape(t *Target) {
	t.T = f.start + t.offset + t.scrape*IntervalMs
	t.scrape++
	if f.rand.Float64() < 0.05 {
		t.T += 3 + f.rand.Int64N(28)
	}
	for i, step := range t.step {
		if step != nil {
			t.Values[i] = step(f.rand)
		}
	}
	for _, fill := range t.group {
		fill(f.rand)
	}
}

// Round takes one scrape of each target.
func (f *Fleet) Round() {
	for _, t := range f.Targets {
		f.Scrape(t)
	}
}

func (f *Fleet) target(job, instance string) *targetBuilder {
	return &targetBuilder{t: &Target{offset: f.rand.Int64N(IntervalMs)}, job: job, instance: instance, r: f.rand}
}

type targetBuilder struct {
	t             *Target
	job, instance string
	r             *rand.Rand
}

func (b *targetBuilder) labels(name string, pairs []string) {
	b.t.Labels = append(b.t.Labels, labels.FromStrings(append([]string{labels.MetricName, name, "job", b.job, "instance", b.instance}, pairs...)...))
}

func (b *targetBuilder) add(step next, name string, pairs ...string) {
	b.labels(name, pairs)
	b.t.step = append(b.t.step, step)
	b.t.Values = append(b.t.Values, 0)
}

// poisson draws from the Poisson distribution, for large means from the normal one.
func poisson(r *rand.Rand, mean float64) float64 {
	if mean > 30 {
		return max(0, math.Round(mean+math.Sqrt(mean)*r.NormFloat64()))
	}
	n, p := 0.0, math.Exp(-mean)
	for u := r.Float64(); u > p; u *= r.Float64() {
		n++
	}
	return n
}

// decimal is v as it reads with so many digits after the point.
func decimal(v float64, digits int) float64 {
	f, err := strconv.ParseFloat(strconv.FormatFloat(v, 'f', digits, 64), 64)
	if err != nil {
		panic(fmt.Sprintf("BUG: %v with %d digits is no number: %v", v, digits, err))
	}
	return f
}

// counter grows by a Poisson number of steps of the unit 10^-digits.
func counter(r *rand.Rand, mean float64, digits int) next {
	n, unit := math.Floor(r.Float64()*1e6*min(mean, 100)), math.Pow10(-digits)
	return func(r *rand.Rand) float64 {
		n += poisson(r, mean)
		return decimal(n*unit, digits)
	}
}

func constant(v float64) next { return func(*rand.Rand) float64 { return v } }

// gauge wanders around middle, and keeps its value with probability still.
func gauge(middle, spread, still float64, digits int) next {
	x, shown := middle, decimal(middle, max(digits, 0))
	return func(r *rand.Rand) float64 {
		if r.Float64() < still {
			return shown
		}
		x += (middle-x)/20 + spread*r.NormFloat64()
		if shown = x; digits >= 0 {
			shown = decimal(x, digits)
		}
		return shown
	}
}

// rateOf gives a mean per scrape, spread over some orders of magnitude.
func rateOf(r *rand.Rand, typical, decades float64) float64 {
	return typical * math.Pow(10, decades*(r.Float64()-0.5))
}
