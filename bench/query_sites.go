package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	site "github.com/atoll-mesh/atoll/flow/columnar/fleet"
)

const sites = 3

// writeBlock makes a TSDB block of what a site of 16,800 series scraped in the hour
// up to end and in the five minutes before it.
func writeBlock(ctx context.Context, dir string, seed uint64, end time.Time) (err error) {
	const rounds = (3_600_000 + 300_000) / site.IntervalMs
	o := tsdb.DefaultHeadOptions()
	o.ChunkDirRoot = filepath.Join(filepath.Dir(dir), "head")
	head, err := tsdb.NewHead(nil, nil, nil, nil, o, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, head.Close(), os.RemoveAll(o.ChunkDirRoot)) }()
	f := site.New(seed, end.UnixMilli()-rounds*site.IntervalMs)
	refs := make([][]storage.SeriesRef, len(f.Targets))
	for range rounds {
		f.Round()
		app := head.Appender(ctx)
		for n, t := range f.Targets {
			if refs[n] == nil {
				refs[n] = make([]storage.SeriesRef, len(t.Labels))
			}
			for i, v := range t.Values {
				if refs[n][i], err = app.Append(refs[n][i], t.Labels[i], t.T, v); err != nil {
					return err
				}
			}
		}
		if err := app.Commit(); err != nil {
			return err
		}
	}
	c, err := tsdb.NewLeveledCompactor(ctx, nil, slog.New(slog.DiscardHandler), []int64{tsdb.DefaultBlockDuration}, nil, nil)
	if err != nil {
		return err
	}
	_, err = c.Write(dir, head, head.MinTime(), head.MaxTime()+1, nil)
	return err
}

// crew is the processes of a run.
type crew struct {
	dir     string
	end     time.Time // of the hour
	running []*exec.Cmd
}

func (c *crew) blocks(n int) string { return filepath.Join(c.dir, fmt.Sprint("blocks-", n+1)) }

// home makes a process's directory, with a file in it.
func (c *crew) home(name, file, text string) (dir string, err error) {
	dir = filepath.Join(c.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644)
}

// launch starts a process that ends with ctx.
func (c *crew) launch(ctx context.Context, name, bin string, args ...string) error {
	log, err := os.Create(filepath.Join(c.dir, name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	c.running = append(c.running, cmd)
	return nil
}

func (c *crew) wait() {
	for _, cmd := range c.running {
		_ = cmd.Wait() // it was killed
	}
}

// until waits for what processes on a busy machine take their time for.
func until(ctx context.Context, what string, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		case <-tick.C:
		}
	}
}

// ready waits until the network answers for all sites.
func (n network) ready(ctx context.Context, end time.Time) error {
	return until(ctx, n.url+" knows all sites", func() error {
		r, err := n.ask(ctx, question{expr: "count by (island) (http_requests_total)"}, end)
		if err == nil && len(r.points) != sites {
			err = fmt.Errorf("%d of %d sites", len(r.points), sites)
		}
		return err
	})
}

// free finds an address that nobody uses at the moment.
func free() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// link leads to an address and counts what it carries, both ways.
type link struct {
	addr  string
	bytes atomic.Int64
}

func newLink(ctx context.Context, to string) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	k := &link{addr: l.Addr().String()}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			go k.carry(near, far)
			go k.carry(far, near)
		}
	}()
	return k, nil
}

func (k *link) carry(from, to net.Conn) {
	defer to.Close()
	_, _ = io.Copy(to, io.TeeReader(from, k)) // an end of either is the end of both
}

func (k *link) Write(p []byte) (int, error) {
	k.bytes.Add(int64(len(p)))
	return len(p), nil
}
