package definition

// Families are of which family the target's addresses are to be: ip4 or ip6, "" for
// blackbox_exporter's preference, which is ip6; and whether the other will do.
func (m *Module) Families() (preferred string, fallback bool) {
	switch m.Prober {
	case "http", "websocket", "browser":
		return m.HTTP.IPProtocol, m.HTTP.IPProtocolFallback
	case "icmp", "trace":
		return m.ICMP.IPProtocol, m.ICMP.IPProtocolFallback
	case "dns":
		return m.DNS.IPProtocol, m.DNS.IPProtocolFallback
	case "grpc":
		return m.GRPC.PreferredIPProtocol, m.GRPC.IPProtocolFallback
	}
	return m.TCP.IPProtocol, m.TCP.IPProtocolFallback
}
