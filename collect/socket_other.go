//go:build !linux

package collect

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// newSocketName returns a path in a directory that only this user may enter.
func newSocketName() (string, error) {
	dir, err := os.MkdirTemp("", "atoll-")
	if err != nil {
		return "", fmt.Errorf("making a directory for the socket of the built-in jobs: %w", err)
	}
	return filepath.Join(dir, "s"), nil
}

// ownPeer leaves the check to the directory's permissions.
func ownPeer(net.Conn) error { return nil }
