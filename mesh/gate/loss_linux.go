package gate

import "golang.org/x/sys/unix"

// Segments returns how many TCP segments with data were sent, and how many of
// them once more; false where the kernel does not say.
func (w *Wire) Segments() (sent, again uint64, ok bool) {
	raw, ok := w.raw()
	if !ok {
		return 0, 0, false
	}
	var info *unix.TCPInfo
	var err error
	if raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }) != nil || err != nil {
		return 0, 0, false
	}
	return uint64(info.Data_segs_out), uint64(info.Total_retrans), true
}
