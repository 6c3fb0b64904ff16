// Package config reads atoll.yaml, which is made of the rooms' own Config
// structs, a Prometheus configuration and an Alertmanager configuration, the
// last two inline or as files of their own.
//
// In: the path of a file. Out: the effective configuration of one island and the
// list of files to watch, or every mistake at once, each with file, line, column,
// field, what was found and what is allowed. Guaranteed: nothing starts and
// nothing is written; an existing prometheus.yml or alertmanager.yml means what
// it means upstream; whatever the bytes, an error and no panic.
//
// Paths inside a file are relative to the directory of that file. Environment
// variables are not expanded anywhere, with one exception that comes with the
// format: ${NAME} in external_labels of the Prometheus document.
package config
