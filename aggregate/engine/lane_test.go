package engine

import "testing"

func TestLanes(t *testing.T) {
	var l laneSet
	for _, want := range []uint8{0, 1, 2, 3, 3} {
		if got := l.take(); got != want {
			t.Errorf("took lane %d, want %d", got, want)
		}
	}
	l.giveBack(3)
	l.giveBack(1)
	for _, want := range []uint8{1, 3} {
		if got := l.take(); got != want {
			t.Errorf("took lane %d, want %d", got, want)
		}
	}
}
