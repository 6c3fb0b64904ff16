package bucket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
)

const (
	metaFile  = "meta.json"
	indexFile = "index"
	chunksDir = "chunks/"
	// source is what Thanos shows as the block's producer.
	source = "atoll"
	// maxMeta is far above the meta.json of a block made of a year's blocks.
	maxMeta = 16 << 20
)

// Meta is a block's meta.json with the part that Thanos adds.
type Meta struct {
	tsdb.BlockMeta
	Thanos Thanos `json:"thanos"`

	adopted bool // another's, that is read as if it were this island's
}

// Thanos says whose block it is and what files it has. The names of its fields
// are Thanos' own.
type Thanos struct {
	Version    int               `json:"version,omitempty"`
	Labels     map[string]string `json:"labels"`
	Downsample Downsample        `json:"downsample"`
	Source     string            `json:"source"`
	// SegmentFiles are the names in chunks/, which old versions of Thanos want.
	SegmentFiles []string `json:"segment_files,omitempty"`
	// Files are sorted by path. What others wrote may lack them.
	Files      []File    `json:"files,omitempty"`
	UploadTime time.Time `json:"upload_time"`
}

// Downsample is the distance of samples in milliseconds; 0 for raw ones.
type Downsample struct {
	Resolution int64 `json:"resolution"`
}

// File is one file of a block; meta.json has neither size nor hash.
type File struct {
	RelPath   string `json:"rel_path"`
	SizeBytes int64  `json:"size_bytes,omitempty"`
	Hash      *Hash  `json:"hash,omitempty"`
}

// Hash is the content's hash in hexadecimal.
type Hash struct {
	Func  string `json:"hashFunc"`
	Value string `json:"value"`
}

func (m *Meta) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "\t")
	err := e.Encode(m)
	return b.Bytes(), err
}

// decodeMeta believes nothing: others write into the same bucket.
func decodeMeta(id ulid.ULID, text []byte) (*Meta, error) {
	var m Meta
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("read meta.json of %s: %w", id, err)
	}
	switch {
	case m.Version != 1 || m.Thanos.Version > 1:
		return nil, fmt.Errorf("read meta.json of %s: version %d with Thanos' part in version %d, 1 and 1 are known", id, m.Version, m.Thanos.Version)
	case m.ULID != id:
		return nil, fmt.Errorf("read meta.json of %s: it names block %s", id, m.ULID)
	case m.MinTime >= m.MaxTime:
		return nil, fmt.Errorf("read meta.json of %s: it starts at %d but ends at %d", id, m.MinTime, m.MaxTime)
	}
	seen := map[string]bool{}
	for _, f := range m.Thanos.Files {
		if f.SizeBytes < 0 || f.RelPath != path.Clean(f.RelPath) || strings.HasPrefix(f.RelPath, "../") || path.IsAbs(f.RelPath) || seen[f.RelPath] {
			return nil, fmt.Errorf("read meta.json of %s: file %q with %d bytes cannot be", id, f.RelPath, f.SizeBytes)
		}
		seen[f.RelPath] = true
	}
	return &m, nil
}

// readMeta gets a block's meta.json. The error wraps errAbsent where there is
// none, and errBadMeta where there is one that cannot be used.
func readMeta(ctx context.Context, o objects, id ulid.ULID) (*Meta, error) {
	text, err := readAll(ctx, o, id.String()+"/"+metaFile, maxMeta)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("read meta.json of %s: %w", id, err)
	}
	if err != nil {
		return nil, err
	}
	m, err := decodeMeta(id, text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadMeta, err)
	}
	return m, nil
}

var errBadMeta = errors.New("unusable meta.json")

// describes reports whether a meta.json found in the bucket is the one that this
// island would write.
func (m *Meta) describes(other *Meta) bool {
	if m.ULID != other.ULID || !maps.Equal(m.Thanos.Labels, other.Thanos.Labels) || len(m.Thanos.Files) != len(other.Thanos.Files) {
		return false
	}
	for i, f := range m.Thanos.Files {
		g := other.Thanos.Files[i]
		if f.RelPath != g.RelPath || f.SizeBytes != g.SizeBytes || (f.Hash == nil) != (g.Hash == nil) || f.Hash != nil && *f.Hash != *g.Hash {
			return false
		}
	}
	return true
}

// parentsOf are the blocks that a block was made of directly.
func parentsOf(m tsdb.BlockMeta) []ulid.ULID {
	var out []ulid.ULID
	for _, p := range m.Compaction.Parents {
		out = append(out, p.ULID)
	}
	return out
}
