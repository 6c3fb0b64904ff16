// Package vmagent holds tests in which aggregation is measured against vmagent: the
// same file of rules, the same stream of samples, name by name and value by value.
//
// In: testdata/rules.yml, which both read; testdata/vmagent.json, what vmagent made
// of the stream. Out: nothing. Guaranteed: where the two differ the test says why,
// and docs/aggregation.md says so too.
//
// TestRecorded plays the stream in virtual time and needs no vmagent. TestLive sends
// it to a vmagent and to an island at once, which takes two minutes. It needs
// ATOLL_TEST_VMAGENT: a directory that vmagent is built in, once, from its Go module.
//
//	ATOLL_TEST_VMAGENT=/tmp/vmagent go test -v -run TestLive ./test/vmagent
//
// With -update it writes testdata/vmagent.json anew.
package vmagent
