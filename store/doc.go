// Package store keeps samples on disk and gives them back.
//
// In: samples, histograms, exemplars and metadata through storage.AppendableV2.
// Out: queriers over everything kept, and the admin calls of Prometheus' API.
//
// Guaranteed:
//   - a sample whose Commit returned nil survives the death of the process. When
//     the write-ahead log cannot be written, the store refuses writes from that
//     moment (the error wraps flow.ErrUnavailable), goes on answering queries,
//     and reopens itself once the file system takes writes again;
//   - it starts with whatever is still readable on disk, and says by health
//     warnings and metrics what was repaired, set aside or lost;
//   - before it is open, and after it is closed, every call returns ErrNotReady
//     or ErrClosed; nothing blocks;
//   - Run returns after the last querier and appender handed out was closed.
//
// What is stored is Prometheus' TSDB. Its own background loop is switched off
// (see maintain.go): the store runs compaction itself, only while the disk has
// room for it, because the TSDB panics when a head chunk cannot be written.
package store
