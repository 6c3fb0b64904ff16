// Package overview is what the portal's home page shows, in one answer.
//
// In: a function with which island looks at its rooms. Out: GET /api/atoll/v1/overview.
// Guaranteed: however many pages are open, the rooms are looked at once in two
// seconds at most, and no other island is asked.
package overview
