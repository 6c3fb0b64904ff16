package ui

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"mime"
	"path"
	"strings"
)

// Views are the first segments of the addresses that the application draws; the
// server answers each, and whatever is below it, with the page.
func Views() []string {
	return []string{"alerts", "explore", "probes", "islands", "hosts", "services", "dashboards", "aggregation", "settings", "search", "login"}
}

// File is one embedded file that is not the page.
type File struct {
	Body []byte
	Type string
	// Gzip says that Body is compressed.
	Gzip bool
	// Fixed says that the name changes with the content.
	Fixed bool
}

// Files is the application as it was built.
type Files struct {
	page  []byte
	files map[string]File
	built bool
}

// noncePlace is where the page's policy of content finds its nonce.
var noncePlace = []byte("{{nonce}}")

// tilesPlace is where it finds the address of map tiles.
var tilesPlace = []byte("{{tiles}}")

// New reads what is embedded: the application, or the page that says how to have it.
func New() (*Files, error) { return read(dist) }

func read(built fs.FS) (*Files, error) {
	f := &Files{files: map[string]File{}}
	page, err := fs.ReadFile(built, "dist/index.html")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.page, err = placeholder.ReadFile("placeholder/index.html")
		return f, err
	case err != nil:
		return nil, fmt.Errorf("read the embedded page: %w", err)
	}
	f.page, f.built = page, true
	err = fs.WalkDir(built, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return f.add(built, name)
	})
	if err != nil {
		return nil, fmt.Errorf("read the embedded page: %w", err)
	}
	return f, nil
}

func (f *Files) add(built fs.FS, file string) error {
	name := strings.TrimPrefix(file, "dist/")
	if name == "index.html" || strings.HasPrefix(path.Base(name), ".") {
		return nil
	}
	body, err := fs.ReadFile(built, file)
	if err != nil {
		return err
	}
	name, zipped := strings.CutSuffix(name, ".gz")
	kind := mime.TypeByExtension(path.Ext(name))
	if kind == "" {
		return fmt.Errorf("%s: no content type is known for its extension", file)
	}
	f.files[name] = File{Body: body, Type: kind, Gzip: zipped, Fixed: strings.HasPrefix(name, "assets/")}
	return nil
}

// Built says whether the application is embedded, and not only a placeholder.
func (f *Files) Built() bool { return f.built }

// Page is the HTML of every view, for a response whose policy allows nonce and
// images from where the maps' tiles are; an empty address is of none.
func (f *Files) Page(nonce, tiles string) []byte {
	page := bytes.ReplaceAll(f.page, noncePlace, []byte(nonce))
	return bytes.ReplaceAll(page, tilesPlace, []byte(html.EscapeString(tiles)))
}

// File finds an embedded file by its path, such as "assets/index-1a2b3c4d.js".
func (f *Files) File(name string) (File, bool) {
	file, ok := f.files[name]
	return file, ok
}

// Names lists the embedded files.
func (f *Files) Names() []string {
	names := make([]string, 0, len(f.files))
	for name := range f.files {
		names = append(names, name)
	}
	return names
}
