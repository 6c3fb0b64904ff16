//go:build !linux

package gate

func (w *Wire) preferBBR() {}

// Congestion is known on Linux only.
func (w *Wire) Congestion() string { return "" }
