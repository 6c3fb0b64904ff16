package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCmd struct{}

// Run prints one line per fact, so that it can be pasted into a report.
func (versionCmd) Run(std streams) error {
	fmt.Fprintf(std.out, "atoll %s\n  go         %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	for _, m := range info.Deps {
		switch m.Path {
		case "github.com/prometheus/prometheus":
			fmt.Fprintf(std.out, "  prometheus %s\n", m.Version)
		case "github.com/prometheus/alertmanager":
			fmt.Fprintf(std.out, "  alertmanager %s\n", m.Version)
		case "github.com/prometheus/node_exporter":
			fmt.Fprintf(std.out, "  node_exporter %s\n", m.Version)
		}
	}
	return nil
}
