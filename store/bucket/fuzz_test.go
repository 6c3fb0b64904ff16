package bucket

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/storage"
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

// FuzzIndex: an index that was damaged, or written by somebody else, where nothing
// says what it should be, is an error or an answer.
func FuzzIndex(f *testing.F) {
	s := newSite(f)
	m := cutBlock(f, s.store, 0, 20)
	c := directoryConfig(f)
	b := s.open(c)
	b.settle(f)
	s.forget(m.ULID)
	meta := b.view.Load().raw[m.ULID]
	for i := range meta.Thanos.Files {
		meta.Thanos.Files[i].Hash = nil
	}
	path := filepath.Join(c.Directory, "eu/one", m.ULID.String(), indexFile)
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), []byte{})
	f.Add(uint32(5), []byte{0xff, 0xff, 0xff, 0xff})
	f.Add(uint32(len(good)-20), []byte{0xff, 0xff})
	f.Add(uint32(len(good)/2), bytes.Repeat([]byte{0x80}, 40))
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		bad := bytes.Clone(good)
		copy(bad[int(at)%len(bad):], patch)
		if err := os.WriteFile(path, bad, 0o666); err != nil {
			t.Fatal(err)
		}
		b.cache.close() // what it holds is another one
		b.cache = newCache(t.TempDir(), b.Bucket)
		defer b.cache.close()
		q, err := b.Querier(start, most)
		if err != nil {
			t.Fatal(err)
		}
		_, _, _ = q.LabelNames(t.Context(), nil) // whatever comes of it, the process goes on
		_, _, _ = q.LabelValues(t.Context(), "i", nil)
		for set := q.Select(t.Context(), true, &storage.SelectHints{Start: start, End: most, Func: "series"}, everything); set.Next(); {
			_ = set.At().Labels()
		}
		got, err := answer(t, q, everything)
		if len(patch) == 0 && (err != nil || len(got) != 20) {
			t.Errorf("the index as it was: %d series, %v", len(got), err)
		}
	})
}
