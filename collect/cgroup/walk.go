package cgroup

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/grafana/regexp"
)

// hierarchies are the directories where a root's controllers are found.
type hierarchies struct {
	// unified is v2's tree; in hybrid mode it has no controllers, only PSI.
	unified string
	// v1 maps a controller to its tree; empty when the machine is pure v2.
	v1 map[string]string
}

// v1Controllers are those whose files are read.
var v1Controllers = []string{"memory", "cpu", "cpuacct", "pids", "blkio"}

// detect looks at what is mounted below root, each time anew: a file system
// may be mounted after the island has started.
func detect(root string) hierarchies {
	if exists(filepath.Join(root, "cgroup.controllers")) {
		return hierarchies{unified: root}
	}
	h := hierarchies{v1: map[string]string{}}
	if u := filepath.Join(root, "unified"); exists(filepath.Join(u, "cgroup.controllers")) {
		h.unified = u
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return h
	}
	for _, e := range entries {
		// Co-mounted controllers share a directory named "cpu,cpuacct", with a
		// link for each; either leads to the same tree.
		for c := range strings.SplitSeq(e.Name(), ",") {
			if !slices.Contains(v1Controllers, c) {
				continue
			}
			if dir, err := filepath.EvalSymlinks(filepath.Join(root, e.Name())); err == nil && exists(filepath.Join(dir, "cgroup.procs")) {
				h.v1[c] = dir
			}
		}
	}
	return h
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// trees returns the directories to walk, each once.
func (h hierarchies) trees() []string {
	if len(h.v1) == 0 {
		if h.unified == "" {
			return nil
		}
		return []string{h.unified}
	}
	var dirs []string
	for _, c := range v1Controllers {
		if dir, ok := h.v1[c]; ok && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// limits bound a walk.
type limits struct {
	groups, depth int
	exclude       *regexp.Regexp
}

// found is what a walk saw.
type found struct {
	// paths are relative to the trees, "/" first, shallow before deep, sorted
	// within one depth: the same groups stay in when there are too many.
	paths []string
	// overGroups and overDepth count groups seen and left out. What lies below
	// those is not visited and not counted.
	overGroups, overDepth int
}

// walk lists the groups that exist in at least one of the trees.
func walk(trees []string, l limits) found {
	var f found
	level := []string{"/"}
	if len(trees) == 0 {
		return f
	}
	for depth := 0; len(level) > 0; depth++ {
		if depth > l.depth {
			f.overDepth += len(level)
			return f
		}
		for i, p := range level {
			if l.exclude != nil && l.exclude.MatchString(p) {
				continue
			}
			if len(f.paths) >= l.groups {
				f.overGroups += len(level) - i
				return f
			}
			f.paths = append(f.paths, p)
		}
		level = below(trees, level)
	}
	return f
}

// below returns the children of all groups of one depth, sorted.
func below(trees, level []string) []string {
	var next []string
	for _, p := range level {
		for _, tree := range trees {
			entries, err := os.ReadDir(filepath.Join(tree, p))
			if err != nil {
				continue // it is not in this tree, or no longer
			}
			for _, e := range entries {
				if e.IsDir() {
					next = append(next, path.Join(p, e.Name()))
				}
			}
		}
	}
	slices.Sort(next)
	return slices.Compact(next)
}
