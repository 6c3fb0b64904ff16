package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const islandConfig = `
island: {name: %s, data_dir: %s}
http: {listen: ["%s"]}
mesh: {port: %s, addresses: ["127.0.0.1"], mdns: false, static: [%s]}
collect: {host: {enabled: false}, cgroup: {enabled: false}}
prometheus: {global: {scrape_interval: 15s}}
`

// isle is an atoll process.
type isle struct{ bin, data, http, mesh string }

func (i isle) run(ctx context.Context, args ...string) (string, error) {
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, i.bin, append(args, "--data-dir", i.data)...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("atoll %s: %w: %s", args[0], err, said.Bytes())
	}
	return strings.TrimSpace(string(out)), err
}

// archipelago starts an island that has nothing and is asked, and one for each
// site, and makes them a network.
func (c *crew) archipelago(ctx context.Context) (n network, err error) {
	bin := filepath.Join(c.dir, "bin", "atoll")
	build := exec.CommandContext(ctx, "go", "build", "-C", "..", "-ldflags", "-s -w", "-o", bin, "./cmd/atoll")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return n, fmt.Errorf("build atoll: %w: %s", err, out)
	}
	first, err := c.island(ctx, bin, "asker", "", "")
	if err != nil {
		return n, err
	}
	if _, err := first.run(ctx, "init", "bench"); err != nil {
		return n, err
	}
	for s := range sites {
		i, err := c.island(ctx, bin, fmt.Sprint("isle-", s+1), first.mesh, c.blocks(s))
		if err != nil {
			return n, err
		}
		token, err := first.run(ctx, "invite")
		if err != nil {
			return n, err
		}
		if _, err := i.run(ctx, "join", token); err != nil {
			return n, err
		}
	}
	n = network{url: "http://" + first.http, extra: "&scope=all", moved: first.moved}
	return n, n.ready(ctx, c.end)
}

// island starts one on these blocks and waits for it.
func (c *crew) island(ctx context.Context, bin, name, first, blocks string) (i isle, err error) {
	i = isle{bin: bin, data: filepath.Join(c.dir, name, "data")}
	var errs [2]error
	i.http, errs[0] = free()
	i.mesh, errs[1] = free()
	if err := errors.Join(errs[:]...); err != nil {
		return i, err
	}
	_, port, _ := net.SplitHostPort(i.mesh)
	if first != "" {
		first = `"` + first + `"`
	}
	dir, err := c.home(name, "atoll.yaml", fmt.Sprintf(islandConfig, name, i.data, i.http, port, first))
	if err != nil {
		return i, err
	}
	if blocks != "" {
		if err := os.CopyFS(filepath.Join(i.data, "tsdb"), os.DirFS(blocks)); err != nil {
			return i, err
		}
	}
	if err := c.launch(ctx, name, bin, "run", "-c", filepath.Join(dir, "atoll.yaml")); err != nil {
		return i, err
	}
	return i, until(ctx, name+" is ready", func() error {
		_, err := get(ctx, "http://"+i.http+"/-/ready")
		return err
	})
}

// moved is what the island's calls have moved, of all kinds and both ways, without
// what TLS or Noise add.
func (i isle) moved(ctx context.Context) (sum float64, err error) {
	text, err := get(ctx, "http://"+i.http+"/metrics")
	for line := range bytes.Lines(text) {
		if name, value, _ := bytes.Cut(line, []byte("} ")); bytes.HasPrefix(name, []byte("atoll_mesh_rpc_wire_bytes_total{")) {
			var v float64
			if _, err := fmt.Sscan(string(value), &v); err != nil {
				return 0, err
			}
			sum += v
		}
	}
	return sum, err
}
