// Package cgroup measures containers and services by their control groups, for
// systems that run no cAdvisor, and under cAdvisor's metric names.
//
// In: a cgroup file system, version 2, version 1 or both (hybrid). Out: a
// prometheus.Collector. Guaranteed: the tree is only read; at most
// Config.MaxGroups groups down to Config.MaxDepth are reported, those nearest
// the root first, and what is left out is counted; every file is read up to a
// fixed size; a group that disappears while it is read is not an error.
package cgroup
