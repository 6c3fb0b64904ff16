package render

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"golang.org/x/text/width"
)

// number writes v exactly as the API does: in full unless it is very large or
// very small.
func number(v float64) string {
	if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e21) && !math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'e', -1, 64)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// String is the sample's value; a histogram is summarised.
func (p point) String() string {
	if p.h == nil {
		return number(float64(p.v))
	}
	count, sum := float64(p.h.Count), float64(p.h.Sum)
	s := fmt.Sprintf("count=%s sum=%s", number(count), number(sum))
	if count != 0 {
		s += " avg=" + strconv.FormatFloat(sum/count, 'g', 4, 64)
	}
	if n := len(p.h.Buckets); n > 0 {
		s += fmt.Sprintf(" buckets=%d in [%s, %s]", n, number(float64(p.h.Buckets[0].Lower)), number(float64(p.h.Buckets[n-1].Upper)))
	}
	return s
}

// series writes a metric as PromQL does: name{label="value", ...}. Quoting
// keeps control characters out.
func series(m model.Metric, ascii bool) string {
	quote := strconv.Quote
	if ascii {
		quote = strconv.QuoteToASCII
	}
	var name string
	var pairs []string
	for _, n := range labelNames(m) {
		switch {
		case n == model.MetricNameLabel && model.LegacyValidation.IsValidMetricName(string(m[n])):
			name = string(m[n])
		case n == model.MetricNameLabel:
			pairs = append(pairs, quote(string(m[n])))
		case model.LegacyValidation.IsValidLabelName(string(n)):
			pairs = append(pairs, string(n)+"="+quote(string(m[n])))
		default:
			pairs = append(pairs, quote(string(n))+"="+quote(string(m[n])))
		}
	}
	if len(pairs) == 0 && name != "" {
		return name
	}
	return name + "{" + strings.Join(pairs, ", ") + "}"
}

// clean escapes what a terminal would act on or not show, and with ascii
// everything beyond ASCII.
func clean(s string, ascii bool) string {
	ok := func(r rune, size int) bool {
		return unicode.IsPrint(r) && (r != utf8.RuneError || size > 1) && (!ascii || r < utf8.RuneSelf)
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if ok(r, size) {
			b.WriteString(s[i : i+size])
		} else {
			q := strconv.QuoteToASCII(s[i : i+size])
			b.WriteString(q[1 : len(q)-1])
		}
		i += size
	}
	return b.String()
}

// columns is how many cells of a terminal s takes.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}

// fit shortens s to at most n columns, marking the cut.
func fit(s string, n int, ascii bool) string {
	if n <= 0 || columns(s) <= n {
		return s
	}
	mark := "…"
	if ascii {
		mark = "~"
	}
	used := 0
	for i, r := range s {
		if used+runeColumns(r) > n-1 {
			return s[:i] + mark
		}
		used += runeColumns(r)
	}
	return s
}

// clock is a time for people, in the zone of loc.
func clock(t time.Time, loc *time.Location) string {
	layout := "2006-01-02 15:04:05 MST"
	if t.Nanosecond() != 0 {
		layout = "2006-01-02 15:04:05.000 MST"
	}
	return t.In(loc).Format(layout)
}
