package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// buildThanos builds it in a module of its own: it wants other versions of what is
// in this one, and a build tag.
func buildThanos(ctx context.Context, dir string) (bin string, err error) {
	if _, err := exec.LookPath("prometheus"); err != nil {
		return "", fmt.Errorf("its sidecars need Prometheus: %w; apt-get install prometheus", err)
	}
	bin = filepath.Join(dir, "thanos")
	build := exec.CommandContext(ctx, "go", "build", "-C", "others/thanos", "-tags", "slicelabels", "-ldflags", "-s -w", "-o", bin, "github.com/thanos-io/thanos/cmd/thanos")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build it: %w: %.1000s", err, bytes.TrimSpace(out))
	}
	return bin, nil
}

// thanos starts a Prometheus with a sidecar at each site, and two queriers: one that
// fetches series from the sidecars (StoreAPI), and one that sends parts of the
// question to a querier at each site (distributed mode).
func (c *crew) thanos(ctx context.Context, bin string) ([]network, error) {
	var stores, queriers []*link
	for n := range sites {
		name := fmt.Sprint("isle-", n+1)
		home, err := c.home(name+"-prometheus", "prometheus.yml", "global: {external_labels: {island: "+name+"}}\n")
		if err != nil {
			return nil, err
		}
		data := filepath.Join(home, "data")
		if err := os.CopyFS(data, os.DirFS(c.blocks(n))); err != nil {
			return nil, err
		}
		web, err := free()
		if err != nil {
			return nil, err
		}
		if err := c.launch(ctx, name+"-prometheus", "prometheus", "--config.file="+home+"/prometheus.yml", "--storage.tsdb.path="+data, "--web.listen-address="+web); err != nil {
			return nil, err
		}
		sidecar, err := c.component(ctx, bin, name+"-sidecar", "sidecar", "--prometheus.url=http://"+web)
		if err != nil {
			return nil, err
		}
		querier, err := c.component(ctx, bin, name+"-querier", "query", "--endpoint="+sidecar.grpc)
		if err != nil {
			return nil, err
		}
		store, err1 := newLink(ctx, sidecar.grpc)
		leaf, err2 := newLink(ctx, querier.grpc)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		stores, queriers = append(stores, store), append(queriers, leaf)
	}
	whole, err1 := c.querier(ctx, bin, "query", stores)
	parts, err2 := c.querier(ctx, bin, "distributed", queriers, "--query.mode=distributed", "--query.promql-engine=thanos")
	return []network{whole, parts}, errors.Join(err1, err2)
}

// component is a thanos process.
type component struct{ grpc, http string }

func (c *crew) component(ctx context.Context, bin, name string, args ...string) (p component, err error) {
	var errs [2]error
	p.grpc, errs[0] = free()
	p.http, errs[1] = free()
	if err := errors.Join(errs[:]...); err != nil {
		return p, err
	}
	return p, c.launch(ctx, name, bin, append(args, "--grpc-address="+p.grpc, "--http-address="+p.http)...)
}

// querier starts one over links and waits until it knows all sites.
func (c *crew) querier(ctx context.Context, bin, name string, links []*link, args ...string) (n network, err error) {
	args = append([]string{"query"}, args...)
	for _, l := range links {
		args = append(args, "--endpoint="+l.addr)
	}
	p, err := c.component(ctx, bin, name, args...)
	if err != nil {
		return n, err
	}
	n = network{url: "http://" + p.http, extra: "&partial_response=false", moved: func(context.Context) (sum float64, _ error) {
		for _, l := range links {
			sum += float64(l.bytes.Load())
		}
		return sum, nil
	}}
	return n, n.ready(ctx, c.end)
}
