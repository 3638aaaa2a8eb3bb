package main

import "testing"

func TestQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("skipping: it takes about ten seconds")
	}
	broken, err := run(quick(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range broken {
		t.Error(b)
	}
}
