// Package capture records the packets of one flow, as they pass this machine.
//
// In: the address of the other side, and limits. Out: a file that Wireshark opens
// (pcapng, draft-ietf-opsawg-pcapng), of IP packets without their link's headers.
// Guaranteed: packets of other hosts are dropped by the kernel; no more is kept than
// the limits say; nothing goes on once the capture is stopped or its time is up.
// Linux only, and only with the right to open packet sockets (CAP_NET_RAW).
package capture
