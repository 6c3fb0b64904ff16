package replica

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/wire/replicapb"
)

const (
	// batchBytes is the encoded size up to which documents share a message; a larger
	// document travels alone.
	batchBytes = 128 << 10
	batchMost  = 4096
	// MaxMessage is the largest message of a comparison: one document of the largest
	// size that does not compress, with room for the rest.
	MaxMessage = 2 << 20
	// minCompress: below it zstd's frame costs more than it saves.
	minCompress = 256
)

// codec packs and unpacks batches for one session; zstd's tables are made when the
// first batch needs them. Pack and unpack may run at the same time, each once.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func (c *codec) pack(docs []*replicapb.Document) (*replicapb.Batch, error) {
	raw, err := proto.Marshal(&replicapb.Documents{Documents: docs})
	if err != nil {
		return nil, fmt.Errorf("pack documents: %w", err)
	}
	if len(raw) < minCompress {
		return &replicapb.Batch{Plain: raw}, nil
	}
	if c.enc == nil {
		if c.enc, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
			zstd.WithWindowSize(batchBytes), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false)); err != nil {
			return nil, fmt.Errorf("pack documents: %w", err)
		}
	}
	if small := c.enc.EncodeAll(raw, nil); len(small) < len(raw) {
		return &replicapb.Batch{Zstd: small}, nil
	}
	return &replicapb.Batch{Plain: raw}, nil
}

func (c *codec) unpack(b *replicapb.Batch) ([]*replicapb.Document, error) {
	raw := b.GetPlain()
	if packed := b.GetZstd(); len(packed) > 0 {
		var err error
		if c.dec == nil {
			if c.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxMessage),
				zstd.WithDecoderLowmem(true)); err != nil {
				return nil, fmt.Errorf("unpack documents: %w", err)
			}
		}
		if raw, err = c.dec.DecodeAll(packed, nil); err != nil {
			return nil, fmt.Errorf("unpack documents: %w", err)
		}
	}
	if len(raw) > MaxMessage {
		return nil, fmt.Errorf("unpack documents: %d bytes, at most %d are taken", len(raw), MaxMessage)
	}
	var docs replicapb.Documents
	if err := proto.Unmarshal(raw, &docs); err != nil {
		return nil, fmt.Errorf("unpack documents: %w", err)
	}
	if n := len(docs.GetDocuments()); n > batchMost {
		return nil, fmt.Errorf("unpack documents: %d in one message, at most %d are taken", n, batchMost)
	}
	return docs.GetDocuments(), nil
}

func (c *codec) close() {
	if c.enc != nil {
		c.enc.Close()
	}
	if c.dec != nil {
		c.dec.Close()
	}
}

// split divides entries into batches of documents that share a message.
func split(entries []*entry) (batches [][]*entry) {
	size := 0
	for i, start := 0, 0; i < len(entries); i++ {
		size += int(entries[i].size)
		last := i+1 == len(entries)
		if last || size+int(entries[i+1].size) > batchBytes || i+1-start == batchMost {
			batches = append(batches, entries[start:i+1])
			start, size = i+1, 0
		}
	}
	return batches
}

// read loads the documents of entries that still exist; a version newer than the
// entry's is as good.
func (r *Replica) read(entries []*entry) ([]*replicapb.Document, error) {
	keys := make([]string, len(entries))
	for i, e := range entries {
		keys[i] = e.key
	}
	return r.store.documents(keys)
}
