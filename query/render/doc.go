// Package render shows the answer to a query to people: as a table, JSON, CSV
// or a chart in the terminal.
//
// In: a model.Value as the API client returns it, or a PromQL value through
// FromPromQL. Out: text. Guaranteed: in tables and charts no label can smuggle
// control sequences into the terminal; numbers are never rounded except on a
// chart's axis and legend; the order of the output depends on the data alone.
package render
