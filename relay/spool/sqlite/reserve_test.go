package sqlite

import (
	"testing"

	"mailwhy/relay/spool/files"
)

func TestReserveIsInPlaceFromTheStart(t *testing.T) {
	s := openTest(t, Options{Limits: Limits{FreeFloor: -1, Reserve: 2 << 20}})
	defer s.Close()
	if n := s.disk.reserved(); n != 2<<20 {
		t.Fatalf("%d bytes in reserve after the first start", n)
	}
	if !s.disk.dropReserve(startReserve) || s.disk.reserved() != startReserve ||
		s.disk.dropReserve(startReserve) {
		t.Errorf("%d bytes in reserve for a start on the full disk", s.disk.reserved())
	}
	if !s.disk.dropReserve(0) || s.disk.reserved() != 0 || s.disk.dropReserve(0) {
		t.Errorf("%d bytes in reserve after a start on the full disk", s.disk.reserved())
	}
	if err := s.disk.refillReserve(); err != nil || s.disk.reserved() != 2<<20 {
		t.Errorf("%d bytes in reserve after its return, %v", s.disk.reserved(), err)
	}
}

// TestReserveNeverStandsInTheWay opens a spool on a disk that has no room above the floor: it starts, with
// what there is, and does not ask for more when a trouble is over.
func TestReserveNeverStandsInTheWay(t *testing.T) {
	s := openTest(t, Options{Dir: t.TempDir(), Limits: Limits{FreeFloor: 1 << 60, Reserve: 1 << 20}})
	defer s.Close()
	if n := s.disk.reserved(); n != 0 {
		t.Errorf("%d bytes in reserve below the floor", n)
	}
	if err := s.disk.refillReserve(); err == nil {
		t.Error("new mail would be taken below the floor")
	}
	free, err := files.FreeBytes(s.o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	s.o.Limits.FreeFloor = free / 2
	if err := s.disk.refillReserve(); err != nil {
		t.Errorf("no mail would be taken although there is room again: %v", err)
	}
}
