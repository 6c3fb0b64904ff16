// Package openapi holds the description of the HTTP API that an island serves,
// in OpenAPI 3.1, as one fragment for each area.
//
// In: the fragments beside this file. Out: one document in JSON, and a handler
// that serves it. Guaranteed: a name is defined by one fragment only, whatever
// is referred to is there, the same fragments give the same bytes. That the
// document and the handlers say the same is tested where the handlers run, in
// island.
package openapi
