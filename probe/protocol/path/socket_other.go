//go:build !linux

package path

import (
	"errors"
	"net/netip"
)

// The sockets of other systems differ in all that matters here.
var errNoLinux = errors.New("only on Linux")

type socket struct{ desk desk }

func openSocket(kind) (*socket, error) { return nil, errNoLinux }

func (s *socket) read()  {}
func (s *socket) close() {}

func (s *socket) send(*ticket, netip.Addr, int, int) error { return errNoLinux }

func openUDP(target, netip.Addr, chan<- answer) (carrier, error) { return nil, errNoLinux }
func openTCP(target, netip.Addr, chan<- answer) (carrier, error) { return nil, errNoLinux }

func localAddr(netip.Addr) (netip.Addr, error) { return netip.Addr{}, errNoLinux }
