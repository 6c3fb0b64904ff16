package peer

import (
	"fmt"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire"
	"github.com/atoll-mesh/atoll/wire/querypb"
)

// What a question, or an answer, has in common with others travels in a header, or a
// trailer: HTTP/2 remembers those of a connection, and says one again in two bytes.
const (
	questionKey = "atoll-question-bin"
	answerKey   = "atoll-answer-bin"
	// mostCommon is up to how many bytes it does so. A connection remembers some 4 KiB
	// each way: what is larger would make it forget the rest.
	mostCommon = 1 << 10
)

// takeCommon takes out of a question what it has in common with others; nothing if
// that is too much to be remembered.
func takeCommon(m *querypb.AnswerRequest) (string, *querypb.AnswerRequest, error) {
	common := &querypb.AnswerRequest{Options: m.Options, Limits: m.Limits, CopyOf: m.CopyOf, History: m.History}
	rest := &querypb.AnswerRequest{Tell: m.Tell}
	for _, l := range m.GetLeaves() {
		common.Leaves = append(common.Leaves, &querypb.Leaf{Expr: l.Expr, Step: l.Step})
		rest.Leaves = append(rest.Leaves, &querypb.Leaf{Start: l.Start, End: l.End, KnownUntil: l.KnownUntil, Epoch: l.Epoch})
	}
	for _, r := range m.GetRaw() {
		common.Raw = append(common.Raw, &querypb.Selector{Matchers: r.Matchers})
		rest.Raw = append(rest.Raw, &querypb.Selector{MinTime: r.MinTime, MaxTime: r.MaxTime})
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(common)
	if err != nil || len(data) > mostCommon {
		return "", m, err
	}
	return string(data), rest, nil
}

// putCommon puts what came in a header, if anything did, into the question whose
// message came with it.
func putCommon(md metadata.MD, m *querypb.AnswerRequest) (_ *querypb.AnswerRequest, came bool, err error) {
	values := md.Get(questionKey)
	if len(values) == 0 {
		return m, false, nil
	}
	var all querypb.AnswerRequest
	if err := proto.Unmarshal([]byte(values[0]), &all); err != nil {
		return nil, false, fmt.Errorf("header %s: %w", questionKey, err)
	}
	if len(all.GetLeaves()) != len(m.GetLeaves()) || len(all.GetRaw()) != len(m.GetRaw()) {
		return nil, false, fmt.Errorf("header %s has %d leaves and %d selections, the message %d and %d: must be as many",
			questionKey, len(all.GetLeaves()), len(all.GetRaw()), len(m.GetLeaves()), len(m.GetRaw()))
	}
	all.Tell = m.GetTell()
	for i, l := range m.GetLeaves() {
		to := all.Leaves[i]
		to.Start, to.End, to.KnownUntil, to.Epoch = l.GetStart(), l.GetEnd(), l.GetKnownUntil(), l.GetEpoch()
	}
	for i, r := range m.GetRaw() {
		all.Raw[i].MinTime, all.Raw[i].MaxTime = r.GetMinTime(), r.GetMaxTime()
	}
	return &all, true, nil
}

// leaveCommon takes out of an answer what it has in common with others.
func leaveCommon(m *querypb.Answer) (metadata.MD, error) {
	common := &querypb.Answer{Oldest: m.Oldest, Epoch: m.Epoch, Promise: m.Promise}
	m.Oldest, m.Epoch, m.Promise = 0, 0, 0
	for _, l := range m.GetLeaves() {
		common.Leaves = append(common.Leaves, &querypb.LeafAnswer{Labels: l.Labels})
		l.Labels = nil
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(common)
	return metadata.Pairs(answerKey, string(data)), err
}

// addCommon puts what came in a trailer, if anything did, into the answer.
func addCommon(common string, m *querypb.Answer) error {
	if common == "" {
		return nil
	}
	var c querypb.Answer
	if err := proto.Unmarshal([]byte(common), &c); err != nil {
		return fmt.Errorf("trailer %s: %w", answerKey, err)
	}
	if len(c.GetLeaves()) != len(m.GetLeaves()) {
		return fmt.Errorf("trailer %s has %d leaves, the message %d: must be as many", answerKey, len(c.GetLeaves()), len(m.GetLeaves()))
	}
	m.Oldest, m.Epoch, m.Promise = c.GetOldest(), c.GetEpoch(), c.GetPromise()
	for i, l := range c.GetLeaves() {
		m.Leaves[i].Labels = l.GetLabels()
	}
	return nil
}

// said is an answer as it came, in a message and in a trailer.
type said struct {
	data   []byte
	common string
}

func (s said) size() int64 { return int64(len(s.data) + len(s.common)) }

func (s said) read() (*querypb.Answer, error) {
	var m querypb.Answer
	if err := proto.Unmarshal(s.data, &m); err != nil {
		return nil, err
	}
	return &m, addCommon(s.common, &m)
}

// Speaking tells which protocol the island speaks (wire.Version); without it, that
// is taken to be the oldest.
func (c *Client) Speaking(version func() uint32) *Client {
	out := *c
	out.version = version
	return &out
}

// remembers reports whether the island understands questions in two parts.
func (c *Client) remembers() bool { return c.version != nil && c.version() >= wire.Remembered }
