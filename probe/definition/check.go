package definition

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/common/model"
)

// What a definition may hold.
const (
	mostTargets  = 100_000
	longestText  = 2048 // bytes of a target
	longestLabel = 1024 // bytes of a label's value, an owner, a severity
	mostLabels   = 32

	// MostCompared headers of at most LongestHeader bytes of name each are compared.
	MostCompared  = 16
	LongestHeader = 64

	shortestInterval = time.Second
	longestInterval  = 24 * time.Hour
)

// mistake is what is wrong with a field, relative to what is checked.
type mistake struct{ field, text string }

type mistakes []mistake

func (m *mistakes) add(field, format string, args ...any) {
	*m = append(*m, mistake{field, fmt.Sprintf(format, args...)})
}

// under adds mistakes of something that stands at a field.
func (m *mistakes) under(field string, more mistakes) {
	for _, one := range more {
		if one.field != "" {
			one.field = "." + one.field
		}
		*m = append(*m, mistake{field + one.field, one.text})
	}
}

// one refuses a value that is not among those allowed; "" always is.
func (m *mistakes) one(field, value string, allowed ...string) {
	if value != "" && !slices.Contains(allowed, value) {
		m.add(field, "%q: must be one of %s", value, strings.Join(allowed, ", "))
	}
}

// span refuses a number outside of its bounds.
func span[T int | int64 | float64 | uint16 | time.Duration](m *mistakes, field string, value, least, most T) {
	if value < least || value > most {
		m.add(field, "%v: must be between %v and %v", value, least, most)
	}
}

// ServerLabel tells targets apart that differ in server_name.
const ServerLabel = "server_name"

// ReservedLabels are set by the island itself.
func ReservedLabels() []string {
	return []string{"job", "instance", ServerLabel, "address", "vantage", "region", "geohash", "isp", "phase", "reason"}
}

// fill gives what is left out its default.
func (d *Definition) fill() {
	if d.Interval == 0 {
		d.Interval = DefaultInterval
	}
	if d.Module.IsZero() {
		d.Module.Name = DefaultModule
	}
	if d.Addresses == "" {
		d.Addresses = AddressesFirst
	}
	if d.History.IsZero() {
		d.History = defaultHistory()
	}
}

func defaultHistory() History { return History{Need: 2, Of: 3} }

// The values of Definition.Addresses.
const (
	AddressesFirst = "first"
	AddressesAll   = "all"
)

func (d *Definition) check() (m mistakes) {
	if len(d.Targets)+len(d.Discover) == 0 {
		m.add("targets", "there are none; write a list of URLs or hosts, or discover them with discover:")
	}
	if len(d.Targets) > mostTargets {
		m.add("targets", "%d: must be at most %d; write several definitions", len(d.Targets), mostTargets)
	}
	if d.Name != "" && (len(d.Name) > 63 || strings.ContainsFunc(d.Name, notName)) {
		m.add("name", "%q: must be 1 to 63 letters, digits, '.', '_' or '-'", d.Name)
	}
	d.checkTargets(&m)
	for i, disc := range d.Discover {
		if len(disc.Configs) == 0 {
			m.add(fmt.Sprintf("discover[%d]", i), "holds no service discovery: write static_configs, dns_sd_configs, file_sd_configs, http_sd_configs or another")
		}
	}
	m.one("addresses", d.Addresses, AddressesFirst, AddressesAll)
	if d.Module.Inline != nil {
		m.under("module", d.Module.Inline.check())
	}
	if d.Expect != nil {
		m.under("expect", d.Expect.check())
	}
	interval := time.Duration(d.Interval)
	if interval != 0 {
		span(&m, "interval", interval, shortestInterval, longestInterval)
	} else {
		interval = time.Duration(DefaultInterval)
	}
	if timeout := time.Duration(d.Timeout); timeout < 0 || timeout > interval {
		m.add("timeout", "%s: must not be longer than the interval of %s, or a probe would run into the next", d.Timeout, model.Duration(interval))
	}
	m.under("labels", checkLabels(d.Labels))
	for field, text := range map[string]string{"owner": d.Owner, "severity": d.Severity} {
		if len(text) > longestLabel || strings.ContainsFunc(text, unicode.IsControl) {
			m.add(field, "must be at most %d bytes, without control characters", longestLabel)
		}
	}
	m.under("quorum", d.Quorum.check())
	if d.Compare != nil {
		m.under("compare", d.Compare.check())
	}
	slices.SortStableFunc(m, func(a, b mistake) int { return strings.Compare(a.field, b.field) })
	return m
}

func notName(r rune) bool {
	return !strings.ContainsRune("._-", r) && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r))
}

func (d *Definition) checkTargets(m *mistakes) {
	seen := map[string]int{}
	for i, t := range d.Targets {
		field := fmt.Sprintf("targets[%d]", i)
		text := t.Text()
		key := text + "\x00" + t.ServerName + "\x00" + fmt.Sprint(t.Labels) // maps print in the order of their keys
		first, again := seen[key]
		switch {
		case t.URL != "" && t.Host != "":
			m.add(field, "has both url and host, which are two names for the same; leave one")
		case text == "":
			m.add(field, "is empty; write a URL, a host or host:port")
		case len(text) > longestText || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
			m.add(field, "must be at most %d bytes, without spaces and control characters", longestText)
		case again:
			m.add(field, "%q is there already, as targets[%d]; leave one, or tell them apart by labels", text, first)
		}
		seen[key] = i
		m.under(field+".labels", checkLabels(t.Labels))
	}
}

func checkLabels(ls map[string]string) (m mistakes) {
	if len(ls) > mostLabels {
		m.add("", "%d labels: must be at most %d", len(ls), mostLabels)
	}
	for _, name := range slices.Sorted(maps.Keys(ls)) {
		switch value := ls[name]; {
		case slices.Contains(ReservedLabels(), name):
			m.add(name, "is a label that the island sets itself; choose another name")
		case !model.LegacyValidation.IsValidLabelName(name) || strings.HasPrefix(name, "__"):
			m.add(name, "must be a label name: letters, digits and '_', not beginning with a digit or with '__'")
		case len(value) > longestLabel:
			m.add(name, "must be at most %d bytes", longestLabel)
		}
	}
	return m
}

func (q Quorum) check() (m mistakes) {
	const most = 10_000
	for _, f := range []struct {
		name  string
		value int
	}{{"down", q.Down}, {"degraded", q.Degraded}, {"regions", q.Regions}, {"page", q.Page}} {
		span(&m, f.name, f.value, 0, most)
	}
	if q.Page > 0 && q.Page < q.Down {
		m.add("page", "%d: must not be less than down, %d: nobody is woken up for a target that is not down", q.Page, q.Down)
	}
	return m
}

func (c *Compare) check() (m mistakes) {
	if c.Origin != "" {
		if u, err := url.Parse(c.Origin); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			m.add("origin", "%q: must be a URL such as https://origin.example.com", c.Origin)
		}
	}
	if len(c.Headers) > MostCompared {
		m.add("headers", "%d: must be at most %d", len(c.Headers), MostCompared)
	}
	for i, h := range c.Headers {
		if h == "" || len(h) > LongestHeader || strings.ContainsFunc(h, func(r rune) bool { return r <= ' ' || r == ':' || r > unicode.MaxASCII }) {
			m.add(fmt.Sprintf("headers[%d]", i), "%.100q: must be the name of a header, of at most %d bytes", h, LongestHeader)
		}
	}
	return m
}
