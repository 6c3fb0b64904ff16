// Package kafka drains a queue of batches to one Kafka topic.
//
// In: batch entries of a flow/queue, the Config that says where to. Out: records.
// Guaranteed: an entry leaves the queue when every record of it is acknowledged as
// the Config demands (by all in-sync replicas, where it says nothing), or the
// broker says that a record can never be taken (too large), which is counted.
// The producer is idempotent while the process lives, so a broker's restart makes
// no duplicates; after a crash of this side the last round is produced again.
// Records of one key stay in order.
package kafka
