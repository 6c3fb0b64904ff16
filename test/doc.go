// Package test holds the rules of the house as tests: which folder may import
// which, that every package says what it is for, and how large files may grow.
// test/e2e beside it drives real processes.
package test
