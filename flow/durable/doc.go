// Package durable replaces small files so that a crash, of the process or of the
// machine, leaves all of the old content or all of the new.
//
// In: a path and content. Out: nil once the content is on disk under that path; an
// error, and the old file as it was, otherwise.
package durable
