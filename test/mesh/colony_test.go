package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/island"
	"github.com/atoll-mesh/atoll/lab"
)

// colonyVariable lists the directories of the islands that this test binary,
// started again on a host of the lab, is to run.
const colonyVariable = "ATOLL_COLONY"

// colony runs islands in one process on one host, each at an address of its own: as
// whole as any, without each having a process and a host. They listen at their own
// addresses and dial from the host's first. What they log is in the first one's.
func colony(t *testing.T, node *lab.Node, at []netip.Addr, region string) []*site {
	t.Helper()
	sites := make([]*site, len(at))
	dirs := make([]string, len(at))
	for n, a := range at {
		sites[n] = newSite(t, node, region)
		sites[n].name = fmt.Sprintf("%s%d", node.Name(), n)
		sites[n].configure("mdns: false", fmt.Sprintf("addresses: [%q]", a))
		dirs[n] = sites[n].dir
	}
	text, err := json.Marshal(dirs)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := node.Command(ctx, self, "-test.run=^TestColony$", "-test.timeout=20m")
	cmd.Env = append(os.Environ(), colonyVariable+"="+string(text))
	cmd.Stdout, cmd.Stderr = sites[0].log, sites[0].log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer cancel()
		_ = in.Close() // which ends it
		if err := cmd.Wait(); err != nil {
			t.Errorf("the process of the colony: %v", err)
		}
	})
	return sites
}

// TestColony is the process that runs many islands; as a test of its own there is
// nothing to do.
func TestColony(t *testing.T) {
	text := os.Getenv(colonyVariable)
	if text == "" {
		t.Skip("skipped: this is the process that TestCrowdBehindOnePrefix starts")
	}
	var dirs []string
	if err := json.Unmarshal([]byte(text), &dirs); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until who started it closes it, or is gone
		cancel()
	}()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	var all sync.WaitGroup
	for n, dir := range dirs {
		cfg, err := config.Load(filepath.Join(dir, "atoll.yaml"))
		if err == nil {
			err = cfg.Override(config.Overrides{DataDir: filepath.Join(dir, "data"), Listen: []string{fmt.Sprintf("127.0.0.1:%d", 59100+n)}})
		}
		if err != nil {
			t.Fatal(err)
		}
		i, err := island.New(island.Options{Config: cfg, Logger: log.With("island", cfg.Island.Name), Version: "lab"})
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			if err := i.Run(ctx); err != nil {
				t.Errorf("%s: %v", cfg.Island.Name, err)
			}
		})
	}
	all.Wait()
}
