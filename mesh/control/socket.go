package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// SocketName is the socket's path in the data directory.
const SocketName = "run/atoll.sock"

// Listen makes the socket below dir, in a directory that only this user can
// enter. One that a killed island left behind is replaced; one that answers is
// an error.
func Listen(dir string) (net.Listener, error) {
	file := filepath.Join(dir, SocketName)
	private := filepath.Dir(file)
	if err := os.MkdirAll(private, 0o700); err != nil {
		return nil, fmt.Errorf("make the socket's directory: %w", err)
	}
	if err := os.Chmod(private, 0o700); err != nil {
		return nil, fmt.Errorf("close the socket's directory to others: %w", err)
	}
	path, done, err := short(file)
	if err != nil {
		return nil, err
	}
	defer done()
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("listen on %s: another island answers there; stop it, or give this one its own island.data_dir", file)
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove an old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", file, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // the short path is gone by then
	return l, nil
}

// short gives a path to the socket that fits into sockaddr_un's 108 bytes
// however deep it lies: through an open descriptor of its directory.
func short(file string) (path string, done func(), err error) {
	if len(file) < 100 {
		return file, func() {}, nil
	}
	d, err := os.Open(filepath.Dir(file))
	if err != nil {
		return "", nil, fmt.Errorf("open the socket's directory: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), filepath.Base(file)), func() { _ = d.Close() }, nil
}

// Serve answers on l until ctx ends.
func Serve(ctx context.Context, l net.Listener, dir string, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", SocketName, err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if srv.Shutdown(stop) != nil {
		_ = srv.Close() // cuts off who watches documents
	}
	served := <-failed
	if err := os.Remove(filepath.Join(dir, SocketName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the socket: %w", err)
	}
	if !errors.Is(served, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", SocketName, served)
	}
	return nil
}
