// Package ui is the portal's page: a React application, built by `make ui` into
// dist and embedded.
//
// In: the files that Vite wrote, text among them gzip-compressed. Out: an http.Handler
// for / and every view, /assets/ and the icon. Guaranteed: a binary that was built
// without Node says so on its page instead of failing to build; whatever is under
// /assets/ never changes under its name.
package ui
