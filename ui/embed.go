package ui

import "embed"

//go:embed placeholder
var placeholder embed.FS

//go:embed all:dist
var dist embed.FS
