//go:build linux

package lab

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// MissingTools says which programs a lab needs and does not find.
type MissingTools struct {
	Programs []string
	// Packages are their Debian packages.
	Packages []string
}

// Error names the programs and the command that installs them.
func (e *MissingTools) Error() string {
	return fmt.Sprintf("find %s in $PATH: not there; install: apt-get install -y %s",
		strings.Join(e.Programs, ", "), strings.Join(e.Packages, " "))
}

// Require says what is missing on this machine for a lab to run, or nil. It is
// New's check, for callers without a test.
func Require() error {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Errorf("make network namespaces as uid %d: only root may; run it with sudo", uid)
	}
	missing := &MissingTools{}
	for _, tool := range [][2]string{{"ip", "iproute2"}, {"nft", "nftables"}} {
		if _, err := exec.LookPath(tool[0]); err != nil {
			missing.Programs = append(missing.Programs, tool[0])
			missing.Packages = append(missing.Packages, tool[1])
		}
	}
	if len(missing.Programs) > 0 {
		return missing
	}
	if _, err := os.Stat(tunDevice); err != nil {
		return fmt.Errorf("look for the TUN driver: %w; modprobe tun, or give the container --device %s", err, tunDevice)
	}
	leave := func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w; a container needs --privileged", err)
		}
		return nil
	}
	return abroad(leave, func() error {
		fd, err := openTUN("probe0")
		if err != nil {
			return err
		}
		return unix.Close(fd)
	})
}
