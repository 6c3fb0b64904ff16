package reach

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// listenKernel pokes news whenever the kernel says that an address or a route
// changed. Where it may not listen, the caller's ticker has to do.
func listenKernel(ctx context.Context, news chan struct{}) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), "netlink")
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer func() {
		if stop() {
			f.Close()
		}
	}()
	groups := uint32(unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return
	}
	// What changed is read from the machine itself; the message only wakes us.
	// The kernel drops what does not fit. A large buffer would be on the stack, which
	// also raises the size that the runtime begins all stacks with: their average.
	buf := make([]byte, unix.NLMSG_HDRLEN)
	for {
		if _, err := f.Read(buf); err != nil && ctx.Err() != nil {
			return
		} else if err != nil && !os.IsTimeout(err) && !overrun(err) {
			return
		}
		poke(news)
	}
}

// overrun means that more changed than the socket could hold: news all the same.
func overrun(err error) bool { return errors.Is(err, unix.ENOBUFS) }
