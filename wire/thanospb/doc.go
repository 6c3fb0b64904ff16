// Package thanospb is the part of Thanos' StoreAPI and Info API that an island
// serves, wire-compatible and with the names that Thanos gives them.
//
// In: nothing. Out: message types and the services thanos.Store and
// thanos.info.Info. Guaranteed: field numbers are those of Thanos v0.42; Thanos'
// own packages are not used, because they cast labels by layout.
package thanospb
