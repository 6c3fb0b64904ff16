package capture

import (
	"encoding/binary"
	"time"
)

// file is a pcapng file in memory. Its blocks are of draft-ietf-opsawg-pcapng.
type file struct {
	bytes []byte
	most  int
	snap  int
	// Packets are in it, Left of the flow's did not find room.
	packets, left int
}

const (
	blockSection   = 0x0A0D0D0A
	blockInterface = 1
	blockPacket    = 6
	byteOrderMagic = 0x1A2B3C4D
	linkRaw        = 101 // LINKTYPE_RAW: IP without a link's header
	optComment     = 1
	optResolution  = 9
	nanoseconds    = 9
)

func newFile(l Limits, comment string) *file {
	f := &file{most: l.Bytes, snap: l.Snap}
	section := binary.LittleEndian.AppendUint32(nil, byteOrderMagic)
	section = append(section, 1, 0, 0, 0)                           // version 1.0
	section = binary.LittleEndian.AppendUint64(section, ^uint64(0)) // length unknown
	section = option(section, optComment, []byte(comment))          //
	f.block(blockSection, append(section, 0, 0, 0, 0))              // end of options
	link := binary.LittleEndian.AppendUint16(nil, linkRaw)          //
	link = append(link, 0, 0)                                       // reserved
	link = binary.LittleEndian.AppendUint32(link, uint32(l.Snap))   //
	link = option(link, optResolution, []byte{nanoseconds})         //
	f.block(blockInterface, append(link, 0, 0, 0, 0))
	return f
}

// add takes a packet of which size bytes were on the wire.
func (f *file) add(at time.Time, packet []byte, size int) {
	packet = packet[:min(len(packet), f.snap)]
	padded := (len(packet) + 3) &^ 3
	if len(f.bytes)+32+padded > f.most {
		f.left++
		return
	}
	ns := uint64(at.UnixNano())
	body := make([]byte, 0, 20+padded)
	body = binary.LittleEndian.AppendUint32(body, 0) // the interface
	body = binary.LittleEndian.AppendUint32(body, uint32(ns>>32))
	body = binary.LittleEndian.AppendUint32(body, uint32(ns))
	body = binary.LittleEndian.AppendUint32(body, uint32(len(packet)))
	body = binary.LittleEndian.AppendUint32(body, uint32(size))
	body = append(body, packet...)
	f.block(blockPacket, append(body, make([]byte, padded-len(packet))...))
	f.packets++
}

func (f *file) block(kind uint32, body []byte) {
	size := uint32(12 + len(body))
	f.bytes = binary.LittleEndian.AppendUint32(f.bytes, kind)
	f.bytes = binary.LittleEndian.AppendUint32(f.bytes, size)
	f.bytes = append(f.bytes, body...)
	f.bytes = binary.LittleEndian.AppendUint32(f.bytes, size)
}

func option(b []byte, code uint16, value []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	return append(b, make([]byte, (4-len(value)%4)%4)...)
}
