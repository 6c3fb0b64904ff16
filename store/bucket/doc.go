// Package bucket keeps the store's blocks in object storage, in Thanos' layout,
// and reads them back.
//
// In: the blocks of a TSDB directory, and what lies in an S3-compatible bucket or
// a directory. Out: the same blocks there under ULID/{index, chunks/NNNNNN,
// meta.json}, and queriers over those of them that the TSDB no longer has, and over
// blocks of others that the configuration names.
//
// Guaranteed:
//   - a block counts as uploaded only after each of its files was compared with
//     what the storage holds, and meta.json, which makes it visible to others, is
//     written last;
//   - every sample of the TSDB is in one uploaded block: blocks are told apart by
//     the sources in their meta.json, so that neither a kill between two requests,
//     nor a lost state file, nor a compaction there or here uploads one twice;
//   - nothing that others uploaded is touched, except what carries a ULID that
//     this island began and did not finish;
//   - disk for reading back is bounded; a query that needs more fails with the
//     reason.
//
// Format: https://thanos.io/tip/thanos/storage.md, checked against Thanos v0.42.
package bucket
