package peer

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/query/global"
	"github.com/atoll-mesh/atoll/query/result"
	"github.com/atoll-mesh/atoll/wire/querypb"
)

// partBytes is how much of an answer goes into one message.
const partBytes = 256 << 10

// Answerer answers for this island.
type Answerer interface {
	Answer(context.Context, *global.Request) (*global.Answer, error)
}

// Server serves an Answerer.
type Server struct {
	querypb.UnimplementedQueryServer
	codec    *Codec
	answerer Answerer
}

// Server serves a.
func (c *Codec) Server(a Answerer) *Server { return &Server{codec: c, answerer: a} }

// Answer implements querypb.QueryServer.
func (s *Server) Answer(m *querypb.AnswerRequest, stream grpc.ServerStreamingServer[querypb.AnswerPart]) error {
	r, err := request(m)
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "read the question: %v", err)
	}
	a, err := s.answerer.Answer(stream.Context(), r)
	var f *global.Fault
	if errors.As(err, &f) {
		return stream.Send(&querypb.AnswerPart{Fault: &querypb.Fault{Kind: faultKinds[f.Kind], Text: f.Text}})
	}
	if err != nil {
		return err
	}
	message, err := s.codec.message(a, r)
	if errors.Is(err, result.ErrLimit) {
		return stream.Send(&querypb.AnswerPart{Fault: &querypb.Fault{Kind: querypb.Fault_LIMIT, Text: err.Error()}})
	}
	if err != nil {
		return err
	}
	data, err := proto.Marshal(message)
	if err != nil {
		return err
	}
	for len(data) > 0 {
		n := min(len(data), partBytes)
		if err := stream.Send(&querypb.AnswerPart{Data: data[:n]}); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
