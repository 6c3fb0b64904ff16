package config

import _ "embed"

//go:embed testdata/full.good.yml
var reference string

// Reference is an atoll.yaml with every key, its default and a line about it. It
// loads as it is, and means what Default means.
func Reference() string { return reference }
