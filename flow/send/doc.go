// Package send delivers stored samples to remote-write receivers (1.0 and 2.0)
// and uses the store itself as the queue.
//
// In: the write-ahead log (WAL) of a Prometheus TSDB, the store as a
// storage.Queryable, and the remote_write section of a Prometheus
// configuration. Out: remote-write requests, one cursor per remote.
//
// Guaranteed, per remote:
//   - A sample that reached the WAL after the remote was configured is
//     delivered, or refused by the receiver with a 4xx and counted, or older than
//     sample_age_limit or the store's retention and counted (in seconds, if it had
//     left the WAL: see atoll_send_expired_seconds_total). An outage of the
//     receiver, a restart and a kill -9 lose nothing; neither does a reload.
//   - Samples of one series arrive in the order in which they were stored.
//   - Memory is bounded by shards × (capacity + one batch) samples and some
//     tens of bytes per series; nothing is copied to disk but a cursor.
//
// How. A cursor is a place in the WAL per shard: what lies before it is
// delivered. Each acknowledgement moves it on disk, and so does the end of each
// request before it is sent; so after a crash the very request that was in
// flight is repeated with the same boundaries, never mixed with new samples:
// a receiver that refuses out-of-order samples refuses that request as a whole
// and loses nothing.
//
// The TSDB drops WAL segments after some two or three hours whether they were
// sent or not. Before that happens the queue notes, for each series, from which
// to which timestamp it still owes samples (a gap), and reads the WAL on without
// sending. When the receiver is back the gap is filled from the store, oldest
// first, in time slices that are read completely before they are sent (an open
// querier would hold up compaction), then sending continues from the WAL at the
// exact place where the gap ends. Oldest first, because most receivers refuse
// samples older than the newest they have of a series.
//
// Upstream's remote.Storage is not used for sending: its WAL watcher starts at
// "now" after a restart, drops what is in memory at a reload, and tells nobody
// what was delivered. Its WriteClient, with every kind of authentication, is.
//
// Late samples (out of order, where the store allows them) travel in requests of
// their own, so that a receiver that refuses them does not refuse others. Those
// that arrive while a gap is open and belong before it are kept in memory, up to
// a limit above which the gap is widened; a crash in that state loses them.
//
// A remote is known by its URL and headers, so renaming keeps its cursor;
// changing the URL makes a new remote, which starts at the present end of the
// WAL. A remote that is gone from the configuration loses its cursor.
package send
