package rpc

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers itself in grpc
	"google.golang.org/grpc/mem"
)

// sized goes through the codec in place of the message it holds, to learn the
// message's size and to hold it against a limit before it is decoded. What is
// wrong is kept here instead of returned: grpc would send its own words for it.
type sized struct {
	msg  any
	most int // 0 for no limit
	size int
	over bool
	err  error
}

// codec is grpc's own for protocol buffers, which also knows sized.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*sized)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	out, err := c.CodecV2.Marshal(b.msg)
	b.size = out.Len()
	return out, err
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*sized)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	b.size = data.Len()
	if b.over = b.most > 0 && b.size > b.most; b.over {
		return nil
	}
	b.err = c.CodecV2.Unmarshal(data, b.msg)
	return nil
}
