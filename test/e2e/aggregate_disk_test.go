package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAggregateFullDisk fills the island's disk while it aggregates what is not
// stored raw. Aggregation goes on and says what it cannot write; once there is
// room the results that waited are there, checkpoints are written again, and a
// kill loses nothing.
func TestAggregateFullDisk(t *testing.T) {
	needRoot(t, "mounts a small tmpfs")
	dir := t.TempDir()
	mount(t, dir, "size=48m")
	i := newIslandIn(t, dir, quiet+`
budget: {disk: {reserve: 8MiB}}
aggregate: {rules: streamaggr.yml, checkpoint_interval: 2s}
`)
	i.write("streamaggr.yml", aggregateRules)
	i.up()

	ballast, pieces := filepath.Join(dir, "ballast"), 0
	if err := os.Mkdir(ballast, 0o755); err != nil {
		t.Fatal(err)
	}
	full := false
	begin := time.Now().Truncate(5 * time.Second)
	next := begin
	feed := func(until time.Time) {
		t.Helper()
		for ; next.Before(until); next = next.Add(time.Second) {
			<-time.After(time.Until(next))
			if err := sendFolded(i, begin, next, false); errors.Is(err, errRefused) {
				t.Fatalf("samples that are only aggregated are refused: %v", err)
			} else if err != nil {
				t.Fatal(err)
			}
			if full { // of what others have given back meanwhile, too
				pieces++
				fillDisk(t, filepath.Join(ballast, fmt.Sprint(pieces)))
			}
		}
	}
	feed(begin.Add(6 * time.Second))
	checkpoint := filepath.Join(dir, "data", "aggregate", "state", "checkpoint")
	eventually(t, 10*time.Second, "a checkpoint", func() error {
		_, err := os.Stat(checkpoint)
		return err
	})

	full = true
	feed(time.Now().Add(12 * time.Second))
	eventually(t, 10*time.Second, "both warnings", func() error {
		w := i.warnings()
		if w["aggregate-journal"] == "" || w["aggregate-results-wait"] == "" {
			return fmt.Errorf("active warnings: %v", w)
		}
		return nil
	})
	for _, said := range []string{"results wait, the store does not take them", "no checkpoint was written"} {
		if !strings.Contains(i.log.String(), said) {
			t.Errorf("the log does not say %q", said)
		}
	}

	full = false
	if err := os.RemoveAll(ballast); err != nil {
		t.Fatal(err)
	}
	room := time.Now()
	feed(room.Add(6 * time.Second))
	eventually(t, 20*time.Second, "no warning any more", func() error {
		w := i.warnings()
		if w["aggregate-journal"] != "" || w["aggregate-results-wait"] != "" {
			return fmt.Errorf("active warnings: %v", w)
		}
		s, err := os.Stat(checkpoint)
		if err == nil && !s.ModTime().After(room) {
			err = fmt.Errorf("the last checkpoint is of %v, room since %v", s.ModTime(), room)
		}
		return err
	})
	i.kill()
	i.up()
	feed(time.Now().Add(7 * time.Second))
	last := next.Truncate(5 * time.Second).Add(-5 * time.Second)
	eventually(t, 30*time.Second, "every window", func() error { return foldedWindows(i, begin, last) })
}
