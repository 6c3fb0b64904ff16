package evidence

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// The roles of who gathered a bundle.
const (
	Failing = "failing"
	Healthy = "healthy"
)

// Manifest says what a bundle is about. It is manifest.json in the archive.
type Manifest struct {
	// ID is a ULID: bundles sort by time.
	ID string `json:"id"`
	// Failure is the ID of the failing vantage's bundle, in the healthy one's too.
	Failure    string `json:"failure"`
	Definition string `json:"definition"`
	Target     string `json:"target"`
	Vantage    string `json:"vantage"`
	// Role is Failing or Healthy.
	Role string `json:"role"`
	// At is when the probe failed, Gathered when all of this had been found out.
	At       time.Time `json:"at"`
	Gathered time.Time `json:"gathered"`
	// Code and Words are why the probe failed, as this vantage saw it; empty where it
	// did not.
	Code  string `json:"code,omitempty"`
	Words string `json:"words,omitempty"`
	// Files are those in the archive beside the manifest.
	Files []File `json:"files"`
	// Missing says what could not be gathered, and why.
	Missing map[string]string `json:"missing,omitempty"`
}

// File is one of a bundle's.
type File struct {
	Name string `json:"name"`
	// Type is a media type, such as application/json.
	Type string `json:"type"`
	Size int64  `json:"size"`
	// Content is nil in a manifest that was read.
	Content []byte `json:"-"`
}

const manifestName = "manifest.json"

// Limits of one bundle, also of those that other islands send.
const (
	mostFiles     = 32
	mostManifest  = 1 << 20
	mostNameBytes = 100
)

func (m *Manifest) check() error {
	if _, err := ulid.ParseStrict(m.ID); err != nil {
		return fmt.Errorf("id %q: %w", m.ID, err)
	}
	if _, err := ulid.ParseStrict(m.Failure); err != nil {
		return fmt.Errorf("failure %q: %w", m.Failure, err)
	}
	if m.Role != Failing && m.Role != Healthy {
		return fmt.Errorf("role %q: must be %s or %s", m.Role, Failing, Healthy)
	}
	if len(m.Files) > mostFiles {
		return fmt.Errorf("%d files: at most %d", len(m.Files), mostFiles)
	}
	seen := map[string]bool{manifestName: true}
	for _, f := range m.Files {
		if !plainName(f.Name) || seen[f.Name] {
			return fmt.Errorf("file name %q: must be letters, digits, dots, hyphens and underscores, and not be there twice", f.Name)
		}
		seen[f.Name] = true
	}
	return nil
}

// plainName keeps names out that mean something to a file system.
func plainName(name string) bool {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
	}
	return name != "" && len(name) <= mostNameBytes && name[0] != '.' && strings.IndexFunc(name, func(r rune) bool { return !ok(r) }) < 0
}

// archive writes the bundle as a zip file, the manifest first.
func archive(m *Manifest) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	for i := range m.Files {
		m.Files[i].Size = int64(len(m.Files[i].Content))
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range append([]File{{Name: manifestName, Content: text}}, m.Files...) {
		part, err := w.CreateHeader(&zip.FileHeader{Name: f.Name, Method: zip.Deflate, Modified: m.Gathered})
		if err != nil {
			return nil, err
		}
		if _, err := part.Write(f.Content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// ReadManifest reads the manifest of an archive, which may be anybody's.
func ReadManifest(r io.ReaderAt, size int64) (*Manifest, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	if len(z.File) == 0 || z.File[0].Name != manifestName {
		return nil, errors.New("read archive: its first file is not " + manifestName)
	}
	f, err := z.File[0].Open()
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mostManifest+1))
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if len(text) > mostManifest {
		return nil, fmt.Errorf("read manifest: it has more than %d bytes", mostManifest)
	}
	m := new(Manifest)
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	return m, nil
}

// Open reads one file of an archive, at most limit bytes of it.
func Open(r io.ReaderAt, size int64, name string, limit int64) ([]byte, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("read archive: %w", err)
	}
	for _, f := range z.File {
		if f.Name != name {
			continue
		}
		c, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		defer c.Close()
		text, err := io.ReadAll(io.LimitReader(c, limit+1))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		if int64(len(text)) > limit {
			return nil, fmt.Errorf("read %s: it has more than %d bytes", name, limit)
		}
		return text, nil
	}
	return nil, fmt.Errorf("read archive: there is no file %q in it", name)
}
