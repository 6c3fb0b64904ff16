package evidence

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
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
	// Failure is a ULID, so that bundles sort by time. The bundles of all vantages of
	// one failure have the same.
	Failure    string `json:"failure"`
	Definition string `json:"definition"`
	// Target is the label instance; Address is set where each address is a target.
	Target  string `json:"target"`
	Address string `json:"address,omitempty"`
	// Labels are the target's own.
	Labels  map[string]string `json:"labels,omitempty"`
	Vantage string            `json:"vantage"`
	// Role is Failing or Healthy.
	Role string `json:"role"`
	// At is when the probe failed, by the clock of where it failed; Began and Gathered
	// are when this vantage began to look, and had found out all of this.
	At       time.Time `json:"at"`
	Began    time.Time `json:"began"`
	Gathered time.Time `json:"gathered"`
	// Code and Words are why the probe failed; empty of a healthy vantage.
	Code  string `json:"code,omitempty"`
	Words string `json:"words,omitempty"`
	// Up tells what came of the fresh look.
	Up bool `json:"up"`
	// Counterpart is the healthy vantage that was asked for the same, of the failing one.
	Counterpart *Reference `json:"counterpart,omitempty"`
	// Files are those in the archive beside the manifest.
	Files []File `json:"files"`
	// Missing says what could not be gathered, and why.
	Missing map[string]string `json:"missing,omitempty"`
}

// Reference names a bundle of some vantage.
type Reference struct {
	Vantage string `json:"vantage"`
	Failure string `json:"failure"`
}

// File is one of a bundle's.
type File struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	// Content is nil in a manifest that was read.
	Content []byte `json:"-"`
}

const manifestName = "manifest.json"

// MostArchive bounds a bundle, also those that other islands send.
const MostArchive = 8 << 20

// Limits of one bundle, also of those that other islands send.
const (
	mostFiles     = 32
	mostMissing   = 32
	mostFile      = MostArchive
	mostManifest  = 64 << 10
	mostNameBytes = 100
	mostWords     = 4096 // bytes of each text
)

// ReadID reads the ID of a failure, and tells when it was made.
func ReadID(id string) (time.Time, error) {
	u, err := ulid.ParseStrict(id)
	if err != nil || u.String() != id {
		return time.Time{}, fmt.Errorf("failure %.40q: must be a ULID", id)
	}
	return ulid.Time(u.Time()), nil
}

func (m *Manifest) check() error {
	if _, err := ReadID(m.Failure); err != nil {
		return err
	}
	if m.Role != Failing && m.Role != Healthy {
		return fmt.Errorf("role %.40q: must be %s or %s", m.Role, Failing, Healthy)
	}
	if len(m.Files) > mostFiles || len(m.Missing) > mostMissing {
		return fmt.Errorf("%d files and %d that are missing: at most %d and %d", len(m.Files), len(m.Missing), mostFiles, mostMissing)
	}
	texts := []string{m.Definition, m.Target, m.Address, m.Vantage, m.Code, m.Words}
	for name, why := range m.Missing {
		texts = append(texts, name, why)
	}
	if c := m.Counterpart; c != nil {
		if _, err := ReadID(c.Failure); err != nil {
			return fmt.Errorf("counterpart: %w", err)
		}
		texts = append(texts, c.Vantage)
	}
	for _, text := range texts {
		if len(text) > mostWords {
			return fmt.Errorf("a text of %d bytes: at most %d", len(text), mostWords)
		}
	}
	seen := map[string]bool{manifestName: true}
	for _, f := range m.Files {
		if !plainName(f.Name) || seen[f.Name] {
			return fmt.Errorf("file name %.200q: must be letters, digits, dots, hyphens and underscores, and not be there twice", f.Name)
		}
		if f.Size < 0 || f.Size > mostFile {
			return fmt.Errorf("file %s: %d bytes: must be from 0 to %d", f.Name, f.Size, mostFile)
		}
		seen[f.Name] = true
	}
	return nil
}

// MediaType is a file's by its name, whoever sent it.
func MediaType(name string) string {
	switch path.Ext(name) {
	case ".json":
		return "application/json"
	case ".pem":
		return "application/x-pem-file"
	case ".txt":
		return "text/plain; charset=utf-8"
	case ".jpg":
		return "image/jpeg"
	case ".pcapng":
		return "application/x-pcapng"
	case ".zip":
		return "application/zip"
	}
	return "application/octet-stream"
}

// Encode is the text of the manifest, as in the archive.
func (m *Manifest) Encode() ([]byte, error) { return json.MarshalIndent(m, "", "  ") }

// Decode reads the text of a manifest, which may be anybody's.
func Decode(text []byte) (*Manifest, error) {
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

// plainName keeps names out that mean something to a file system.
func plainName(name string) bool {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
	}
	return name != "" && len(name) <= mostNameBytes && name[0] != '.' && strings.IndexFunc(name, func(r rune) bool { return !ok(r) }) < 0
}

// archive writes the bundle as a zip file, the manifest first.
func archive(m *Manifest) ([]byte, error) {
	for i := range m.Files {
		m.Files[i].Size = int64(len(m.Files[i].Content))
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	text, err := m.Encode()
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
	return Decode(text)
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
	return nil, fmt.Errorf("read archive: file %.100q: %w", name, ErrGone)
}
