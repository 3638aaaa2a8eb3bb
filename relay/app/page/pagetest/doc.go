// Package pagetest tests the web page of a whole relay: over plain HTTP as an attacker would use it, and in
// Chromium as a person does. It is a package of its own so that nothing else depends on a browser's protocol.
package pagetest
