package island

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long the files must be quiet before a change counts: editors
// and configuration management write in several steps.
const settle = 500 * time.Millisecond

// watch calls changed when the content of any of files() changes, until ctx
// ends. Directories are watched, not files: files are replaced by renaming, and
// a Kubernetes ConfigMap by moving a symbolic link.
func watch(ctx context.Context, files func() []string, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch configuration files: %w", err)
	}
	defer w.Close()

	watched := map[string]bool{}
	follow := func() {
		for _, f := range files() {
			dir := filepath.Dir(f)
			// A directory that is not there yet is tried again after the next change.
			if !watched[dir] && w.Add(dir) == nil {
				watched[dir] = true
			}
		}
	}
	follow()
	seen := digests(files())
	quiet := time.NewTimer(0)
	quiet.Stop()
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-w.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watch configuration files: %w", err)
			}
			quiet.Reset(settle) // events were lost: look for ourselves
		case <-w.Events:
			quiet.Reset(settle)
		case <-quiet.C:
			now := digests(files())
			if maps.Equal(now, seen) {
				continue
			}
			changed()
			follow()
			// A file that the reload was the first to read is not a change, but
			// what was written to a known one meanwhile is.
			seen = digests(files())
			for f := range seen {
				if sum, known := now[f]; known {
					seen[f] = sum
				}
			}
			quiet.Reset(settle)
		}
	}
}

// digests fingerprints each file's content; a missing file has a content too.
func digests(files []string) map[string][sha256.Size]byte {
	sums := make(map[string][sha256.Size]byte, len(files))
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			content = []byte(err.Error())
		}
		sums[f] = sha256.Sum256(content)
	}
	return sums
}
