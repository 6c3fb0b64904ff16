// Package path probes the way to a host: echoes of ICMP (loss, round trips, jitter,
// hop limit, the path's MTU) and traces over ICMP, UDP and TCP.
//
// In: a protocol.Request; the guard is asked, by Dialer.Permit, before anything is
// sent. Out: a protocol.Result with blackbox_exporter's samples for ICMP and further
// ones, and with the hops of a trace.
//
// Guaranteed: all probes of a family share one socket, and answers are matched by
// identifier, sequence number, address and a random number in the payload. An
// unprivileged socket is taken where the machine allows it
// (net.ipv4.ping_group_range), a raw one else, and where neither is allowed a probe
// says so: unsupported. Round trips are taken from the kernel's clock of arrival, so
// that a busy machine does not lengthen them. Nothing a router sends is believed to
// be longer than it is.
package path
