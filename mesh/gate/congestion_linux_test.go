package gate

import (
	"net"
	"os"
	"strings"
	"testing"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// TestCongestion has every TCP connection use BBR where the kernel offers it.
func TestCongestion(t *testing.T) {
	offered, err := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
	if err != nil {
		t.Fatal(err)
	}
	l, err := manet.Listen(ma.StringCast("/ip4/127.0.0.1/tcp/0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var wires Wires
	w := wires.add(c)
	defer w.Close()
	got := w.Congestion()
	if got == "" {
		t.Fatal("the kernel does not name its congestion control")
	}
	if root := os.Getuid() == 0; root && strings.Contains(string(offered), "bbr") && got != "bbr" {
		t.Errorf("sends by %s although the kernel offers %s", got, offered)
	}
}
