package gate

import "golang.org/x/sys/unix"

// preferBBR has the kernel send by BBR, which keeps its rate where packets are
// lost for other reasons than congestion. A kernel that has none, or keeps it to
// administrators, goes on with its default.
func (w *Wire) preferBBR() {
	if raw, ok := w.raw(); ok {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr") })
	}
}

// Congestion names the algorithm that decides how fast is sent, as "bbr"; empty
// where the kernel does not say.
func (w *Wire) Congestion() (name string) {
	if raw, ok := w.raw(); ok {
		_ = raw.Control(func(fd uintptr) { name, _ = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION) })
	}
	return name
}
