package peer

import (
	"context"
	"errors"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/query/global"
	"github.com/atoll-mesh/atoll/query/result"
	"github.com/atoll-mesh/atoll/wire/querypb"
)

// partBytes is how much of an answer goes into one message.
const partBytes = 256 << 10

// Answerer answers for this island, as a global.Catalog does.
type Answerer interface {
	Answer(context.Context, *global.Request) (*global.Answer, error)
	Labels(context.Context, *global.LabelsRequest) ([]string, []global.Note, error)
	Series(context.Context, *global.SeriesRequest) ([]labels.Labels, []global.Note, error)
	Exemplars(context.Context, *global.ExemplarsRequest) ([]exemplar.QueryResult, error)
}

func invalid(err error) error {
	return status.Errorf(codes.InvalidArgument, "read the question: %v", err)
}

// Server serves an Answerer.
type Server struct {
	querypb.UnimplementedQueryServer
	codec    *Codec
	answerer Answerer
	copies   func(name string) (Answerer, error)
}

// Server serves a.
func (c *Codec) Server(a Answerer) *Server { return &Server{codec: c, answerer: a} }

// WithCopies also serves copies of other islands' samples, by name.
func (s *Server) WithCopies(copies func(name string) (Answerer, error)) *Server {
	return &Server{codec: s.codec, answerer: s.answerer, copies: copies}
}

// of is who answers: for this island, or out of a copy.
func (s *Server) of(name string) (Answerer, error) {
	switch {
	case name == "":
		return s.answerer, nil
	case s.copies == nil:
		return nil, status.Errorf(codes.NotFound, "no copies are kept here")
	}
	return s.copies(name)
}

// Answer implements querypb.QueryServer.
func (s *Server) Answer(m *querypb.AnswerRequest, stream grpc.ServerStreamingServer[querypb.AnswerPart]) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	m, inParts, err := putCommon(md, m)
	if err != nil {
		return invalid(err)
	}
	r, err := request(m)
	if err != nil {
		return invalid(err)
	}
	answerer, err := s.of(m.GetCopyOf())
	if err != nil {
		return err
	}
	a, err := answerer.Answer(stream.Context(), r)
	var f *global.Fault
	if errors.As(err, &f) {
		return stream.Send(&querypb.AnswerPart{Fault: &querypb.Fault{Kind: faultKinds[f.Kind], Text: f.Text}})
	}
	if err != nil {
		return err
	}
	return s.tell(stream, a, r, inParts)
}

// tell sends an answer; if asked in parts, in parts.
func (s *Server) tell(stream grpc.ServerStreamingServer[querypb.AnswerPart], a *global.Answer, r *global.Request, inParts bool) error {
	apart := 0
	if inParts {
		apart = mostCommon
	}
	message, err := s.codec.message(a, r, apart)
	if errors.Is(err, result.ErrLimit) {
		return stream.Send(&querypb.AnswerPart{Fault: &querypb.Fault{Kind: querypb.Fault_LIMIT, Text: err.Error()}})
	}
	if err != nil {
		return err
	}
	if inParts {
		common, err := leaveCommon(message)
		if err != nil {
			return err
		}
		stream.SetTrailer(common)
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

// Series implements querypb.QueryServer.
func (s *Server) Series(m *querypb.SeriesRequest, stream grpc.ServerStreamingServer[querypb.SeriesPart]) error {
	ms, err := matchers(m.GetSelector().GetMatchers())
	if err != nil {
		return invalid(err)
	}
	answerer, err := s.of(m.GetCopyOf())
	if err != nil {
		return err
	}
	all, said, err := answerer.Series(stream.Context(), &global.SeriesRequest{
		Matchers: ms, MinTime: m.GetSelector().GetMinTime(), MaxTime: m.GetSelector().GetMaxTime(), Limit: limit(m.GetLimit()),
	})
	if err != nil {
		return err
	}
	part := &querypb.SeriesPart{Notes: noteMessages(said)}
	for i, ls := range all {
		part.Series = append(part.Series, &querypb.Series{Labels: labelMessages(ls)})
		if len(part.Series) == partSeries || i == len(all)-1 {
			if err := stream.Send(part); err != nil {
				return err
			}
			part = &querypb.SeriesPart{}
		}
	}
	if len(part.Notes) > 0 {
		return stream.Send(part)
	}
	return nil
}
