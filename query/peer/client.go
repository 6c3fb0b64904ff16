package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/atoll-mesh/atoll/query/global"
	"github.com/atoll-mesh/atoll/wire/querypb"
)

// mostAnswer bounds the bytes of an answer where a question has no limits.
const mostAnswer = 1 << 30

// Client asks one island.
type Client struct {
	facts   global.Facts
	codec   *Codec
	connect func() (grpc.ClientConnInterface, error)
	another func() (grpc.ClientConnInterface, error) // for a second question; may be nil
	copyOf  string
	id      string // under which promises are noted; "" for not at all
	version func() uint32
}

var _ global.Island = (*Client)(nil)

// Client asks over what connect returns; facts are what is known without asking.
func (c *Codec) Client(facts global.Facts, connect func() (grpc.ClientConnInterface, error)) *Client {
	return &Client{codec: c, facts: facts, connect: connect}
}

// CopyOf asks in place of c's island for the copy that it keeps of another one's
// samples, by the copy's name; facts are those of the other one.
func (c *Client) CopyOf(name string, facts global.Facts) *Client {
	return &Client{codec: c.codec, facts: facts, connect: c.connect, another: c.another, copyOf: name, version: c.version}
}

// Noting notes what the island promises, for Facts of the codec.
func (c *Client) Noting(id string) *Client {
	out := *c
	out.id = id
	return &out
}

// Facts implements global.Island.
func (c *Client) Facts() global.Facts { return c.facts }

// Answer implements global.Island.
func (c *Client) Answer(ctx context.Context, r *global.Request) (*global.Answer, error) {
	asked := time.Now()
	came, err := c.ask(ctx, r)
	if err != nil {
		return nil, err
	}
	m, err := came.read()
	if err != nil {
		return nil, fmt.Errorf("read the answer of island %q: %w", c.facts.Name, err)
	}
	a, err := c.codec.answer(m, r)
	if err != nil {
		return nil, fmt.Errorf("read the answer of island %q: %w", c.facts.Name, err)
	}
	if a.Stats.Bytes = came.size(); c.id != "" {
		c.codec.promises.heard(c.id, asked, m)
	}
	return a, nil
}

// fetch puts the question over one connection; began hears of the first part.
func (c *Client) fetch(ctx context.Context, connect func() (grpc.ClientConnInterface, error), r *global.Request, began func()) (said, error) {
	conn, err := connect()
	if err != nil {
		return said{}, err
	}
	m, common := c.question(r), ""
	if c.remembers() {
		if common, m, err = takeCommon(m); err != nil {
			return said{}, err
		}
		if common != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, questionKey, common)
		}
	}
	stream, err := querypb.NewQueryClient(conn).Answer(ctx, m)
	if err != nil {
		return said{}, err
	}
	data, err := gather(stream, mostBytes(r.Limits), r.Share, began)
	if err != nil || common == "" {
		return said{data: data}, err
	}
	return said{data, strings.Join(stream.Trailer().Get(answerKey), "")}, nil
}

func (c *Client) question(r *global.Request) *querypb.AnswerRequest {
	m := requestMessage(r)
	m.CopyOf = c.copyOf
	m.Tell = c.id != "" && c.codec.promises.number(c.id) == 0
	return m
}

// mostBytes is what an answer within limits cannot exceed: samples and labels are
// compressed, but need not be.
func mostBytes(l global.Limits) int {
	if l.Samples == 0 || l.Bytes == 0 || l.Series == 0 {
		return mostAnswer
	}
	return int(min(mostAnswer, 1<<20+l.Bytes+l.Samples*16+l.Series*4096))
}

// gather puts the parts together.
func gather(stream grpc.ServerStreamingClient[querypb.AnswerPart], most int, share *global.Share, began func()) ([]byte, error) {
	var data []byte
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
		began()
		if f := part.GetFault(); f != nil {
			return nil, fault(f)
		}
		if len(data)+len(part.GetData()) > most {
			return nil, &global.Fault{Kind: global.FaultLimit, Text: fmt.Sprintf("the answer has more than %d bytes", most)}
		}
		if err := share.Take(2 * int64(len(part.GetData()))); err != nil { // also for the parts of the message
			return nil, err
		}
		data = append(data, part.GetData()...)
	}
}

var faultKinds = map[global.FaultKind]querypb.Fault_Kind{
	global.FaultIsland: querypb.Fault_ISLAND, global.FaultQuery: querypb.Fault_QUERY,
	global.FaultLimit: querypb.Fault_LIMIT, global.FaultUnsupported: querypb.Fault_UNSUPPORTED,
}

// fault keeps its kind; one that is not known here is the island's.
func fault(f *querypb.Fault) *global.Fault {
	text := f.GetText()
	out := &global.Fault{Kind: global.FaultIsland, Text: strings.ToValidUTF8(text[:min(len(text), mostNote)], "")}
	for kind, k := range faultKinds {
		if k == f.GetKind() {
			out.Kind = kind
		}
	}
	return out
}
