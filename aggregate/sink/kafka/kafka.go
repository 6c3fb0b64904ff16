package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	commonconfig "github.com/prometheus/common/config"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/atoll-mesh/atoll/aggregate/sink/batch"
	"github.com/atoll-mesh/atoll/aggregate/sink/drain"
	"github.com/atoll-mesh/atoll/aggregate/sink/outlook"
	"github.com/atoll-mesh/atoll/flow/queue"
)

const (
	// roundSamples and roundBytes bound what is in flight.
	roundSamples = 20_000
	roundBytes   = 16 << 20
	// say is how long brokers may be silent before that is noted as a failure.
	say = 5 * time.Second
	// grace is how long what is in flight may take at the end.
	grace = 3 * time.Second
	// pauseBetween is between rounds that failed.
	pauseBetween = time.Second
)

// Options is what a Sender works with.
type Options struct {
	Config Config
	Logger *slog.Logger
}

// Sender drains one queue.
type Sender struct {
	o      Options
	client *kgo.Client
	enc    *encoder
	said   *lastWord
	queue  *queue.Queue
	show   *outlook.Receiver

	entries []queue.Entry
	samples []batch.Sample
}

// New builds the client of a valid Config; it connects to nothing yet. Run or Close must follow.
func New(o Options) (*Sender, error) {
	o.Config = o.Config.WithDefaults()
	said := &lastWord{log: o.Logger}
	opts, err := options(o.Config)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(opts, kgo.WithLogger(said))...)
	if err != nil {
		return nil, fmt.Errorf("build the Kafka client: %w", err)
	}
	return &Sender{o: o, client: client, enc: newEncoder(o.Config), said: said}, nil
}

// Close ends a Sender that was not run.
func (s *Sender) Close() { s.client.Close() }

func options(c Config) ([]kgo.Opt, error) {
	opts := []kgo.Opt{
		kgo.ClientID("atoll"),
		kgo.SeedBrokers(c.Brokers...),
		kgo.DefaultProduceTopic(c.Topic),
		kgo.UnknownTopicRetries(1),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.MaxBufferedRecords(2 * roundSamples),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(map[string]kgo.CompressionCodec{
			"snappy": kgo.SnappyCompression(), "gzip": kgo.GzipCompression(), "lz4": kgo.Lz4Compression(),
			"zstd": kgo.ZstdCompression(), "none": kgo.NoCompression(),
		}[c.Compression]),
	}
	switch c.Acks {
	case "leader":
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "none":
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	}
	if c.TLS != nil {
		t, err := commonconfig.NewTLSConfig(c.TLS)
		if err != nil {
			return nil, fmt.Errorf("tls_config: %w", err)
		}
		t.MinVersion = max(t.MinVersion, tls.VersionTLS12)
		opts = append(opts, kgo.DialTLSConfig(t))
	}
	if c.SASL != nil {
		if _, err := c.SASL.password(); err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SASL(mechanism(c.SASL)))
	}
	return opts, nil
}

// mechanism reads the password anew for each connection.
func mechanism(s *SASL) sasl.Mechanism {
	login := func() (scram.Auth, error) {
		password, err := s.password()
		return scram.Auth{User: s.Username, Pass: password}, err
	}
	switch s.Mechanism {
	case "plain":
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			a, err := login()
			return plain.Auth{User: a.User, Pass: a.Pass}, err
		})
	case "scram-sha-256":
		return scram.Sha256(func(context.Context) (scram.Auth, error) { return login() })
	}
	return scram.Sha512(func(context.Context) (scram.Auth, error) { return login() })
}

// Run drains q and tells show, until ctx ends; it returns nil then. What is not acknowledged
// stays in the queue.
func (s *Sender) Run(ctx context.Context, q *queue.Queue, show *outlook.Receiver) error {
	s.queue, s.show = q, show
	defer s.client.Close()
	return drain.Run(ctx, q, s.o.Logger, pauseBetween, rounds{s})
}

// rounds keep what drain calls out of what others see of a Sender.
type rounds struct{ *Sender }

func (r rounds) Collect(ctx context.Context) (last queue.Entry, err error) {
	if err := r.collect(ctx); err != nil {
		return last, err
	}
	return r.entries[len(r.entries)-1], nil
}

func (r rounds) Deliver(ctx context.Context) bool { return r.deliver(ctx) }

// collect waits for an entry and takes what else is there for one round.
func (s *Sender) collect(ctx context.Context) error {
	s.entries = s.entries[:0]
	e, err := s.queue.Next(ctx)
	if err != nil {
		return err
	}
	samples, bytes := 0, 0
	for ok := true; ok; e, ok, err = s.queue.TryNext() {
		s.entries = append(s.entries, e)
		if info, err := batch.Peek(e.Data); err == nil {
			samples += info.Samples
		}
		if bytes += len(e.Data); samples >= roundSamples || bytes >= roundBytes {
			return nil
		}
	}
	return err
}

// deliver produces the entries of the round; false says that ctx ended before.
func (s *Sender) deliver(ctx context.Context) bool {
	s.samples = s.samples[:0]
	for _, e := range s.entries {
		var err error
		if s.samples, err = batch.Decode(e.Data, s.samples); err != nil {
			s.o.Logger.Error("dropping an entry that cannot be read", "entry", e.Seq, "bytes", len(e.Data), "err", err)
			s.show.Drop(1, outlook.Damaged)
		}
	}
	left, custom, err := s.enc.records(s.samples)
	s.show.Drop(custom, outlook.CustomBuckets)
	if err != nil {
		s.o.Logger.Error("dropping samples that cannot be encoded", "samples", len(s.samples), "err", err)
		s.show.Drop(len(s.samples)-custom, outlook.Unencodable)
		return true
	}
	clear(s.samples)
	for {
		if left, err = s.produce(ctx, left); len(left) == 0 {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if err = s.explain(err); ctx.Err() == nil {
			s.o.Logger.Debug("producing failed, trying again", "records", len(left), "err", err)
		}
		if drain.Pause(ctx, pauseBetween) != nil {
			return false
		}
	}
}

// produce makes one attempt and returns the records to try again, in order, and
// why.
func (s *Sender) produce(ctx context.Context, records []*kgo.Record) (again []*kgo.Record, why error) {
	var (
		mu   sync.Mutex
		errs = make(map[*kgo.Record]error, len(records))
		done = make(chan struct{})
		left = len(records)
	)
	if left == 0 {
		return nil, nil
	}
	begin := time.Now()
	// Not ctx: an idempotent producer should not give up what is on its way.
	lasting, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	for _, r := range records {
		s.client.Produce(lasting, r, func(r *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs[r] = err
			}
			if left--; left == 0 {
				close(done)
			}
		})
	}
	s.await(ctx, done, begin)
	s.show.Took(time.Since(begin))
	mu.Lock()
	defer mu.Unlock()
	if left > 0 { // ctx ended
		return records, ctx.Err()
	}
	good, bytes := 0, 0
	for _, r := range records {
		switch err := errs[r]; {
		case err == nil:
			good += weightOf(r)
			bytes += len(r.Value)
		case never(err):
			s.o.Logger.Warn("broker refused a record", "bytes", len(r.Value), "err", err)
			s.show.Refuse(weightOf(r), outlook.Rejected, fmt.Errorf("a record of %d bytes: %w", len(r.Value), err))
		default:
			again, why = append(again, r), err
		}
	}
	if good > 0 {
		s.show.Good(good, bytes)
	}
	return again, why
}

// await returns when done, or some time after ctx ended.
func (s *Sender) await(ctx context.Context, done <-chan struct{}, begin time.Time) {
	tick := time.NewTicker(say)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
			last := time.NewTimer(grace)
			defer last.Stop()
			select {
			case <-done:
			case <-last.C:
			}
			return
		case <-tick.C:
			heard := s.said.get()
			if strings.HasSuffix(heard, "EOF") {
				heard += " (a broker that ends connections does not accept the login, or expects TLS or none: check sasl and tls_config)"
			}
			s.show.Bad(fmt.Errorf("no broker took records for %s; last heard: %s", time.Since(begin).Round(time.Second), heard))
		}
	}
}

// never says that producing the same record again cannot help.
func never(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.InvalidRecord) || errors.Is(err, kerr.RecordListTooLarge)
}

// explain adds the remedy and notes the failure.
func (s *Sender) explain(err error) error {
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		err = fmt.Errorf("topic %q does not exist on %v: %w; create it, or correct the topic", s.o.Config.Topic, s.o.Config.Brokers, err)
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		err = fmt.Errorf("writing to topic %q is not allowed: %w; grant this user WRITE and IDEMPOTENT_WRITE", s.o.Config.Topic, err)
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		err = fmt.Errorf("the brokers do not accept the login: %w; correct sasl.username and password", err)
	default:
		s.show.Bad(err)
		return err
	}
	s.show.Broken(err)
	return err
}
