//go:build unix

package demo

import (
	"os/exec"
	"syscall"
)

// separate keeps Ctrl-C, which the terminal sends to the whole group, from an island:
// the demo stops it when its turn comes.
func separate(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
