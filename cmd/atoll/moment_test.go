package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for in, want := range map[string]time.Time{
			"2026-01-02T15:04:05Z":      time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC),
			"2026-01-02T15:04:05+08:00": time.Date(2026, 1, 2, 7, 4, 5, 0, time.UTC),
			"1767366245.5":              time.UnixMilli(1767366245500),
			"-1h":                       time.Now().Add(-time.Hour),
			"-1d":                       time.Now().Add(-24 * time.Hour),
		} {
			var m moment
			if err := m.UnmarshalText([]byte(in)); err != nil || !m.Equal(want) {
				t.Errorf("%q = %v, %v; want %v", in, m.Time, err, want)
			}
		}
		var m moment
		if err := m.UnmarshalText([]byte("yesterday")); err == nil || !strings.Contains(err.Error(), "want RFC 3339") {
			t.Errorf("yesterday: %v, want a message that shows the forms", err)
		}
	})
}
