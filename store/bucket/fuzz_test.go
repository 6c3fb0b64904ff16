package bucket

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/oklog/ulid/v2"
)

// FuzzMeta: whatever lies in the bucket as a meta.json is refused or can be
// written and read again as the same.
func FuzzMeta(f *testing.F) {
	id := ulid.MustParse("01M83HD458XXNEY3AMKKRWNV0H")
	for _, text := range []string{
		`{"ulid":"01M83HD458XXNEY3AMKKRWNV0H","minTime":1,"maxTime":2,"compaction":{"level":1,"sources":["01M83HD458XXNEY3AMKKRWNV0H"]},"version":1,"thanos":{"labels":{"island":"one"},"downsample":{"resolution":0},"source":"sidecar","files":[{"rel_path":"chunks/000001","size_bytes":9,"hash":{"hashFunc":"SHA256","value":"00"}},{"rel_path":"index","size_bytes":3},{"rel_path":"meta.json"}]}}`,
		`{"ulid":"01M83HD458XXNEY3AMKKRWNV0H","minTime":1,"maxTime":2,"version":1,"thanos":{"files":[{"rel_path":"../../etc/passwd"}]}}`,
		`{"ulid":"01M83HD458XXNEY3AMKKRWNV0H","minTime":2,"maxTime":1,"version":1}`,
		`{"version":2}`, `{}`, `null`, `[`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := decodeMeta(id, text)
		if err != nil {
			return
		}
		again, err := m.encode()
		if err != nil {
			t.Skip("an upload time beyond the year 9999 is not written by anybody")
		}
		back, err := decodeMeta(id, again)
		if err != nil || !back.describes(m) {
			t.Errorf("%s becomes %s: %v", text, again, err)
		}
	})
}

// FuzzChunkEnd: a chunk ends within its file, behind its beginning, or is refused.
func FuzzChunkEnd(f *testing.F) {
	f.Add([]byte{1, 1, 0, 0, 0}, int64(8), int64(100))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x7f}, int64(8), int64(100))
	f.Add([]byte{0x80, 0x80, 0x80, 0x80, 0x80}, int64(8), int64(math.MaxUint32))
	f.Fuzz(func(t *testing.T, head []byte, at, size int64) {
		if at < 0 || at > math.MaxUint32 || size < 0 || size > maxSegment {
			return // no reference and no file is like that
		}
		end, err := endOf(head, at, size)
		if err == nil && (end > size || end <= at) {
			n, w := binary.Uvarint(head)
			t.Errorf("a chunk of %d+%d bytes at %d of %d ends at %d", w, n, at, size, end)
		}
	})
}
