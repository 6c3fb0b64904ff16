package secure

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// files are a certificate and its key that somebody else keeps.
type files struct {
	cert, key string

	mu      sync.Mutex
	loaded  *tls.Certificate
	was     [2]stamp // of what is loaded
	refused [2]stamp // of what could not be
	err     error    // why
}

type stamp struct {
	changed time.Time
	size    int64
}

// certificate looks whether a file has changed, which costs two system calls. What
// does not load leaves the one from before in use; it is tried again once a file
// changes once more, for the two are seldom replaced in the same moment.
func (f *files) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := f.stamps()
	if err != nil {
		return f.loaded, err
	}
	switch {
	case f.loaded != nil && now == f.was:
		return f.loaded, nil
	case f.err != nil && now == f.refused:
		return f.loaded, f.err
	}
	c, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		f.refused, f.err = now, fmt.Errorf("load http.tls.cert_file %q with http.tls.key_file %q: %w; both must be PEM and belong together", f.cert, f.key, err)
		return f.loaded, f.err
	}
	f.loaded, f.was, f.err = &c, now, nil
	return f.loaded, nil
}

func (f *files) stamps() (s [2]stamp, err error) {
	for i, path := range [2]string{f.cert, f.key} {
		info, err := os.Stat(path)
		if err != nil {
			return s, fmt.Errorf("look at http.tls.%s: %w", [2]string{"cert_file", "key_file"}[i], err)
		}
		s[i] = stamp{info.ModTime(), info.Size()}
	}
	return s, nil
}
