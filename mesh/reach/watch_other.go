//go:build !linux

package reach

import "context"

// listenKernel: elsewhere the caller's ticker notices what changed.
func listenKernel(context.Context, chan struct{}) {}
