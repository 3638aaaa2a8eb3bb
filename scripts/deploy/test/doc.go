// Package deploytest tests what is deployed: manifests, the chart, alerts, the dashboard and the unit. It is
// a module of its own, so that what it needs is not among the requirements of mailwhy.
package deploytest
