//go:build unix

package cgroup

import (
	"errors"

	"golang.org/x/sys/unix"
)

// gone tells that a group was removed while its files were open. EOPNOTSUPP
// and EINVAL are what PSI files answer where the kernel was told not to count.
func gone(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)
}
