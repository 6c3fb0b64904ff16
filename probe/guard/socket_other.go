//go:build !linux

package guard

import "time"

func setUserTimeout(uintptr, time.Duration) error { return nil }
