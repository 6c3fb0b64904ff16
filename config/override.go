package config

import (
	"errors"
	"path/filepath"
)

// Overrides are what a command line may set over the file. Zero values leave
// the file's alone.
type Overrides struct {
	DataDir   string
	Listen    []string
	LogLevel  string
	LogFormat string
	Pprof     bool
}

// Override applies what the command line says; relative paths are taken from the
// working directory. It is called once, before the Config is used.
func (c *Config) Override(o Overrides) error {
	if o.DataDir != "" {
		c.Island.DataDir = o.DataDir
		if !c.storePath {
			c.Store.Path = filepath.Join(o.DataDir, "tsdb")
		}
	}
	if len(o.Listen) > 0 {
		c.HTTP.Listen = o.Listen
	}
	if o.LogLevel != "" {
		c.Log.Level = o.LogLevel
	}
	if o.LogFormat != "" {
		c.Log.Format = o.LogFormat
	}
	c.HTTP.Pprof = c.HTTP.Pprof || o.Pprof
	return errors.Join(c.HTTP.Validate(), joined(c.Log.validate()))
}
