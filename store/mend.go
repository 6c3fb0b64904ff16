package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/atoll-mesh/atoll/health"
)

// What tsdb.Open refuses to start with, or repairs by throwing away more than is
// damaged, is mended before it is called: damaged blocks are moved to the
// quarantine directory, damaged logs are cut where the damage begins (the TSDB
// would also delete every later segment, and with a damaged checkpoint all of the
// log), head chunk files without a valid header are deleted, for the log still
// holds their samples.

const quarantineDir = "quarantine"

func (s *Store) mend() error {
	dir := s.Dir()
	if err := s.quarantineBlocks(dir); err != nil {
		return err
	}
	var found []string
	for _, log := range []string{"wal", "wbl"} {
		texts, err := s.mendLog(filepath.Join(dir, log))
		if err != nil {
			return err
		}
		found = append(found, texts...)
	}
	if !s.opened { // what a later opening cuts off belongs to transactions that were refused
		report(s.warn.logRepaired, found)
	}
	return s.mendHeadChunks(filepath.Join(dir, "chunks_head"))
}

// report sets a warning to what was found, at most five of it.
func report(w *health.Handle, found []string) {
	if len(found) == 0 {
		return
	}
	const most = 5
	text := strings.Join(found[:min(len(found), most)], "; ")
	if more := len(found) - most; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	w.Set("%s", text)
}

// quarantineBlocks moves every block away that the TSDB cannot open, and names
// all that lie in quarantine, those of earlier starts too.
func (s *Store) quarantineBlocks(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if _, err := ulid.ParseStrict(e.Name()); err != nil {
			if strings.Contains(e.Name(), ".tmp-for-") {
				s.logger.Info("an unfinished block will be removed", "dir", filepath.Join(dir, e.Name()))
			}
			continue
		}
		span, bad := checkBlock(filepath.Join(dir, e.Name()))
		if bad == nil {
			continue
		}
		if environmental(bad) {
			return fmt.Errorf("block %s: %w", e.Name(), bad)
		}
		s.logger.Error("damaged block", "block", e.Name(), "span", span, "err", bad)
		if err := quarantine(dir, e.Name(), fmt.Sprintf("%s (%s): %v", e.Name(), span, bad)); err != nil {
			return fmt.Errorf("set damaged block %s aside: %w", e.Name(), err)
		}
	}
	return s.reportQuarantine(filepath.Join(dir, quarantineDir))
}

func (s *Store) reportQuarantine(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var found []string
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		reason, err := os.ReadFile(filepath.Join(dir, e.Name()+".reason"))
		if err != nil {
			reason = []byte(e.Name())
		}
		found = append(found, string(reason))
	}
	s.m.quarantined.Set(float64(len(found)))
	if len(found) == 0 {
		s.warn.blockQuarantined.Clear()
	} else {
		report(s.warn.blockQuarantined, append([]string{fmt.Sprintf("%d in %s", len(found), dir)}, found...))
	}
	return nil
}

// quarantine moves a block and notes why. The note comes first: a block without
// one would be named without its reason, a note without a block does no harm.
func quarantine(dir, block, reason string) error {
	to := filepath.Join(dir, quarantineDir)
	if err := os.MkdirAll(to, 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(to, block+".reason"), []byte(reason), 0o666); err != nil && !isDiskFull(err) {
		return err
	}
	if err := os.RemoveAll(filepath.Join(to, block)); err != nil {
		return err
	}
	return os.Rename(filepath.Join(dir, block), filepath.Join(to, block))
}

// checkBlock opens a block as the TSDB would. The span is its time range as far
// as its meta.json can be read.
func checkBlock(dir string) (span string, err error) {
	span = "time range unknown"
	defer func() {
		if r := recover(); r != nil { // the index reader trusts offsets it has not checked
			err = fmt.Errorf("open block: %v", r)
		}
	}()
	text, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	if err != nil {
		return span, err
	}
	var meta tsdb.BlockMeta
	if err := json.Unmarshal(text, &meta); err != nil {
		return span, fmt.Errorf("read meta.json: %w", err)
	}
	span = timeSpan(meta.MinTime, meta.MaxTime)
	switch {
	case meta.Version != 1:
		return span, fmt.Errorf("meta.json: version %d, must be 1", meta.Version)
	case meta.ULID.String() != filepath.Base(dir):
		return span, fmt.Errorf("meta.json: names block %s", meta.ULID)
	case meta.MinTime >= meta.MaxTime:
		return span, fmt.Errorf("meta.json: starts at %d but ends at %d", meta.MinTime, meta.MaxTime)
	}
	b, err := tsdb.OpenBlock(nil, dir, nil, nil)
	if err != nil {
		return span, err
	}
	return span, b.Close()
}

func timeSpan(mint, maxt int64) string {
	at := func(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
	return at(mint) + " to " + at(maxt)
}

// numbered lists the files of dir whose names are decimal numbers, in order.
func numbered(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range entries {
		if n, ok := number(e.Name()); ok && !e.IsDir() {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}
