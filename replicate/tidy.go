package replicate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// safe makes an ID a part of a file name, unlike for unlike ones.
func safe(id string) string {
	var b strings.Builder
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '@':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}

// reopen starts the stores of the copies on disk; r.mu is held.
func (r *Replicator) reopen() {
	dirs, err := os.ReadDir(r.copiesDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Error("look for copies", "error", err)
	}
	for _, d := range dirs {
		dir := filepath.Join(r.copiesDir(), d.Name())
		about, err := readAbout(dir)
		key := copyKey{about.Origin.ID, about.Stream}
		if err != nil || dir != r.copyDir(key) {
			r.log.Warn("what is no copy is left alone", "dir", dir, "error", err)
			continue
		}
		c := &kept{dir: dir, turn: make(chan struct{}, 1), about: about, since: time.Now()}
		if err := r.open(c); err != nil {
			r.log.Error("open a copy", "dir", dir, "error", err)
			continue
		}
		r.copies[key] = c
	}
	r.tell()
}

// tidy removes copies of islands that are gone, in their time, and lets go of
// streams' state that nobody came back for.
func (r *Replicator) tidy() {
	r.mu.Lock()
	all := make(map[copyKey]*kept, len(r.copies))
	for k, c := range r.copies {
		all[k] = c
	}
	r.mu.Unlock()
	for key, c := range all {
		about := c.info()
		_, newest := c.current().Span()
		r.m.copyNewest.WithLabelValues(about.Origin.Name, about.Stream).Set(float64(newest) / 1000)
		open, since := c.served()
		if open {
			continue
		}
		if time.Since(since) > idleSession {
			select {
			case c.turn <- struct{}{}:
				c.session = nil
				<-c.turn
			default:
			}
		}
		at, gone := r.o.Gone(about.Origin.ID)
		if !gone {
			continue
		}
		keep := time.Duration(about.KeepMs) * time.Millisecond
		if keep == 0 {
			keep = r.o.Retention()
		}
		if last := time.UnixMilli(newest); last.After(at) {
			at = last
		}
		if keep > 0 && time.Since(at) > keep {
			if err := r.remove(key); err != nil {
				r.log.Error("remove a copy", "dir", c.dir, "error", err)
			}
		}
	}
	r.m.copies.Set(float64(len(all)))
}

// remove ends a copy and deletes it.
func (r *Replicator) remove(key copyKey) error {
	r.mu.Lock()
	c := r.copies[key]
	delete(r.copies, key)
	r.mu.Unlock()
	if c == nil {
		return nil
	}
	c.mu.Lock()
	if c.leave != nil {
		c.leave()
	}
	end, done := c.end, c.done
	c.mu.Unlock()
	end()
	<-done
	about := c.info()
	r.m.copyNewest.DeleteLabelValues(about.Origin.Name, about.Stream)
	r.tell()
	r.log.Info("copy removed", "origin", about.Origin.Name, "stream", about.Stream)
	return os.RemoveAll(c.dir)
}

// Forget removes all copies, because this island left the network they are of.
func (r *Replicator) Forget() error {
	r.mu.Lock()
	keys := make([]copyKey, 0, len(r.copies))
	for k := range r.copies {
		keys = append(keys, k)
	}
	r.mu.Unlock()
	var errs []error
	for _, k := range keys {
		errs = append(errs, r.remove(k))
	}
	return errors.Join(errs...)
}
