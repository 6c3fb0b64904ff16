// Package assetpb is what islands ask each other about what there is.
//
// In: nothing. Out: messages and service stubs generated from asset.proto.
// Guaranteed: field numbers of released messages never change.
package assetpb
