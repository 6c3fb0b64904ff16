package flow

import (
	"context"

	"github.com/prometheus/prometheus/model/labels"
)

type senderKey struct{}

// WithSender names who sends the samples of appenders made with the returned
// context: any number that stays the same for one sender. Aggregation never mixes
// what two senders say of one series.
func WithSender(ctx context.Context, id uint64) context.Context {
	return context.WithValue(ctx, senderKey{}, id)
}

// Sender returns what WithSender set, or 0 for the island itself.
func Sender(ctx context.Context) uint64 {
	id, _ := ctx.Value(senderKey{}).(uint64)
	return id
}

// RawSample is a float sample of the series whose label fields, as a remote write
// 1.0 sender wrote them, are Labels. T is in milliseconds.
type RawSample struct {
	Labels []byte
	T      int64
	V      float64
	// Taken is set by AppendRaw.
	Taken bool
}

// RawAppender is what an appender may offer besides storage.AppenderV2: to take
// samples by the bytes in which their labels came, where nobody needs the labels
// themselves any more.
type RawAppender interface {
	// AppendRaw takes what it can and sets Taken there. Samples of series that are
	// not known, or that have to be stored as well, are left: they are to be
	// appended with their labels. It keeps nothing of samples.
	AppendRaw(samples []RawSample)
	// LearnRaw says which labels raw stands for, and returns whether AppendRaw
	// takes the series from now on. It keeps neither.
	LearnRaw(raw []byte, ls labels.Labels) bool
}
