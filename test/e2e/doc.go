// Package e2e drives real processes: the atoll binary, Prometheus, promtool and
// amtool, over real sockets and real files. It kills, fills disks and damages
// files, and looks at what a user would see.
package e2e
