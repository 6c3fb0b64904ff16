package collect

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// newSocketName returns a name in Linux' abstract socket namespace: no file is
// made, nothing is left behind by a crash, and two islands never meet.
func newSocketName() (string, error) { return "@atoll/" + rand.Text(), nil }

// ownPeer tells whether this process is at the other end. Anybody in the
// network namespace can connect to an abstract socket; metrics are not for
// anybody.
func ownPeer(conn net.Conn) error {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("reading peer credentials: got a %T, must be a unix socket", conn)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return fmt.Errorf("reading peer credentials: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return fmt.Errorf("reading peer credentials: %w", err)
	}
	if int(cred.Pid) != os.Getpid() {
		return fmt.Errorf("connection of process %d, must be of this process", cred.Pid)
	}
	return nil
}
