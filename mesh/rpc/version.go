package rpc

import (
	"strconv"

	"google.golang.org/grpc/metadata"

	"github.com/atoll-mesh/atoll/wire"
)

// versionKey carries wire.Version as a decimal number: in the headers of every
// call and in the trailers of every answer.
const versionKey = "atoll-version"

func ownVersion() string { return strconv.FormatUint(uint64(wire.Version), 10) }

// versionIn reads the other side's version, 0 where there is none to be read.
func versionIn(md metadata.MD) uint32 {
	v := md[versionKey]
	if len(v) != 1 {
		return 0
	}
	n, err := strconv.ParseUint(v[0], 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}
