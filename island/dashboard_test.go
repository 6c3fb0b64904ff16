package island

import (
	"strings"
	"testing"
)

func TestDashboardsAreJudgedBeforeTheyAreSigned(t *testing.T) {
	i := &Island{}
	if err := i.validateDocument("dashboard", []byte(`{"title":"Shop","panels":[]}`)); err != nil {
		t.Errorf("a dashboard is refused: %v", err)
	}
	err := i.validateDocument("dashboard", []byte(`{"title":"Shop","panels":[{"title":"x","type":"pie","width":6,"height":6}]}`))
	if err == nil || !strings.Contains(err.Error(), "panels[0].type") {
		t.Errorf("a panel of an unknown type: error %v, want one that names panels[0].type", err)
	}
}
