// Package alert turns rules into alerts and alerts into notifications.
//
// In: rule groups (files named by a Prometheus configuration), a query engine
// and a store to evaluate them with, an Alertmanager configuration, alerts and
// silences posted to the API. Out: recorded series, notifications to people and
// machines through every integration Alertmanager has, alerts to external
// Alertmanagers, the Alertmanager API v2.
//
// Guaranteed: a configuration is taken as a whole or not at all; silences, the
// notification log and the alerts themselves survive a restart, so that nothing
// is notified twice and what ended meanwhile is still announced as resolved.
package alert
