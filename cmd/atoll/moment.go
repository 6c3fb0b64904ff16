package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// moment is a point in time as people type it; the zero value is "not given".
type moment struct{ time.Time }

// UnmarshalText reads RFC 3339, Unix seconds or an age such as -1h30m.
func (m *moment) UnmarshalText(text []byte) error {
	s := string(text)
	if age, ok := strings.CutPrefix(s, "-"); ok {
		if d, err := model.ParseDuration(age); err == nil {
			m.Time = time.Now().Add(-time.Duration(d))
			return nil
		}
	}
	if seconds, err := strconv.ParseFloat(s, 64); err == nil {
		m.Time = time.UnixMilli(int64(seconds * 1000))
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return fmt.Errorf("%q is no time: want RFC 3339 (2026-01-02T15:04:05Z), Unix seconds (1767366245) or an age (-1h)", s)
	}
	m.Time = t
	return nil
}

func (m moment) or(fallback time.Time) time.Time {
	if m.IsZero() {
		return fallback
	}
	return m.Time
}
