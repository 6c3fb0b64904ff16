//go:build !linux

package budget

import "runtime/debug"

// Trim gives memory back that only starting up needed.
func (b *Budget) Trim() { debug.FreeOSMemory() }
