package request

import (
	"net/http"
	"testing"
	"time"
)

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-7": 0, "99999": maxRetryAfter, "99999999999999": 0, "soon": 0,
		now.Add(time.Minute).Format(http.TimeFormat):    time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat):   0,
		now.Add(24 * time.Hour).Format(http.TimeFormat): maxRetryAfter,
	} {
		if got := parseRetryAfter(text, now); got != want {
			t.Errorf("parseRetryAfter(%q) = %s, want %s", text, got, want)
		}
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	f.Add("12")
	f.Add("Fri, 02 Jan 2026 03:04:05 GMT")
	f.Fuzz(func(t *testing.T, text string) {
		if d := parseRetryAfter(text, time.Unix(1767323045, 0)); d < 0 || d > maxRetryAfter {
			t.Errorf("%q gives %s", text, d)
		}
	})
}
