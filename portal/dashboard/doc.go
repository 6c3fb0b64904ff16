// Package dashboard judges the documents of kind "dashboard", which the page draws.
//
// In: a document's text, from whoever may write documents. Out: an error that names
// the field, what was found and what is expected. Guaranteed: what passes is an object
// of known fields within the bounds below; expressions are not judged, for variables
// stand in them. Titles and texts stay what they are, text: the page never reads
// markup in them.
package dashboard
