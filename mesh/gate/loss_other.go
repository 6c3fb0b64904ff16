//go:build !linux

package gate

// Segments is known on Linux only.
func (w *Wire) Segments() (sent, again uint64, ok bool) { return 0, 0, false }
