package definition

import (
	"time"

	blackbox "github.com/prometheus/blackbox_exporter/config"
)

// written is Module as it stands in a file. Module itself cannot be decoded into:
// it has blackbox_exporter's UnmarshalYAML by way of the part that it holds.
type written struct {
	Prober  string             `yaml:"prober,omitempty"`
	Timeout time.Duration      `yaml:"timeout,omitempty"`
	HTTP    blackbox.HTTPProbe `yaml:"http,omitempty"`
	TCP     blackbox.TCPProbe  `yaml:"tcp,omitempty"`
	ICMP    blackbox.ICMPProbe `yaml:"icmp,omitempty"`
	DNS     blackbox.DNSProbe  `yaml:"dns,omitempty"`
	GRPC    blackbox.GRPCProbe `yaml:"grpc,omitempty"`
	Unix    blackbox.UnixProbe `yaml:"unix,omitempty"`

	Expect      Expect      `yaml:"expect,omitempty"`
	Flow        []Step      `yaml:"flow,omitempty"`
	Certificate Certificate `yaml:"certificate,omitempty"`
	Resolver    Resolver    `yaml:"resolver,omitempty"`
	Echo        Echo        `yaml:"echo,omitempty"`
	Mail        Mail        `yaml:"mail,omitempty"`
	Login       Login       `yaml:"login,omitempty"`
	WebSocket   WebSocket   `yaml:"websocket,omitempty"`
	UDP         UDP         `yaml:"udp,omitempty"`
	NTP         NTP         `yaml:"ntp,omitempty"`
	Trace       Trace       `yaml:"trace,omitempty"`
	Browser     Browser     `yaml:"browser,omitempty"`
}

// NewModule has the defaults of blackbox_exporter for everything.
func NewModule(prober string) *Module {
	m := &Module{Module: blackbox.DefaultModule}
	m.GRPC = blackbox.DefaultGRPCProbe // not among its DefaultModule
	m.Prober = prober
	return m
}

// UnmarshalYAML reads a module as blackbox_exporter does: what is not there is as
// in its DefaultModule.
func (m *Module) UnmarshalYAML(unmarshal func(any) error) error {
	d := blackbox.DefaultModule
	w := written{HTTP: d.HTTP, TCP: d.TCP, ICMP: d.ICMP, DNS: d.DNS, GRPC: d.GRPC, Unix: d.Unix}
	if err := unmarshal(&w); err != nil {
		return err
	}
	w.HTTP.NoFollowRedirects = nil // it became follow_redirects when it was decoded
	*m = Module{
		Module: blackbox.Module{
			Prober: w.Prober, Timeout: w.Timeout, HTTP: w.HTTP, TCP: w.TCP, ICMP: w.ICMP, DNS: w.DNS, GRPC: w.GRPC, Unix: w.Unix,
		},
		Expect: w.Expect, Flow: w.Flow, Certificate: w.Certificate, Resolver: w.Resolver, Echo: w.Echo, Mail: w.Mail,
		Login: w.Login, WebSocket: w.WebSocket, UDP: w.UDP, NTP: w.NTP, Trace: w.Trace, Browser: w.Browser,
	}
	return nil
}

// MarshalYAML is the inverse of UnmarshalYAML; secrets are left out.
func (m Module) MarshalYAML() (any, error) {
	return written{
		Prober: m.Prober, Timeout: m.Timeout, HTTP: m.HTTP, TCP: m.TCP, ICMP: m.ICMP, DNS: m.DNS, GRPC: m.GRPC, Unix: m.Unix,
		Expect: m.Expect, Flow: m.Flow, Certificate: m.Certificate, Resolver: m.Resolver, Echo: m.Echo, Mail: m.Mail,
		Login: m.Login, WebSocket: m.WebSocket, UDP: m.UDP, NTP: m.NTP, Trace: m.Trace, Browser: m.Browser,
	}, nil
}
