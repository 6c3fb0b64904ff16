// Package storeapi answers Thanos' queriers about this island's samples.
//
// In: gRPC calls of thanos.Store and thanos.info.Info over TLS, and what the store
// holds. Out: series with the external labels attached, sorted by their labels as
// Thanos merges them, as raw chunks.
//
// Guaranteed: every call is bounded in time, series and bytes, and one that is over
// a bound fails and says which; a part that is missing is an error, or where the
// caller allows that, a warning beside the rest.
//
// What lies in object storage is not served: Thanos Store serves it.
package storeapi
