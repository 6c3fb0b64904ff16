//go:build !linux

package capture

import "fmt"

// Capture is of Linux only.
type Capture struct{}

// Start always fails here.
func Start(Flow, Limits, string) (*Capture, error) {
	return nil, fmt.Errorf("capture packets: %w: this needs Linux", ErrUnsupported)
}

// Stop is never called.
func (*Capture) Stop() (content []byte, packets, left int, err error) {
	return nil, 0, 0, ErrUnsupported
}
